// Whether a tensor fits an input of the model, and the changes that make it fit without a doubt.
import type { Dim, ValueInfo } from '../engine/module.ts';
import { ZeropointError } from '../errors.ts';
import { Tensor, type TensorType } from '../tensor.ts';

const show = (dims: readonly Dim[] | null) => (dims ? `[${dims.join(', ')}]` : 'any dimensions');

export function fitError(
  file: string,
  input: ValueInfo,
  found: { type: string; dims: readonly number[] },
): ZeropointError {
  return new ZeropointError(
    'invalid-sample',
    `${file}: input '${input.name}' takes ${input.type} ${show(input.dims)}, the file has ${found.type} ${show(found.dims)}`,
    { file, tensor: input.name },
  );
}

const fits = (dims: readonly number[], wanted: readonly Dim[]) =>
  dims.length === wanted.length && dims.every((d, i) => typeof wanted[i] === 'string' || wanted[i] === d);

const floats: readonly string[] = ['float32', 'float64'];
const integers: readonly string[] = [
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
];

/** The same values in the type that the input takes; undefined where that would lose some. */
export function converted(tensor: Tensor, type: TensorType): Tensor | undefined {
  if (tensor.type === type) return tensor;
  const from = tensor.data;
  if (Array.isArray(from)) return undefined;
  if (floats.includes(type) && (floats.includes(tensor.type) || integers.includes(tensor.type))) {
    const data = type === 'float32' ? new Float32Array(tensor.size) : new Float64Array(tensor.size);
    for (let i = 0; i < data.length; ++i) data[i] = Number(from[i]);
    return new Tensor<TensorType>(type, data as never, tensor.dims);
  }
  if (integers.includes(type) && integers.includes(tensor.type)) {
    try {
      return new Tensor<TensorType>(
        type,
        Array.from(from as ArrayLike<number | bigint>) as never,
        tensor.dims,
      );
    } catch {
      return undefined; // a number that the type does not hold
    }
  }
  return undefined;
}

/** A part of a tensor along its first dimension. */
function part(tensor: Tensor, first: number, count: number, dims: readonly number[]): Tensor {
  const each = tensor.size / (tensor.dims[0] as number);
  const data = tensor.data.slice(first * each, (first + count) * each);
  return new Tensor(tensor.type, data as never, dims);
}

/**
 * Samples for one input out of one array. The array may be a sample; a sample without its batch of one; a stack of
 * samples, with one dimension more; or several batches in one.
 */
export function samplesFor(tensor: Tensor, input: ValueInfo, file: string): Tensor[] {
  const typed = converted(tensor, input.type);
  if (!typed) throw fitError(file, input, tensor);
  const wanted = input.dims;
  if (!wanted || fits(typed.dims, wanted)) return [typed];
  const [batch, ...rest] = wanted;
  if (
    typed.dims.length === wanted.length - 1 &&
    (batch === 1 || typeof batch === 'string') &&
    fits(typed.dims, rest)
  ) {
    return [typed.reshape([1, ...typed.dims])];
  }
  const [count = 0, ...own] = typed.dims;
  if (count > 0 && own.length === wanted.length && fits(own, wanted)) {
    return Array.from({ length: count }, (_, i) => part(typed, i, 1, own));
  }
  if (typeof batch === 'number' && batch > 0 && count % batch === 0 && fits(own, rest)) {
    return Array.from({ length: count / batch }, (_, i) => part(typed, i * batch, batch, [batch, ...own]));
  }
  throw fitError(file, input, tensor);
}
