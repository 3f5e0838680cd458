// What a call is given counts as it is at the moment of the call; and what is no tensor stops that call alone.
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Feeds } from 'zeropoint';
import { modelOf, node, small, valueInfo } from './handmade.ts';
import { errorOf, models, noise, zeropoint } from './helpers.ts';

const { Model, Tensor, compare, configure, engineInfo } = zeropoint;

/** y = x * x. */
const square = small(['n'], node('Mul', ['x', 'x'], ['y']));

const shared = (bytes: Uint8Array) => {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes.length + 8), 8);
  memory.set(bytes);
  return memory;
};

test('files of samples are taken in the call', async () => {
  const { readNpz, writeNpz, samplesInFile } = zeropoint;
  const data = Float32Array.from([1, 2]);
  const writing = writeNpz({ x: { type: 'float32', data, dims: [1, 2] } });
  data.fill(0);
  const file = await writing;
  const reading = readNpz(Uint8Array.from(file));
  const bytes = Uint8Array.from(file);
  const again = readNpz(bytes);
  bytes.fill(0);
  expect(await again).toEqual(await reading);
  expect((await again).x?.data).toEqual(Float32Array.from([1, 2]));
  const photo = await sharp({ create: { width: 4, height: 4, channels: 3, background: '#f00' } })
    .png()
    .toBuffer();
  const sampling = samplesInFile(photo, 'photo.png', [{ name: 'x', type: 'float32', dims: [1, 3, 4, 4] }]);
  photo.fill(0);
  expect((await sampling)[0]?.x?.data.slice(0, 2)).toEqual(Float32Array.from([1, 1]));
});

