// The bench's work in a page or in a worker of it. The server's folders: /dist/, /ort/, /litert/, /bench/, /jobs/.
import { runJobs } from './contest.mjs';
import { liteRt, onnxRuntime, zeropoint } from './engines.mjs';
import { copyRates } from './measure.mjs';
import { timeQuantizing } from './quantizing.mjs';

/** How fast outputs are copied here. */
export const copies = async () => copyRates();

const load = async (name) => {
  const response = await fetch(`/jobs/${name}`);
  if (!response.ok) throw new Error(`${name}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};

const makers = {
  ours: async (threads) => zeropoint(await import('/dist/index.js'), { threads, worker: false }),
  theirs: async (threads) =>
    onnxRuntime(await import('/ort/ort.wasm.min.mjs'), { threads, wasmPaths: '/ort/' }),
  litert: async (threads) =>
    liteRt(await import('/litert/dist/index.js'), { threads, wasmPath: '/litert/wasm/' }),
};

/** Runs jobs with the engines named. An engine that cannot be had is left out, with the reason. */
export async function contest({ engines: names, threads, jobs: file, report }) {
  const { jobs, timing } = JSON.parse(new TextDecoder().decode(await load(file)));
  const engines = {};
  const missing = {};
  for (const name of names) {
    try {
      engines[name] = await makers[name](threads);
    } catch (error) {
      missing[name] = String(error?.message ?? error);
    }
  }
  const results = await runJobs(jobs, engines, load, timing, report);
  return { results, missing, info: await engines.ours.info() };
}

/** How long a page that has just been opened takes until a model is ready, and for its first run. */
export async function fresh({ engine, threads, file, feeds }) {
  const start = performance.now();
  const made = await makers[engine](threads);
  const opened = await made.open(await load(file));
  const ready = performance.now();
  const arrays = { float32: Float32Array, int64: BigInt64Array };
  const given = {};
  for (const [name, feed] of Object.entries(feeds)) {
    given[name] = { ...feed, data: new arrays[feed.type]((await load(feed.file)).buffer) };
  }
  const tensors = opened.prepare(given);
  const before = performance.now();
  await opened.run(tensors);
  return { load: ready - start, firstRun: performance.now() - before };
}

/** How long it takes to quantize the model, and to stop doing so. The engine is in a worker, as pages have it. */
export async function quantizing({ samples, options }) {
  const ours = await import('/dist/index.js');
  const arrays = { float32: Float32Array, int64: BigInt64Array };
  const calibration = [];
  for (const described of samples) {
    const feeds = {};
    for (const [name, { type, dims, file }] of Object.entries(described)) {
      feeds[name] = new ours.Tensor(type, new arrays[type]((await load(file)).buffer), dims);
    }
    calibration.push(feeds);
  }
  return timeQuantizing(ours, await load('model'), calibration, options);
}

// In a worker: one request, answered by a message; progress in between.
if (typeof WorkerGlobalScope !== 'undefined' && self.name === 'bench') {
  self.onmessage = async ({ data: { task, options } }) => {
    try {
      const report = (id) => postMessage({ progress: id });
      postMessage({ result: await { contest, fresh, copies }[task]({ ...options, report }) });
    } catch (error) {
      postMessage({ error: String(error?.stack ?? error) });
    }
  };
  postMessage({ ready: true });
}
