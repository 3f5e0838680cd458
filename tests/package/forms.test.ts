// Forms of calls that ONNX Runtime's interface takes, and values that come from elsewhere.
import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { modelOf, node, valueInfo } from './handmade.ts';
import { errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

const { compare, Model, Tensor } = zeropoint;

/** x is a scalar, and so are both outputs. */
const scalars = modelOf([
  ...node('Abs', ['x'], ['y']),
  ...node('Neg', ['x'], ['z']),
  ...valueInfo(11, 'x', []),
  ...valueInfo(12, 'y', []),
  ...valueInfo(12, 'z', []),
]);

test('one element is taken for a scalar', async () => {
  await using model = await Model.load(scalars);
  await using session = await model.createSession();
  const { y } = await session.run({ x: new Tensor('float32', [-2], [1]) });
  expect([y?.dims, y?.data]).toEqual([[], new Float32Array([2])]);
  const { outputs } = await compare(model, model, [{ x: new Tensor('float32', [-2], [1]) }]);
  expect(outputs).toHaveLength(2);
  await errorOf(() => session.run({ x: new Tensor('float32', [1, 2], [2]) }), 'shape-mismatch');
});

test('some outputs, and tensors to write them into', async () => {
  await using model = await Model.load(scalars);
  await using session = await model.createSession();
  const x = new Tensor('float32', [-2], []);
  expect(Object.keys(await session.run({ x }, ['z']))).toEqual(['z']);
  expect(Object.keys(await session.run({ x }, { y: null }, {}))).toEqual(['y']);
  expect(Object.keys(await session.run({ x }, {}))).toEqual(['y', 'z']); // no options
  const buffer = new Float32Array(3);
  const into = new Tensor('float32', buffer.subarray(1, 2), []);
  const outputs = await session.run({ x }, { y: into });
  expect(outputs.y).toBe(into);
  expect(buffer).toEqual(new Float32Array([0, 2, 0]));
  expect((await errorOf(() => session.run({ x }, ['w']), 'invalid-argument')).message).toMatch(/'w'.*y, z/);
  await errorOf(() => session.run({ x }, { y: 7 } as never), 'invalid-argument');
  const other = new Tensor('float32', [0, 0], [2]);
  expect((await errorOf(() => session.run({ x }, { y: other }), 'shape-mismatch')).message).toMatch(/\[2\]/);
  expect((await session.run({ x }, { y: null, z: null })).z?.data).toEqual(new Float32Array([2])); // it goes on
});

test('the type of a tensor says what its data is', async () => {
  await using model = await Model.load(scalars);
  await using session = await model.createSession();
  const { y } = await session.run({ x: new Tensor('float32', [-2], []) });
  if (y?.type !== 'float32') return expect.fail('y is float32');
  const data: Float32Array = y.data; // compiles
  expect(data).toHaveLength(1);
});

test('numbers become float16', () => {
  const values = [
    1,
    -2,
    0.1,
    65504,
    65519,
    65520,
    2 ** -24,
    2 ** -25,
    6e-8,
    -0,
    Number.NaN,
    1 + 2 ** -11,
    1 + 3 * 2 ** -11,
  ];
  const bits = [
    0x3c00, 0xc000, 0x2e66, 0x7bff, 0x7bff, 0x7c00, 0x0001, 0x0000, 0x0001, 0x8000, 0x7e00, 0x3c00, 0x3c02,
  ];
  expect(new Tensor('float16', values).data).toEqual(Uint16Array.from(bits));
});

test('bigints as dimensions', () => {
  expect(new Tensor('float32', new Float32Array(6), [2n, 3n]).dims).toEqual([2, 3]);
  expect(() => new Tensor('float32', new Float32Array(6), [-2n, 3n])).toThrow(/-2/);
});

test('a Response, and arrays of another realm, are sources', async () => {
  const bytes = readFileSync(models.wakeWord.path);
  await using answered = await Model.load(new Response(bytes));
  expect(answered.inputs).toHaveLength(1);
  await errorOf(() => Model.load(new Response('', { status: 404 })), 'io');
  const read = new Response(bytes);
  await read.arrayBuffer();
  await errorOf(() => Model.load(read), 'invalid-argument');
  const elsewhere = runInNewContext('new ArrayBuffer(size)', { size: bytes.length }) as ArrayBuffer;
  new Uint8Array(elsewhere).set(bytes);
  expect(elsewhere).not.toBeInstanceOf(ArrayBuffer);
  await using model = await Model.load(elsewhere);
  expect(model.inputs).toHaveLength(1);
  await using session = await model.createSession();
  const { dims } = noisyFeeds(models.wakeWord.feeds)['x.1'] ?? expect.fail();
  const data = runInNewContext('new Float32Array(size)', { size: 16 * 96 }) as Float32Array;
  await session.run({ 'x.1': { type: 'float32', data, dims } });
});

test('bytes that went to another thread are a clear error', async () => {
  const bytes = new Uint8Array(readFileSync(models.wakeWord.path));
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  for (const source of [bytes, bytes.buffer])
    expect((await errorOf(() => Model.load(source), 'invalid-argument')).details.hint).toMatch(/transferred/);
  const data = new Float32Array(4);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  expect(() => new Tensor('float32', data, [4])).toThrow(/transferred/);
});

test('an abort does not wait for samples that never come', async () => {
  await using model = await Model.load(models.wakeWord.path);
  const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  const stop = () => AbortSignal.timeout(50);
  await errorOf(() => model.quantize({ calibration: never, signal: stop() }), 'cancelled');
  await errorOf(() => compare(model, model, never, { signal: stop() }), 'cancelled');
});
