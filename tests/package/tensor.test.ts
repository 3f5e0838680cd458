import { Tensor as OrtTensor } from 'onnxruntime-web';
import { describe, expect, test } from 'vitest';
import { errorOf, zeropoint } from './helpers.ts';

const { Tensor } = zeropoint;

describe('Tensor', () => {
  test('is what onnxruntime-common has, for every type that both know', () => {
    const cases = [
      ['float32', new Float32Array([1.5, -2])],
      ['float64', new Float64Array([1.5, -2])],
      ['uint8', new Uint8Array([1, 255])],
      ['int8', new Int8Array([-128, 127])],
      ['uint16', new Uint16Array([1, 65535])],
      ['int16', new Int16Array([-32768, 1])],
      ['uint32', new Uint32Array([1, 2 ** 32 - 1])],
      ['int32', new Int32Array([-1, 1])],
      ['int64', new BigInt64Array([-1n, 2n ** 62n])],
      ['uint64', new BigUint64Array([1n, 2n ** 63n])],
      ['bool', new Uint8Array([0, 1])],
    ] as const;
    for (const [type, data] of cases) {
      const ours = new Tensor(type, data as never, [1, 2]);
      const theirs = new OrtTensor(type as 'float32', data as never, [1, 2]);
      expect(ours.type).toBe(theirs.type);
      expect(ours.dims).toEqual(theirs.dims);
      expect(ours.size).toBe(theirs.size);
      expect(ours.data).toBe(data);
      expect(ours.location).toBe(theirs.location);
    }
  });

  test('takes arrays of numbers, and infers the type from typed arrays', () => {
    expect(new Tensor('float32', [1, 2, 3]).data).toEqual(new Float32Array([1, 2, 3]));
    expect(new Tensor('int64', [1, 2]).data).toEqual(new BigInt64Array([1n, 2n]));
    expect(new Tensor('int64', [3n], []).dims).toEqual([]);
    expect(new Tensor('bool', [true, false]).data).toEqual(new Uint8Array([1, 0]));
    expect(new Tensor(new Int8Array(4), [2, 2]).type).toBe('int8');
    expect(new Tensor(new BigInt64Array(1)).type).toBe('int64');
    expect(new Tensor('string', ['a', 'b']).size).toBe(2);
  });

  test('keeps 4-bit elements packed two to a byte', () => {
    const tensor = new Tensor('uint4', new Uint8Array([0x21, 0x03]), [3]);
    expect(tensor.size).toBe(3);
    expect(tensor.data.length).toBe(2);
  });

  test('keeps 2-bit elements and small floats as their bits', () => {
    expect(new Tensor('int2', new Int8Array([0x21, 0x03]), [5]).size).toBe(5);
    expect(new Tensor('float4e2m1', new Uint8Array([0x21, 0x03]), [3]).size).toBe(3);
    expect(new Tensor('float8e5m2', new Uint8Array([0x3c]), []).data).toEqual(new Uint8Array([0x3c]));
    expect(() => new Tensor('float8e5m2', [1] as never)).toThrow(/float8e5m2.*Uint8Array.*not an array/);
  });

  test('reshapes without copying', () => {
    const tensor = new Tensor('float32', new Float32Array(6), [2, 3]);
    expect(tensor.reshape([3, 2]).data).toBe(tensor.data);
    expect(() => tensor.reshape([4])).toThrow(/4/);
  });

  test.each([
    ['an unknown type', () => new Tensor('float8' as 'float32', [1]), /float8.*float32/],
    ['dims that do not fit', () => new Tensor('float32', new Float32Array(5), [2, 3]), /\[2, 3\].*6.*5/],
    ['a negative dimension', () => new Tensor('float32', new Float32Array(0), [-1]), /-1/],
    ['a fraction of a dimension', () => new Tensor('float32', new Float32Array(1), [1.5]), /1\.5/],
    [
      'the wrong typed array',
      () => new Tensor('float32', new Int8Array(1) as never),
      /Float32Array.*Int8Array/,
    ],
    ['no data', () => new Tensor('float32', undefined as never), /typed array/],
    ['numbers that are not', () => new Tensor('int64', [1.5]), /int64/],
    ['numbers as strings', () => new Tensor('string', [1] as never), /strings/],
  ])('refuses %s', async (_, make, message) => {
    expect((await errorOf(make, 'invalid-argument')).message).toMatch(message);
  });
});
