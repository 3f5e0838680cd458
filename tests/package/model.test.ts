import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import * as ort from 'onnxruntime-web';
import { afterAll, describe, expect, test } from 'vitest';
import { errorOf, models, noise, noisyFeeds, relativeError, zeropoint } from './helpers.ts';

const { Model, Tensor } = zeropoint;

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

describe('float models give what ONNX Runtime Web gives', () => {
  test.each(Object.entries(models))('%s', async (_, { path, feeds: shapes }) => {
    await using model = await Model.load(path);
    await using session = await model.createSession();
    const reference = await ort.InferenceSession.create(readFileSync(path), { executionProviders: ['wasm'] });
    for (const seed of [1, 100]) {
      const feeds = noisyFeeds(shapes, seed);
      const ours = await session.run(feeds);
      const theirs = await reference.run(
        Object.fromEntries(
          Object.entries(feeds).map(([name, { data, dims }]) => [
            name,
            new ort.Tensor('float32', data, dims),
          ]),
        ),
      );
      expect(Object.keys(ours)).toEqual([...reference.outputNames]);
      for (const name of reference.outputNames) {
        expect(ours[name]?.dims).toEqual(theirs[name]?.dims);
        expect(ours[name]?.type).toBe(theirs[name]?.type);
        expect(
          relativeError(ours[name]?.data as Float32Array, theirs[name]?.data as Float32Array),
        ).toBeLessThan(1e-4);
      }
    }
    await reference.release();
  });
});

describe('Model', () => {
  const { path, feeds } = models.wakeWord;

  test('loads from every kind of source, and leaves the bytes as they are', async () => {
    const bytes = readFileSync(path);
    const copy = Uint8Array.from(bytes);
    const sources = [
      path,
      pathToFileURL(path),
      pathToFileURL(path).href,
      bytes,
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
      new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      new Blob([bytes]),
      new File([bytes], 'model.onnx'),
      `data:application/octet-stream;base64,${bytes.toString('base64')}`,
    ];
    for (const source of sources) {
      await using model = await Model.load(source);
      expect(model.size).toBe(bytes.length);
      await using session = await model.createSession();
      await session.run(noisyFeeds(feeds));
    }
    expect(Uint8Array.from(bytes)).toEqual(copy);
  });

  test('says what goes in and what comes out', async () => {
    await using model = await Model.load(models.detection.path);
    expect(model.inputs).toEqual([
      {
        name: 'x',
        type: 'float32',
        dims: ['p2o.DynamicDimension.0', 3, 'p2o.DynamicDimension.1', 'p2o.DynamicDimension.2'],
      },
    ]);
    expect(model.outputs).toHaveLength(1);
    expect(model.outputs[0]).toMatchObject({ name: 'sigmoid_0.tmp_0', type: 'float32' });
    expect(model.outputs[0]?.dims?.[1]).toBe(1);
  });

  test('inspects: operators, parameters, operations, and what quantization would do', async () => {
    await using model = await Model.load(models.detection.path);
    const report = await model.inspect({
      dims: { 'p2o.DynamicDimension.0': 1, 'p2o.DynamicDimension.1': 64, 'p2o.DynamicDimension.2': 64 },
    });
    expect(report.opsets).toContainEqual({ domain: 'ai.onnx', version: 11 });
    expect(report.operators).toContainEqual({ op: 'ai.onnx.Conv', count: expect.any(Number) });
    expect(report.parameters).toBeGreaterThan(1e6);
    expect(report.weightBytes).toBeGreaterThan(4e6);
    expect(report.size).toBe(readFileSync(models.detection.path).length);
    // The same at a quarter of the size has a quarter of the operations.
    const half = await model.inspect({
      dims: { 'p2o.DynamicDimension.0': 1, 'p2o.DynamicDimension.1': 32, 'p2o.DynamicDimension.2': 32 },
    });
    expect(report.macs / half.macs).toBeGreaterThan(3.5);
    expect(report.macs / half.macs).toBeLessThan(4.5);
    const { plan } = report;
    expect(plan.layersQuantized).toBeGreaterThan(10);
    expect(plan.layers.filter(({ quantized }) => quantized)).toHaveLength(plan.layersQuantized);
    for (const { node, why } of plan.layers) expect(why, node).not.toBe('');
    expect(plan.layers.find(({ op }) => op.endsWith('Conv'))?.weight).toMatchObject({ type: 'int8' });
    const measured = await model.inspect({ mode: 'weight-only', measureWeights: true });
    const weights = measured.plan.layers.flatMap(({ weight }) => (weight ? [weight.sqnr] : []));
    expect(weights.length).toBeGreaterThan(10);
    for (const sqnr of weights) expect(sqnr).toBeGreaterThan(20);
  });

  test('is written as ONNX, which ONNX Runtime opens', async () => {
    await using model = await Model.load(path);
    const bytes = await model.toBytes();
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
    const x = noise(16 * 96);
    const theirs = await session.run({ 'x.1': new ort.Tensor('float32', x, [1, 16, 96]) });
    await using ours = await model.createSession();
    const { 53: output } = await ours.run({ 'x.1': new Tensor('float32', x, [1, 16, 96]) });
    expect(relativeError(output?.data as Float32Array, theirs[53]?.data as Float32Array)).toBeLessThan(1e-5);
    await session.release();
    // And as a stream of one piece, as writeFile takes it.
    const pieces: Uint8Array[] = [];
    for await (const piece of model.toBytes()) pieces.push(piece);
    expect(pieces).toEqual([bytes]);
  });
});

