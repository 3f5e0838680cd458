// What files declare and operators contradict, and inputs that have values: said, and no reason to refuse.
import { expect, test } from 'vitest';
import { initializer, modelOf, node, valueInfo } from './handmade.ts';
import { zeropoint } from './helpers.ts';

const { Model, Tensor } = zeropoint;

const ones = (dims: number[]) =>
  new Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(1), dims);

test('a wrong declaration of an output is a warning of inspect()', async () => {
  const bytes = modelOf([
    ...node('Relu', ['x'], ['y']),
    ...valueInfo(11, 'x', ['n', 4]),
    ...valueInfo(12, 'y', [4]),
  ]);
  const model = await Model.load(bytes);
  expect((await model.inspect()).warnings).toEqual(["'y' is declared [4] but is [n, 4]"]);
  expect(model.outputs[0]?.dims).toEqual(['n', 4]);
  const session = await model.createSession();
  expect((await session.run({ x: ones([2, 4]) })).y?.dims).toEqual([2, 4]);
  expect(await session.warnings()).toEqual([]);
});

test('a batch that is declared 1 may be larger, with a warning of the session', async () => {
  const bytes = modelOf([
    ...node('Relu', ['x'], ['y']),
    ...valueInfo(11, 'x', [1, 4]),
    ...valueInfo(12, 'y', [1, 4]),
  ]);
  const session = await (await Model.load(bytes)).createSession();
  expect((await session.run({ x: ones([3, 4]) })).y?.dims).toEqual([3, 4]);
  expect(await session.warnings()).toEqual(["input 'x' is declared [1, 4] but fed [3, 4]"]);
});

test('an input that has a value may be fed another one', async () => {
  const bytes = modelOf([
    ...node('Add', ['x', 'w'], ['y']),
    ...initializer('w', [2], [10, 20]),
    ...valueInfo(11, 'x', [2]),
    ...valueInfo(11, 'w', [2]),
    ...valueInfo(12, 'y', [2]),
  ]);
  const model = await Model.load(bytes);
  expect(model.inputs.map(({ name }) => name)).toEqual(['x']);
  expect(model.optionalInputs.map(({ name }) => name)).toEqual(['w']);
  const session = await model.createSession();
  const x = ones([2]);
  expect([...((await session.run({ x })).y?.data ?? [])]).toEqual([11, 21]);
  const w = new Tensor('float32', new Float32Array([1, 2]), [2]);
  expect([...((await session.run({ x, w })).y?.data ?? [])]).toEqual([2, 3]);
  expect([...((await session.run({ x })).y?.data ?? [])]).toEqual([11, 21]);
  await expect(session.run({ x, w: new Tensor('int32', new Int32Array([1, 2]), [2]) })).rejects.toMatchObject(
    {
      code: 'invalid-feed',
    },
  );
});