describe.each([
  ['in the same thread', false],
  ['in a worker', true],
])('%s', (_, worker) => {
  beforeAll(() => configure({ worker }));
  afterAll(() => configure({ worker: undefined }));

  test('the engine is there', async () => {
    expect((await engineInfo()).worker).toBe(worker);
  });

  describe('a run takes its feeds in the call', () => {
    const values = [1, 2];
    const bytes = new Uint8Array(Float32Array.from(values).buffer);
    test.each<[string, () => Float32Array]>([
      ['an array', () => Float32Array.from(values)],
      ['a view', () => new Float32Array([9, ...values, 9]).subarray(1, 3)],
      ['shared memory', () => new Float32Array(shared(bytes).buffer, 8)],
    ])('%s', async (name, make) => {
      await using model = await Model.load(square);
      await using session = await model.createSession();
      const data = make();
      const expected = Array.from(data, (v) => v * v);
      const dims = [data.length];
      const running = session.run({ x: { type: 'float32', data, dims } });
      // The one behind it waits for the first, and its array is overwritten all the same.
      const behind = session.run({ x: { type: 'float32', data, dims } });
      data.fill(100);
      dims[0] = 7;
      expect(Array.from((await running).y?.data as Float32Array), name).toEqual(expected);
      expect(Array.from((await behind).y?.data as Float32Array), name).toEqual(expected);
      expect(data[0]).toBe(100); // the caller's array stays the caller's
    });
  });

  test('strings go in as they are in the call, and out, and a slip among them stops that call alone', async () => {
    await using model = await Model.load(
      modelOf([
        ...node('Identity', ['x'], ['y']),
        ...valueInfo(11, 'x', ['n'], 8),
        ...valueInfo(12, 'y', ['n'], 8),
      ]),
    );
    await using session = await model.createSession();
    const data = ['längst 🙂', '', 'b'];
    const running = session.run({ x: { type: 'string', data, dims: [3] } });
    data.fill('overwritten');
    expect((await running).y).toMatchObject({ type: 'string', dims: [3], data: ['längst 🙂', '', 'b'] });
    await errorOf(
      () => session.run({ x: { type: 'string', data: ['a', null], dims: [2] } as never }),
      'invalid-feed',
    );
    expect((await session.run({ x: new Tensor('string', ['c']) })).y?.data).toEqual(['c']);
  });

  test('bytes that a Buffer shows of a pool are copied too', async () => {
    await using model = await Model.load(square);
    await using session = await model.createSession();
    const pool = Buffer.alloc(64);
    const data = new Float32Array(pool.buffer, pool.byteOffset, 2);
    data.set([3, 4]);
    const running = session.run({ x: { type: 'float32', data, dims: [2] } });
    pool.fill(0);
    expect((await running).y?.data).toEqual(Float32Array.from([9, 16]));
  });

  test.each<[string, (bytes: Uint8Array) => Parameters<typeof Model.load>[0]]>([
    ['an array', (bytes) => bytes],
    ['a buffer', (bytes) => bytes.buffer],
    ['a view', (bytes) => new DataView(bytes.buffer)],
    ['a Buffer', (bytes) => Buffer.from(bytes.buffer)],
  ])('a load takes its bytes in the call: %s', async (_name, sourceOf) => {
    const bytes = Uint8Array.from(square);
    const loading = Model.load(sourceOf(bytes));
    bytes.fill(0);
    await using model = await loading;
    expect(model.inputs[0]?.name).toBe('x');
    expect(bytes.length).toBe(square.length); // not moved away
  });

  test('a load takes shared bytes in the call', async () => {
    const bytes = shared(square);
    const loading = Model.load(bytes);
    bytes.fill(0);
    await using model = await loading;
    expect(model.outputs[0]?.name).toBe('y');
  });

  test('bytes that were transferred are an error with a name', async () => {
    const bytes = Uint8Array.from(square);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    const error = await errorOf(() => Model.load(bytes), 'invalid-argument');
    expect(error.details.hint).toMatch(/transferred/);
    await using model = await Model.load(square);
    await using session = await model.createSession();
    const data = Float32Array.from([1, 2]);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    await errorOf(() => session.run({ x: { type: 'float32', data, dims: [2] } }), 'invalid-feed');
  });

  describe('samples are taken when they are read', () => {
    const { path, feeds: shapes } = models.wakeWord;
    const dims = shapes['x.1'];
    const size = dims.reduce((a: number, b) => a * b, 1);

    /** Three samples: each in an array of its own, or all in one that is overwritten as soon as it was read. */
    function* series(own: boolean): Generator<Feeds> {
      const data = new Float32Array(size);
      for (const seed of [1, 2, 3]) {
        const now = own ? noise(size, seed) : data;
        if (!own) {
          data.set(noise(size, seed));
          setImmediate(() => data.fill(7)); // once nothing else is due
        }
        yield { 'x.1': { type: 'float32', data: now, dims } };
        if (!own) data.fill(-7);
      }
    }

    test('of a quantization, for its repairs and its layers’ errors, and options with them', async () => {
      await using model = await Model.load(path);
      const exclude: string[] = [];
      const quantized = async (own: boolean) => {
        const working = model.quantize({ calibration: series(own), exclude, threads: 1 });
        exclude.push('Conv', 'Gemm', 'MatMul');
        const { model: result, report } = await working;
        exclude.length = 0;
        const bytes = await result.toBytes();
        await result.dispose();
        return { bytes, errors: report.layers.map(({ error }) => error?.sqnr) };
      };
      const expected = await quantized(true);
      expect(expected.errors.filter((sqnr) => sqnr !== undefined).length).toBeGreaterThan(0);
      expect(await quantized(false)).toEqual(expected);
    });

    test('of a comparison, with layers', async () => {
      await using model = await Model.load(path);
      const { model: other } = await model.quantize({ mode: 'dynamic' });
      const compared = async (own: boolean) => {
        const { latency: _latency, ...rest } = await compare(model, other, series(own), { layers: true });
        return rest;
      };
      const expected = await compared(true);
      expect(expected.layers.length).toBeGreaterThan(0);
      expect(await compared(false)).toEqual(expected);
      await other.dispose();
    });
  });

  describe('what is no tensor stops its call alone, and is named', () => {
    const floats = Float32Array.from([1, 2]);
    const holes = ['a', 'b'];
    delete holes[1];
    const wrong: [string, unknown, RegExp][] = [
      ['null among strings', { type: 'string', data: ['a', null], dims: [2] }, /entry 1 is null/],
      ['a number among strings', { type: 'string', data: [7, 'b'], dims: [2] }, /entry 0 is 7/],
      ['a gap among strings', { type: 'string', data: holes, dims: [2] }, /entry 1 is undefined/],
      ['numbers for strings', { type: 'string', data: floats, dims: [2] }, /Float32Array/],
      ['strings for numbers', { type: 'float32', data: ['1', '2'], dims: [2] }, /entry 0 is '1'/],
      ['null among numbers', { type: 'float32', data: [1, null], dims: [2] }, /entry 1 is null/],
      [
        'another array',
        { type: 'float32', data: new Int32Array(2), dims: [2] },
        /Float32Array, not a Int32Array/,
      ],
      ['half of it', { type: 'float16', data: floats, dims: [2] }, /Uint16Array, not a Float32Array/],
      [
        'no array',
        { type: 'float32', data: new DataView(new ArrayBuffer(8)), dims: [2] },
        /a Tensor is needed/,
      ],
      ['bytes alone', { type: 'float32', data: new ArrayBuffer(8), dims: [2] }, /a Tensor is needed/],
      ['an unknown type', { type: 'float8', data: floats, dims: [2] }, /'float8' is not an element type/],
      ['a type that is none', { type: 7, data: floats, dims: [2] }, /a Tensor is needed/],
      ['dimensions as strings', { type: 'float32', data: floats, dims: ['2'] }, /dimension 0 is '2'/],
      [
        'dimensions with a gap',
        { type: 'float32', data: floats, dims: Array(1) },
        /dimension 0 is undefined/,
      ],
      ['two negative dimensions', { type: 'float32', data: floats, dims: [-1, -2] }, /dimension 0 is -1/],
      ['NaN for a dimension', { type: 'float32', data: floats, dims: [Number.NaN] }, /dimension 0 is NaN/],
      ['dimensions that are huge', { type: 'float32', data: floats, dims: [2 ** 52, 2 ** 52] }, /too many/],
      ['huge and empty', { type: 'float32', data: new Float32Array(), dims: [0, 2 ** 52, 4] }, /too many/],
      ['typed dimensions', { type: 'float32', data: floats, dims: Int32Array.of(2) }, /a Tensor is needed/],
      [
        'a value too large',
        { type: 'int64', data: [2n ** 63n, 0], dims: [2] },
        /entry 0 is 9223372036854775808n/,
      ],
      [
        'a tensor that throws',
        {
          type: 'float32',
          dims: [2],
          get data() {
            throw new Error('it is on another device');
          },
        },
        /on another device/,
      ],
      ['a function', () => floats, /a Tensor is needed/],
    ];
    test.each(wrong)('%s', async (_name, tensor, message) => {
      await using model = await Model.load(square);
      await using session = await model.createSession();
      const error = await errorOf(() => session.run({ x: tensor } as never), 'invalid-feed');
      expect(error.message).toMatch(message);
      expect(error.message).toMatch(/^input 'x': /);
      expect(error.details.tensor).toBe('x');
      await errorOf(() => compare(model, model, [{ x: tensor } as never]), 'invalid-feed');
      // The same session, the same engine.
      const { y } = await session.run({ x: new Tensor('float32', [3, 4]) });
      expect(y?.data).toEqual(Float32Array.from([9, 16]));
    });

    test('and samples of a training that are none', async () => {
      await using model = await Model.load(readFileSync(models.wakeWord.path));
      const x = new Tensor('float32', noise(16 * 96), [1, 16, 96]);
      for (const sample of [
        { 'x.1': { ...x, data: [null] } },
        { 'x.1': x, 'target:53': { type: 'int64', data: [1.5], dims: [1] } },
        { 'x.1': x, 'target:53': null },
      ]) {
        await errorOf(
          () => model.quantize({ mode: 'qat', calibration: [sample as never], training: { epochs: 1 } }),
          'invalid-feed',
        );
      }
      for (const samples of [[null], [undefined], ['x'], [{ 'x.1': x }, undefined]]) {
        await errorOf(() => model.quantize({ calibration: samples as never }), 'invalid-argument');
        const once = samples[Symbol.iterator]() as never; // read once, and kept
        await errorOf(() => model.quantize({ calibration: once, repairs: ['gptq'] }), 'invalid-argument');
      }
      await using session = await model.createSession();
      expect(Object.keys(await session.run({ 'x.1': x }))).toEqual(['53']);
    });
  });
});
