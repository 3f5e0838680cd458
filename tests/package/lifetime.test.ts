import { describe, expect, test } from 'vitest';
import type { Progress } from 'zeropoint';
import { errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

const { Model, compare, engineInfo } = zeropoint;

describe('memory is given back', () => {
  test('fifty models loaded, quantized, run and disposed of leave the heap as it was', async () => {
    const { path, feeds } = models.angle;
    const { readFileSync } = await import('node:fs');
    const bytes = readFileSync(path);
    const levels: { used: number; reserved: number }[] = [];
    for (let i = 0; i < 50; ++i) {
      await using model = await Model.load(bytes);
      const { model: small } = await model.quantize({
        mode: i % 2 ? 'dynamic' : 'static',
        calibration: [noisyFeeds(feeds, i)],
        threads: 1,
      });
      const session = await small.createSession({ threads: 1 });
      await session.run(noisyFeeds(feeds));
      await session.dispose();
      await small.dispose();
      await model.dispose();
      levels.push((await engineInfo()).memory);
    }
    const [early, last] = [levels[5], levels[49]];
    expect(last?.used).toBeLessThan((early?.used ?? 0) + 64 * 1024);
    expect(last?.reserved).toBe(early?.reserved);
  });

  test('work that failed or was cancelled gives its memory back too', async () => {
    await using model = await Model.load(models.angle.path);
    const good = noisyFeeds(models.angle.feeds);
    const fail = async () => {
      await errorOf(() => model.quantize({ calibration: [good, {}] }), 'invalid-feed');
      await errorOf(() => compare(model, model, [good, {}]), 'invalid-feed');
      await errorOf(() => Model.load(new Uint8Array(1 << 20)), 'invalid-model');
      await errorOf(() => model.quantize({ calibration: [good], signal: AbortSignal.abort() }), 'cancelled');
    };
    await fail();
    const before = (await engineInfo()).memory.used;
    for (let i = 0; i < 10; ++i) await fail();
    expect((await engineInfo()).memory.used).toBeLessThan(before + 64 * 1024);
  });
});

describe('after dispose()', () => {
  test('calls say so, and a second dispose() does nothing', async () => {
    const model = await Model.load(models.wakeWord.path);
    const session = await model.createSession();
    const feeds = noisyFeeds(models.wakeWord.feeds);
    await session.run(feeds);
    await model.dispose();
    await model.dispose();
    for (const work of [
      () => model.createSession(),
      () => model.quantize({ mode: 'dynamic' }),
      () => model.inspect(),
      async () => model.toBytes(),
      () => compare(model, model, [feeds]),
    ]) {
      expect((await errorOf(work, 'disposed')).message).toMatch(/model.*dispose/);
    }
    expect(model.inputs).toHaveLength(1); // what is known stays known
    await session.run(feeds); // a session lives on without its model
    await session.dispose();
    expect((await errorOf(() => session.run(feeds), 'disposed')).message).toMatch(/session.*dispose/);
  });

  test('`await using` disposes', async () => {
    let outside: Awaited<ReturnType<typeof Model.load>>;
    {
      await using model = await Model.load(models.wakeWord.path);
      outside = model;
    }
    await errorOf(() => outside.inspect(), 'disposed');
  });

  test('a quantized model outlives the one it was made from', async () => {
    const model = await Model.load(models.wakeWord.path);
    const { model: small } = await model.quantize({ mode: 'weight-only' });
    await model.dispose();
    await using session = await small.createSession();
    expect(Object.keys(await session.run(noisyFeeds(models.wakeWord.feeds)))).toHaveLength(1);
    await small.dispose();
  });
});

describe('an AbortSignal', () => {
  test('stops a run before it is finished, and the session runs again', async () => {
    await using model = await Model.load(models.detection.path);
    await using session = await model.createSession({ threads: 1 });
    const long = noisyFeeds({ x: [1, 3, 640, 640] });
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('enough')), 20);
    const error = await errorOf(() => session.run(long, { signal: controller.signal }), 'cancelled');
    expect((error.cause as Error).message).toBe('enough');
    await session.run(noisyFeeds(models.detection.feeds));
    await errorOf(() => session.run(long, { signal: AbortSignal.abort() }), 'cancelled');
  });

  test('stops a calibration: no further sample is asked for, and the samples are closed', async () => {
    await using model = await Model.load(models.detection.path);
    const controller = new AbortController();
    let asked = 0;
    let closed = false;
    async function* samples() {
      try {
        for (;;) {
          asked += 1;
          if (asked === 3) setTimeout(() => controller.abort(), 1);
          yield noisyFeeds({ x: [1, 3, 160, 160] }, asked);
        }
      } finally {
        closed = true;
      }
    }
    const seen: Progress[] = [];
    await errorOf(
      () =>
        model.quantize({
          calibration: samples(),
          signal: controller.signal,
          onProgress: (p) => seen.push(p),
        }),
      'cancelled',
    );
    expect(asked).toBeGreaterThanOrEqual(3);
    expect(closed).toBe(true);
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.map(({ phase }) => phase)).not.toContain('place'); // it never got that far
  });

  test('stops a comparison and a load', async () => {
    await using model = await Model.load(models.detection.path);
    const controller = new AbortController();
    const samples = Array.from({ length: 100 }, (_, i) => noisyFeeds({ x: [1, 3, 160, 160] }, i));
    const seen: Progress[] = [];
    await errorOf(
      () =>
        compare(model, model, samples, {
          signal: controller.signal,
          onProgress: (p) => {
            seen.push(p);
            if (p.done >= 2) controller.abort();
          },
        }),
      'cancelled',
    );
    expect(seen.at(-1)?.done).toBeLessThan(100);
    await errorOf(() => Model.load(models.detection.path, { signal: AbortSignal.abort() }), 'cancelled');
  });
});
