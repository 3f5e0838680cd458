// Whatever becomes of the engine's thread: all who wait are answered, with a code, and the next call opens a new engine.
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorCode, Model as ModelType, Session as SessionType } from 'zeropoint';
import { errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

const { Model, compare, configure, createEngine, engineInfo } = zeropoint;

/** Threads that the package started, in order. */
const started: Worker[] = [];
const threads = createRequire(import.meta.url)('node:worker_threads');
const { Worker: RealWorker } = threads;

beforeAll(() => {
  const faults = pathToFileURL(join(import.meta.dirname, 'faulty-thread.mjs')).href;
  threads.Worker = class extends RealWorker {
    constructor(script: URL) {
      super(script, {
        execArgv: ['--no-warnings', '--import', faults],
        resourceLimits: { maxOldGenerationSizeMb: 200 },
      });
      started.push(this as never);
    }
  };
  syncBuiltinESMExports();
});

afterAll(() => {
  threads.Worker = RealWorker;
  syncBuiltinESMExports();
});

afterEach(() => configure({ worker: undefined, threads: undefined, stepTimeout: undefined }));

/** What answers in time. */
async function inTime<T>(work: Promise<T>, milliseconds = 60_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

const fails = (work: () => Promise<unknown>, code: ErrorCode) => inTime(errorOf(work, code));

/** Ways in which the engine's thread goes. */
const faults: Record<string, (thread: Worker) => unknown> = {
  'it is terminated': (thread) => thread.terminate(),
  'it exits': (thread) => thread.postMessage({ fault: 'exit' }),
  'it throws where nobody catches': (thread) => thread.postMessage({ fault: 'throw' }),
  'it has no memory': (thread) => thread.postMessage({ fault: 'memory' }),
  'it answers what cannot be read': (thread) => thread.emit('messageerror', new Error('unreadable')),
  'it is sent what cannot be read': (thread) => thread.postMessage({ fault: 'messageerror' }),
};

/** More of them than any test waits for. */
function* samples() {
  const sample = noisyFeeds({ x: [1, 3, 160, 160] });
  for (;;) yield sample;
}

/** Work that takes a while; `onProgress` is called when it is under way. */
type Phase = (model: ModelType, session: SessionType, onProgress: () => void) => Promise<unknown>;
/** One after the other: how long one takes depends on the machine. */
async function runs(session: SessionType): Promise<never> {
  const feeds = noisyFeeds({ x: [1, 3, 960, 960] });
  for (;;) await session.run(feeds);
}
const run: Phase = (_, session, onProgress) => {
  setTimeout(onProgress, 100);
  return runs(session);
};
const quantization: Phase = (model, _, onProgress) => model.quantize({ calibration: samples(), onProgress });
const comparison: Phase = (model, _, onProgress) => compare(model, model, samples(), { onProgress });

test.each([
  ...Object.entries(faults).map(([name, inject]) => [name, 'a run', inject, run] as const),
  ['it is terminated', 'a quantization', faults['it is terminated'], quantization] as const,
  ['it is terminated', 'a comparison', faults['it is terminated'], comparison] as const,
])('%s during %s', async (_name, _phase, inject, begin) => {
  configure({ worker: true, threads: 1 });
  started.length = 0;
  const model = await inTime(Model.load(models.detection.path));
  const session = await model.createSession();
  const [thread] = started;
  let done = false;
  const working = fails(
    () =>
      begin(model, session, () => {
        if (!done && thread) inject?.(thread);
        done = true;
      }),
    'engine-lost',
  );
  // Behind the long one, or between its steps.
  const waiting = fails(() => runs(session), 'engine-lost');
  expect((await working).details.hint).toMatch(/load the model again/);
  await waiting;
  await fails(() => model.inspect(), 'engine-lost');
  await session.dispose(); // what is lost can be given back
  await model.dispose();
  await using again = await inTime(Model.load(models.detection.path));
  expect(again.inputs).toEqual(model.inputs);
  expect(started.length).toBe(2);
});

describe('an engine in a thread', () => {
  test('whose thread goes while it starts', async () => {
    configure({ worker: true, threads: 1 });
    started.length = 0;
    const loading = fails(() => Model.load(models.angle.path), 'engine-lost');
    await expect.poll(() => started.length).toBe(1);
    void started[0]?.terminate();
    await loading;
    await using model = await inTime(Model.load(models.angle.path));
    expect(model.inputs).toHaveLength(1);
  });

  test('whose WebAssembly traps', async () => {
    configure({ worker: true, threads: 1 });
    started.length = 0;
    const model = await Model.load(models.angle.path);
    const other = await Model.load(models.wakeWord.path);
    started[0]?.postMessage({ fault: 'trap' });
    const error = await fails(() => model.inspect(), 'internal');
    expect(error.message).toMatch(/the engine stopped: .*unreachable/);
    await fails(() => other.inspect(), 'engine-lost');
    await inTime(Model.load(models.angle.path).then((again) => again.dispose()));
  });

  test('that hangs is ended after stepTimeout, and not before', async () => {
    configure({ worker: true, threads: 1, stepTimeout: 1500 });
    started.length = 0;
    const model = await Model.load(models.angle.path);
    started[0]?.postMessage({ fault: 'hang', milliseconds: 700 });
    await inTime(model.inspect());
    started[0]?.postMessage({ fault: 'hang', milliseconds: 60_000 });
    const from = performance.now();
    const error = await fails(() => model.inspect(), 'engine-lost');
    expect(error.message).toMatch(/did not answer for 1.5 seconds/);
    expect(performance.now() - from).toBeGreaterThan(1400);
  });

  test('one of whose threads goes', async () => {
    configure({ worker: false, threads: 2 });
    started.length = 0;
    const model = await Model.load(models.angle.path);
    const session = await model.createSession();
    await session.run(noisyFeeds(models.angle.feeds));
    expect(started.length).toBeGreaterThan(0);
    await Promise.all(started.map((thread) => thread.terminate()));
    await fails(() => session.run(noisyFeeds(models.angle.feeds)), 'engine-lost');
  });
});

describe('engines', () => {
  test('of one’s own are apart, and close() gives them back', async () => {
    started.length = 0;
    const engine = await createEngine({ worker: true, threads: 1 });
    const [model, elsewhere] = await Promise.all([
      Model.load(models.angle.path, { engine }),
      Model.load(models.angle.path),
    ]);
    await errorOf(() => compare(model, elsewhere, [noisyFeeds(models.angle.feeds)]), 'invalid-argument');
    expect((await engine.info()).worker).toBe(true);
    const closing = fails(() => model.quantize({ calibration: samples() }), 'disposed');
    await engine.close();
    await closing;
    expect(engine.ended).toBe(true);
    await fails(() => model.inspect(), 'disposed');
    await fails(() => engine.info(), 'disposed');
    await fails(() => Model.load(models.angle.path, { engine }), 'disposed');
    await engine.close();
    await elsewhere.inspect();
    await elsewhere.dispose();
  });

  test('a short run does not wait behind a quantization in another engine', async () => {
    const engine = await createEngine({ worker: true, threads: 1 });
    const busy = await Model.load(models.detection.path, { engine });
    let ended = false;
    const quantizing = errorOf(() => busy.quantize({ calibration: samples() }), 'disposed').finally(() => {
      ended = true;
    });
    const own = await createEngine({ worker: true, threads: 1 });
    const model = await Model.load(models.wakeWord.path, { engine: own });
    const session = await model.createSession();
    for (let i = 0; i < 20; ++i) await session.run(noisyFeeds(models.wakeWord.feeds));
    expect(ended).toBe(false);
    await Promise.all([engine.close(), own.close(), quantizing]);
  });

  test('that nobody uses any more end when configure() brings others', async () => {
    started.length = 0;
    const ended: number[] = [];
    for (let i = 0; i < 6; ++i) {
      configure({ worker: true, threads: 1 });
      const model = await Model.load(models.wakeWord.path);
      started[i]?.once('exit', () => ended.push(i));
      await model.dispose();
    }
    await expect.poll(() => ended.sort()).toEqual([0, 1, 2, 3, 4]); // the last one is in use
    await engineInfo();
  });

  test('are kept for models that are still there', async () => {
    configure({ worker: true, threads: 1 });
    const model = await Model.load(models.wakeWord.path);
    configure({ worker: false });
    await engineInfo();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await model.inspect();
    await model.dispose();
  });
});
