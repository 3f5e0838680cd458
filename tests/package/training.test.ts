import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as ort from 'onnxruntime-web';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Feeds, Progress } from 'zeropoint';
import { accuracyOf, digits, digitsNetwork, samplesOf } from '../../bench/digits.mjs';
import { cli, errorOf, temporaryFolder, zeropoint } from './helpers.ts';

const { Model, Tensor, writeNpy } = zeropoint;

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

type OurModel = Awaited<ReturnType<typeof Model.load>>;

// A small network and few digits: enough to see that it learns.
// Few enough bits for training to have something to win.
const twoBits = { weights: 'int4', weightBits: 2, activationBits: 4 } as const;

const { training, test: unseen } = digits(60, 30);
const labelled: Feeds[] = samplesOf(training, 100, { withLabels: true, Tensor });
const plain: Feeds[] = samplesOf(training, 100, { Tensor });

async function accuracy(model: OurModel): Promise<number> {
  await using session = await model.createSession();
  return await accuracyOf(session, unseen, { Tensor });
}

describe('quantization-aware training', () => {
  let untrained: OurModel;
  let float: OurModel;
  const seen: Progress[] = [];

  beforeAll(async () => {
    untrained = await Model.load(digitsNetwork([6, 8]));
    ({ model: float } = await untrained.quantize({
      mode: 'qat',
      calibration: labelled,
      exclude: ['Conv', 'Gemm'],
      training: { epochs: 10, learningRate: 5e-3 },
      onProgress: (progress) => seen.push(progress),
    }));
  }, 300_000);

  test('a network is trained from scratch, and says how it goes', async () => {
    expect(await accuracy(untrained)).toBeLessThan(0.4);
    expect(await accuracy(float)).toBeGreaterThan(0.8);
    const reports = seen.flatMap(({ training: t }) => (t ? [t] : []));
    const last = reports.at(-1);
    expect(last).toMatchObject({ epoch: 10, epochs: 10, step: last?.steps, remainingMilliseconds: 0 });
    expect(last?.bestLoss).toBeLessThan((last?.firstLoss ?? 0) / 3);
    expect(last?.stepMilliseconds).toBeGreaterThan(0);
    const steps = reports.map(({ step }) => step);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
  });

  test('two bits, trained, answer as the float network does more often than untrained', async () => {
    const how = {
      mode: 'qat',
      calibration: plain,
      ...twoBits,
    } as const;
    const before = await float.quantize({ ...how, training: { epochs: 0 } });
    const after = await float.quantize({ ...how, training: { epochs: 6, learningRate: 3e-3 } });
    const [loose, trained] = [await accuracy(before.model), await accuracy(after.model)];
    expect(trained).toBeGreaterThan(loose);
    expect(trained).toBeGreaterThan((await accuracy(float)) - 0.1);
    expect(after.report.mode).toBe('qat');

    // ONNX Runtime opens the file and gives what we give.
    const bytes = await after.model.toBytes();
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
    const [{ image }] = samplesOf(unseen, 100, { Tensor }) as [{ image: Feeds[string] }];
    const theirs = await session.run({
      image: new ort.Tensor('float32', image.data as Float32Array, image.dims),
    });
    await using ours = await after.model.createSession();
    const { logits } = (await ours.run({ image })) as unknown as { logits: Feeds[string] };
    const other = theirs.logits?.data as Float32Array;
    let [signal, noise] = [0, 0];
    for (const [i, v] of (logits.data as Float32Array).entries()) {
      signal += v ** 2;
      noise += (v - (other[i] as number)) ** 2;
    }
    expect(signal).toBeGreaterThan(0);
    expect(10 * Math.log10(signal / Math.max(noise, 1e-30))).toBeGreaterThan(100); // 134 was measured
    await session.release();
    await before.model.dispose();
    await after.model.dispose();
  }, 120_000);

  test('one seed gives one model', async () => {
    const bytes = async (seed: number) => {
      const { model } = await float.quantize({
        mode: 'qat',
        calibration: plain.slice(0, 2),
        layerErrors: 0,
        ...twoBits,
        training: { epochs: 2, learningRate: 3e-3, seed },
      });
      const written = await model.toBytes();
      await model.dispose();
      return written;
    };
    const once = await bytes(1);
    expect(await bytes(1)).toEqual(once);
    expect(await bytes(2)).not.toEqual(once);
  });

  test('it is cancelled, or stopped with what it has', async () => {
    const cancel = new AbortController();
    const job = {
      mode: 'qat',
      calibration: plain,
      layerErrors: 0,
      training: { epochs: 1000 },
    } as const;
    await errorOf(
      () =>
        float.quantize({
          ...job,
          signal: cancel.signal,
          onProgress: (p) => p.training && p.training.step > 2 && cancel.abort(),
        }),
      'cancelled',
    );
    const stop = new AbortController();
    let last: Progress['training'];
    const { model } = await float.quantize({
      ...job,
      training: { ...job.training, stop: stop.signal },
      onProgress: ({ training: t }) => {
        last = t ?? last;
        if (t && t.step > 2) stop.abort();
      },
    });
    expect(last?.step).toBeLessThan(last?.steps ?? 0);
    expect(await accuracy(model)).toBeGreaterThan(0.7);
    await model.dispose();
  });

  test('a run goes on from a checkpoint, to the same model', async () => {
    const saved: Uint8Array[] = [];
    const run = async (training: object) => {
      const { model } = await float.quantize({
        mode: 'qat',
        calibration: plain.slice(0, 2),
        layerErrors: 0,
        ...twoBits,
        training: { epochs: 3, learningRate: 3e-3, ...training },
      });
      const bytes = await model.toBytes();
      await model.dispose();
      return bytes;
    };
    const whole = await run({ onCheckpoint: (state: Uint8Array) => saved.push(state) });
    expect(saved).toHaveLength(3);
    expect(await run({ resume: saved[1] })).toEqual(whole);
    const other = await errorOf(() => run({ resume: saved[1], seed: 5 }), 'invalid-argument');
    expect(other.message).toMatch(/checkpoint belongs to another training/);
    await errorOf(() => run({ resume: saved[1]?.subarray(0, 100) }), 'invalid-argument');
  });

  test('work waits for what onProgress promises: a pause', async () => {
    let waited = 0;
    let steps = 0;
    const { model } = await float.quantize({
      mode: 'qat',
      calibration: plain.slice(0, 1),
      layerErrors: 0,
      training: { epochs: 1 },
      async onProgress({ training: t }) {
        if (!t) return;
        expect(waited).toBe(steps); // the promise before was kept
        steps += 1;
        await new Promise((done) => setTimeout(done, 20));
        waited += 1;
      },
    });
    expect(steps).toBeGreaterThan(1);
    await model.dispose();
  });

  test('memory is known beforehand, and held to a limit', async () => {
    const memory = async (memoryLimit?: string) => {
      let bytes = 0;
      const { model } = await float.quantize({
        mode: 'qat',
        calibration: plain.slice(0, 2),
        layerErrors: 0,
        training: { epochs: 1, memoryLimit },
        onProgress({ training: t }) {
          if (t?.step === 0) bytes = t.memoryBytes;
        },
      });
      await model.dispose();
      return bytes;
    };
    const free = await memory();
    expect(free).toBeGreaterThan(1e6);
    const held = await memory(`${Math.round(free * 0.7)}B`);
    expect(held).toBeLessThanOrEqual(free * 0.7);
    expect(held).toBeGreaterThan(0);
    expect((await errorOf(() => memory('700kB'), 'out-of-memory')).message).toMatch(/MiB/);
  });

  test('scales follow ranges, zero points are learned, values inside are targets, labels too', async () => {
    const losses = async (options: object, samples = plain, how: object = {}) => {
      let last: Progress['training'];
      const { model } = await float.quantize({
        mode: 'qat',
        calibration: samples,
        layerErrors: 0,
        ...twoBits,
        ...how,
        training: { epochs: 2, learningRate: 3e-3, ...options },
        onProgress: ({ training: now }) => {
          last = now ?? last;
        },
      });
      await model.dispose();
      return [last?.firstLoss ?? Number.NaN, last?.bestLoss ?? Number.NaN] as const;
    };
    for (const options of [
      { scales: 'moving-average' },
      { scales: 'fixed', zeroPoints: 'fixed' },
      { zeroPoints: 'learned' },
    ]) {
      const [first, best] = await losses(options);
      expect(best).toBeLessThan(first);
    }
    // Block by block, towards the float model.
    const [start, end] = await losses({ blocks: true, loss: 'mse' });
    expect(end).toBeLessThan(start);
    // One more term in the loss.
    const [outputs] = await losses({ epochs: 1 });
    const [withInside] = await losses({ epochs: 1, intermediate: ['pool2'] });
    expect(withInside).toBeGreaterThan(outputs * 1.01);
    // Labels as an array do what they do as feeds: one image a sample, since a label is a sample's.
    const few = { images: training.images.slice(0, 40), labels: training.labels.slice(0, 40) };
    const asFeeds = await losses({ epochs: 1 }, samplesOf(few, 1, { withLabels: true, Tensor }));
    const alone = samplesOf(few, 1, { Tensor });
    expect(await losses({ epochs: 1 }, alone, { labels: few.labels })).toEqual(asFeeds);
    expect(await losses({ epochs: 1 }, alone)).not.toEqual(asFeeds);
    const error = await errorOf(() => losses({}, alone, { labels: [1, 2] }), 'invalid-argument');
    expect(error.message).toMatch(/more samples than labels/);
  }, 120_000);

  test('mistakes are named', async () => {
    const wrong = (options: object) =>
      errorOf(() => float.quantize({ mode: 'qat', calibration: plain, ...options }), 'invalid-argument');
    expect((await wrong({ training: { epochs: -1 } })).message).toMatch(/training: epochs: -1/);
    expect((await wrong({ training: { loss: 'hinge' } })).message).toMatch(/training: loss: 'hinge'/);
    expect((await wrong({ training: { memoryLimit: 'much' } })).message).toMatch(/training: memoryLimit/);
    expect((await wrong({ training: { scales: 'loose' } })).message).toMatch(/training: scales: 'loose'/);
    expect((await wrong({ training: { intermediate: ['nowhere'] } })).message).toMatch(/'nowhere' is not/);
    expect((await wrong({ training: { blocks: true, freeze: true } })).message).toMatch(/needs a gradient/);
    expect((await wrong({ training: { blocks: 'yes' } })).message).toMatch(/training: blocks/);
    expect((await wrong({ weightBits: 1 })).message).toMatch(/weightBits: 1/);
    expect((await wrong({ inputs: 'quantized' })).message).toMatch(/takes integers cannot be trained/);
    const lost = await errorOf(
      () => float.quantize({ mode: 'qat', calibration: plain, training: { loss: 'cross-entropy' } }),
      'invalid-feed',
    );
    expect(lost.message).toMatch(/needs labels/);
  });

  test('the command line trains', async () => {
    const folder = temporaryFolder();
    const model = join(folder, 'digits.onnx');
    writeFileSync(model, await float.toBytes());
    const samples = join(folder, 'samples');
    mkdirSync(samples);
    for (const [i, { image }] of (plain as { image: Feeds[string] }[]).slice(0, 3).entries()) {
      writeFileSync(join(samples, `${i}.npy`), writeNpy(image));
    }
    const output = join(folder, 'small.onnx');
    const state = join(folder, 'run.state');
    const call = [
      'quantize',
      model,
      '-o',
      output,
      '--calibration',
      samples,
      '--mode',
      'qat',
      '--weights',
      'int4',
      '--activation-bits',
      '4',
      '--epochs',
      '2',
      '--learning-rate',
      '0.002',
      '--schedule',
      'step',
      '--checkpoint',
      state,
      '--json',
    ];
    const { code, stdout, stderr } = await cli(call);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    // The other ways to train; and to labels in a file, one for each image.
    const images = join(folder, 'images');
    mkdirSync(images);
    const alone = { images: training.images.slice(0, 12), labels: training.labels.slice(0, 12) };
    for (const [i, { image }] of (samplesOf(alone, 1, { Tensor }) as { image: Feeds[string] }[]).entries())
      writeFileSync(join(images, `${String(i).padStart(2, '0')}.npy`), writeNpy(image));
    const labels = join(folder, 'classes.txt');
    writeFileSync(labels, alone.labels.join('\n'));
    const others = ['--scales', 'moving-average', '--learn-zero-points', '--intermediate', 'pool2'];
    const trainedTo = (...more: string[]) =>
      cli([
        ...['quantize', model, '-o', join(folder, 'other.onnx'), '--force', '--calibration', images],
        ...['--mode', 'qat', '--weights', 'int4', '--epochs', '2', '--labels', labels, ...more],
      ]);
    expect(await trainedTo(...others)).toMatchObject({ code: 0 });
    writeFileSync(labels, '1\n2');
    expect(await trainedTo()).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/more samples than labels/),
    });
    // With the state of the finished run there is nothing left to do, and the model is the same.
    const before = readFileSync(output);
    expect(await cli([...call, '--force'])).toMatchObject({ code: 0 });
    expect(readFileSync(output).equals(before)).toBe(true);
    const other = await cli([...call, '--force', '--seed', '9']);
    expect(other).toMatchObject({ code: 2, stderr: expect.stringMatching(/checkpoint/) });
    expect(JSON.parse(stdout)).toMatchObject({ mode: 'qat', samples: 3 });
    await using small = await Model.load(output);
    expect(await accuracy(small)).toBeGreaterThan(0.6);
  });
});