describe('Session', () => {
  test('takes tensors of onnxruntime-common, shapes that change, and runs that overlap', async () => {
    await using model = await Model.load(models.angle.path);
    await using session = await model.createSession();
    expect(session.inputNames).toEqual(['x']);
    const wide = [1, 3, 48, 192];
    const narrow = [2, 3, 48, 96];
    const run = (dims: number[], seed: number) => {
      const x = noise(
        dims.reduce((a, b) => a * b, 1),
        seed,
      );
      return session.run({ x: new ort.Tensor('float32', x, dims) });
    };
    const [a, b, c, again] = await Promise.all([run(wide, 1), run(narrow, 2), run(wide, 3), run(wide, 1)]);
    const data = (outputs: Awaited<ReturnType<typeof run>>) =>
      Object.values(outputs)[0]?.data as Float32Array;
    expect(Object.values(b)[0]?.dims).toEqual([2, 2]);
    expect(data(again)).toEqual(data(a));
    expect(data(c)).not.toEqual(data(a));
    expect(session.lastRunMs).toBeGreaterThan(0);
    expect(await session.arenaBytes()).toBeGreaterThan(0);
    const steps = await session.steps();
    expect(steps.some(({ op }) => op.includes('Conv'))).toBe(true);
  });

  test('threads change nothing', async () => {
    await using model = await Model.load(models.recognition.path);
    const outputs = [];
    for (const threads of [1, 2, 3]) {
      await using session = await model.createSession({ threads });
      outputs.push(await session.run(noisyFeeds(models.recognition.feeds)));
    }
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
  });

  test('the event loop turns during a long run', async () => {
    await using model = await Model.load(models.detection.path);
    await using session = await model.createSession({ threads: 1 });
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await session.run(noisyFeeds({ x: [1, 3, 320, 320] }));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
  });
});

describe('the engine in a worker thread', () => {
  afterAll(() => zeropoint.configure({ worker: undefined }));

  test('gives the same numbers, errors and bytes as in place', async () => {
    const inPlace = await Model.load(models.angle.path);
    zeropoint.configure({ worker: true });
    await using model = await Model.load(models.angle.path);
    expect((await zeropoint.engineInfo()).worker).toBe(true);
    expect(model.inputs).toEqual(inPlace.inputs);
    await using here = await inPlace.createSession({ threads: 1 });
    await using there = await model.createSession({ threads: 1 });
    const feeds = noisyFeeds(models.angle.feeds);
    expect(await there.run(feeds)).toEqual(await here.run(feeds));
    expect(feeds.x?.data.length).toBe(3 * 48 * 192); // not moved away
    expect(await model.toBytes()).toEqual(await inPlace.toBytes());
    const error = await errorOf(() => there.run({}), 'invalid-feed');
    expect(error.message).toMatch(/x/);
    const { model: small } = await model.quantize({ mode: 'dynamic' });
    expect(small.size).toBeLessThan(model.size);
    const { latency: _, ...verdict } = await zeropoint.compare(model, small, [feeds]);
    const { model: smallInPlace } = await inPlace.quantize({ mode: 'dynamic' });
    const { latency: __, ...verdictInPlace } = await zeropoint.compare(inPlace, smallInPlace, [feeds]);
    expect(verdict).toEqual(verdictInPlace);
    expect(verdict.outputs[0]?.sqnr).toBeGreaterThan(20);
    await errorOf(() => zeropoint.compare(inPlace, small, [feeds]), 'invalid-argument');
    await smallInPlace.dispose();
    await inPlace.dispose();
  });
});

describe('the engine', () => {
  test('says what it is', async () => {
    const info = await zeropoint.engineInfo();
    expect(info.platform).toBe('node');
    expect(info.build).toMatch(/^(simd|relaxed)(-threads)?$/);
    expect(info.instructionSet).toBe(info.build.startsWith('relaxed') ? 'relaxed' : 'simd128');
    expect(info.relaxedDot).toMatch(/^(absent|unsigned|signed|saturating)$/);
    expect(info.memory.reserved).toBeGreaterThanOrEqual(info.memory.used);
    const version = JSON.parse(readFileSync('package.json', 'utf8')).version;
    expect(zeropoint.version).toBe(version);
  });

  test('every build that runs here gives the same integers', async () => {
    const results = [];
    const builds = ['simd', 'simd-threads'] as const;
    for (const build of builds) {
      zeropoint.configure({ build });
      await using model = await Model.load(models.angle.path);
      expect((await zeropoint.engineInfo()).build).toBe(build);
      const { model: small } = await model.quantize({
        calibration: [noisyFeeds(models.angle.feeds)],
        outputs: 'quantized',
      });
      await using session = await small.createSession();
      results.push({
        bytes: await small.toBytes(),
        outputs: await session.run(noisyFeeds(models.angle.feeds, 7)),
      });
      await small.dispose();
    }
    zeropoint.configure({ build: 'auto' });
    expect(results[1]).toEqual(results[0]);
  });

  test('is found elsewhere, or says that it is not there', async () => {
    const { pathname } = new URL('dist/wasm/', pathToFileURL(`${process.cwd()}/`));
    zeropoint.configure({ wasmBase: pathToFileURL(pathname), build: 'simd' });
    await using model = await Model.load(models.wakeWord.path);
    expect(model.inputs).toHaveLength(1);
    zeropoint.configure({ wasmBase: 'file:///no/such/folder/' });
    const error = await errorOf(() => Model.load(models.wakeWord.path), 'io');
    expect(error.details.hint).toMatch(/wasmBase/);
    zeropoint.configure({ wasmBase: undefined, build: 'auto' });
  });
});
