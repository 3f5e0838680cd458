import { ZeropointError } from './errors.ts';

/** The typed array that holds each element type. */
export interface TensorDataMap {
  float32: Float32Array;
  float64: Float64Array;
  /** Half-precision numbers, as their 16 bits. */
  float16: Uint16Array;
  /** bfloat16 numbers, as their 16 bits. */
  bfloat16: Uint16Array;
  uint8: Uint8Array;
  int8: Int8Array;
  uint16: Uint16Array;
  int16: Int16Array;
  uint32: Uint32Array;
  int32: Int32Array;
  uint64: BigUint64Array;
  int64: BigInt64Array;
  /** One byte each: 0 or 1. */
  bool: Uint8Array;
  /** Packed two to a byte, low nibble first. */
  uint4: Uint8Array;
  /** Packed two to a byte, low nibble first. */
  int4: Int8Array;
  /** Packed four to a byte, the lowest bits first. */
  uint2: Uint8Array;
  /** Packed four to a byte, the lowest bits first. */
  int2: Int8Array;
  /** Floats of 8 bits, as their bits. */
  float8e4m3fn: Uint8Array;
  float8e4m3fnuz: Uint8Array;
  float8e5m2: Uint8Array;
  float8e5m2fnuz: Uint8Array;
  float8e8m0: Uint8Array;
  /** Floats of 4 bits, as their bits, packed two to a byte, low nibble first. */
  float4e2m1: Uint8Array;
  string: string[];
}

/** The name of an element type. */
export type TensorType = keyof TensorDataMap;
/** The elements of a tensor, as the typed array of their type (strings: an array). */
export type TensorData = TensorDataMap[TensorType];

type ArrayConstructor<T> = new (buffer: ArrayBufferLike, byteOffset?: number, length?: number) => T;

interface Storage {
  array: ArrayConstructor<Exclude<TensorData, string[]>> & {
    from(values: ArrayLike<never>): Exclude<TensorData, string[]>;
  };
  bits: number;
}

const storage = (array: unknown, bits: number) => ({ array, bits }) as Storage;

/** How the elements of each type lie in memory; strings do not. */
const storages: Record<Exclude<TensorType, 'string'>, Storage> = {
  float32: storage(Float32Array, 32),
  float64: storage(Float64Array, 64),
  float16: storage(Uint16Array, 16),
  bfloat16: storage(Uint16Array, 16),
  uint8: storage(Uint8Array, 8),
  int8: storage(Int8Array, 8),
  uint16: storage(Uint16Array, 16),
  int16: storage(Int16Array, 16),
  uint32: storage(Uint32Array, 32),
  int32: storage(Int32Array, 32),
  uint64: storage(BigUint64Array, 64),
  int64: storage(BigInt64Array, 64),
  bool: storage(Uint8Array, 8),
  uint4: storage(Uint8Array, 4),
  int4: storage(Int8Array, 4),
  uint2: storage(Uint8Array, 2),
  int2: storage(Int8Array, 2),
  float8e4m3fn: storage(Uint8Array, 8),
  float8e4m3fnuz: storage(Uint8Array, 8),
  float8e5m2: storage(Uint8Array, 8),
  float8e5m2fnuz: storage(Uint8Array, 8),
  float8e8m0: storage(Uint8Array, 8),
  float4e2m1: storage(Uint8Array, 4),
};

/** Types whose entries of `data` are not numbers, but the bits of one or more. */
export const isBits = (type: TensorType) =>
  type === 'bfloat16' || (type.startsWith('float') && type !== 'float32' && type !== 'float64');

export const tensorTypes = [...Object.keys(storages), 'string'] as TensorType[];

export function isTensorType(type: unknown): type is TensorType {
  return typeof type === 'string' && (tensorTypes as string[]).includes(type);
}

/** How many entries of `data` a tensor of `elements` elements has: fewer for types that are packed below a byte. */
export function dataLength(type: TensorType, elements: number): number {
  return type === 'string' ? elements : Math.ceil(elements / Math.max(1, 8 / storages[type].bits));
}

/** Dimensions as numbers: bigints, as files of tensors have them, are taken too. */
const numbersFrom = (dims: readonly unknown[]): unknown[] =>
  Array.from(dims, (d) => (typeof d === 'bigint' ? Number(d) : d));

/** The number of elements, or an error that says which dimension is wrong. */
export function elementCount(dims: readonly unknown[]): number {
  let count = 1;
  let others = 1; // than 0: even an empty tensor has dimensions that can be multiplied
  for (const [i, d] of [...dims].entries()) {
    if (typeof d !== 'number' || !Number.isSafeInteger(d) || d < 0) {
      throw new ZeropointError(
        'invalid-argument',
        `dims: dimension ${i} is ${show(d)}; a dimension is an integer of 0 or more`,
      );
    }
    count *= d;
    others *= d || 1;
  }
  if (!Number.isSafeInteger(others)) {
    throw new ZeropointError('invalid-argument', `dims: [${dims.join(', ')}] has too many elements`);
  }
  return count;
}

/** A value in an error's words. */
function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 20 ? `${value.slice(0, 20)}...` : value}'`;
  if (typeof value === 'bigint') return `${value}n`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** A view of bytes as the typed array of a type. The bytes must be aligned for it. */
export function viewAs<T extends Exclude<TensorType, 'string'>>(
  type: T,
  bytes: Uint8Array,
): TensorDataMap[T] {
  const { array } = storages[type];
  const size = Math.max(1, storages[type].bits / 8);
  return new array(bytes.buffer, bytes.byteOffset, bytes.byteLength / size) as unknown as TensorDataMap[T];
}

/** The bytes of a typed array, not copied. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** What a Tensor is made of. onnxruntime-common's tensors are of this shape too, and are taken wherever ours are. */
export interface TensorLike {
  readonly type: string;
  readonly data: TensorData;
  readonly dims: readonly number[];
}

/** `Float32Array` and the like: what kind of typed array a value is, of whatever realm and subclass; else ''. */
function kindOf(data: unknown): string {
  if (!ArrayBuffer.isView(data)) return '';
  return (data as unknown as { [Symbol.toStringTag]: string })[Symbol.toStringTag];
}

const isTypedArray = (data: unknown): data is Exclude<TensorData, string[]> => kindOf(data).endsWith('Array');

const isList = (data: unknown): data is ArrayLike<unknown> => Array.isArray(data) || isTypedArray(data);

const kindOfType = (type: Exclude<TensorType, 'string'>) =>
  (storages[type].array as unknown as { name: string }).name;

function typeOfData(data: unknown): TensorType {
  if (Array.isArray(data)) {
    if (typeof data[0] === 'string') return 'string';
    if (typeof data[0] === 'boolean') return 'bool';
    return 'float32';
  }
  const kind = kindOf(data);
  if (kind === 'Uint8ClampedArray') return 'uint8';
  if (kind === 'Float16Array') return 'float16';
  for (const type of [
    ...(['float32', 'float64', 'uint8', 'int8', 'uint16', 'int16'] as const),
    ...(['uint32', 'int32', 'uint64', 'int64'] as const),
  ]) {
    if (kind === kindOfType(type)) return type;
  }
  throw new ZeropointError('invalid-argument', 'data: a typed array or an array is needed');
}

const floats = new Float32Array(1);
const floatBits = new Uint32Array(floats.buffer);

/** The sixteen bits of the half-precision number that is nearest; of two as near, the one with an even last bit. */
function halfBits(value: number): number {
  floats[0] = value;
  const bits = floatBits[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00; // not a number
  if (rest >= 0x477ff000) return sign | 0x7c00; // rounds to more than 65504
  if (rest < 0x38800000) {
    // Below the smallest normal number: a multiple of 2^-24.
    const scaled = Math.abs(floats[0] as number) * 2 ** 24;
    const down = Math.floor(scaled);
    const up = scaled - down > 0.5 || (scaled - down === 0.5 && down % 2 === 1);
    return sign | (down + (up ? 1 : 0));
  }
  return sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
}

/** What the entries of an integer type hold; nothing for floats. Packed elements make one entry of 8 bits. */
function rangeOf(
  type: Exclude<TensorType, 'string'>,
): [min: number | bigint, max: number | bigint] | undefined {
  if (type === 'bool') return [0, 1];
  if (type === 'int64') return [-(2n ** 63n), 2n ** 63n - 1n];
  if (type === 'uint64') return [0n, 2n ** 64n - 1n];
  const [, unsigned, digits] = /^(u?)int(\d+)$/.exec(type) ?? [];
  if (digits === undefined) return undefined;
  const bits = Math.max(8, Number(digits));
  return unsigned ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/** A list's numbers as the typed array of `type`: each must be one that the type holds, and there are no gaps. */
function numbersOf(type: Exclude<TensorType, 'string'>, list: readonly unknown[]): TensorData {
  const range = rangeOf(type);
  const isWide = type === 'int64' || type === 'uint64';
  const holds = (v: unknown): v is number | bigint | boolean => {
    if (typeof v !== 'number' && typeof v !== 'bigint' && typeof v !== 'boolean') return false;
    if (!range) return true;
    const n = typeof v === 'boolean' ? Number(v) : v;
    return (typeof n !== 'number' || Number.isInteger(n)) && n >= range[0] && n <= range[1];
  };
  const numbers = Array.from(list, (v, i) => {
    if (holds(v)) return isWide ? BigInt(v) : Number(v);
    throw new ZeropointError(
      'invalid-argument',
      `data: entry ${i} is ${show(v)}, which is not a number of type '${type}'`,
    );
  });
  return storages[type].array.from(numbers as unknown as ArrayLike<never>);
}

/** Whether the memory of a typed array went to another thread. */
export function isDetached({ buffer }: { buffer: ArrayBufferLike }): boolean {
  const { detached } = buffer as { detached?: boolean };
  if (detached !== undefined || buffer.byteLength > 0) return detached === true;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** The data as the typed array of `type`, or an error. */
function toData(type: TensorType, data: unknown): TensorData {
  if (isTypedArray(data) && isDetached(data)) {
    throw new ZeropointError('invalid-argument', 'data: its bytes were transferred to another thread');
  }
  if (!isList(data)) {
    throw new ZeropointError('invalid-argument', 'data: a typed array or an array is needed');
  }
  if (type === 'string') {
    if (!Array.isArray(data)) {
      throw new ZeropointError(
        'invalid-argument',
        `data: a tensor of type 'string' takes an array of strings, not a ${kindOf(data)}`,
      );
    }
    // Not every(): it passes over gaps.
    const wrong = Array.from(data).findIndex((s) => typeof s !== 'string');
    if (wrong < 0) return data as string[];
    throw new ZeropointError(
      'invalid-argument',
      `data: a tensor of type 'string' takes an array of strings, and entry ${wrong} is ${show(data[wrong])}`,
    );
  }
  const kind = kindOf(data);
  if (kind === kindOfType(type)) return data as unknown as TensorData;
  if (
    (kind === 'Uint8ClampedArray' && type === 'uint8') ||
    // Runtimes that have Float16Array: the same sixteen bits.
    (kind === 'Float16Array' && type === 'float16')
  ) {
    const { buffer, byteOffset, length } = data as unknown as Uint8Array;
    return new storages[type].array(buffer, byteOffset, length);
  }
  if (Array.isArray(data) && !isBits(type)) return numbersOf(type, data);
  if (Array.isArray(data) && type === 'float16')
    return Uint16Array.from(numbersOf('float32', data) as Float32Array, halfBits);
  throw new ZeropointError(
    'invalid-argument',
    `data: a tensor of type '${type}' takes a ${kindOfType(type)}, not ${kind ? `a ${kind}` : 'an array'}`,
  );
}

/** The data copied, with memory of its own that is not shared: as it is now, whatever becomes of the original. */
function copied(data: TensorData): TensorData {
  if (Array.isArray(data)) return [...data];
  // Not slice(): a Buffer's is a view, and a subclass's is whatever it is.
  const { array } = storages[typeOfData(data) as Exclude<TensorType, 'string'>];
  return new (array as unknown as new (from: TensorData) => Exclude<TensorData, string[]>)(data);
}

/** A tensor of the engine's alone. */
export interface TakenTensor extends TensorLike {
  readonly type: TensorType;
}

/** A copy of what looks like a tensor, as it is at this moment, or an error that says what is wrong with it. */
export function takenFrom(tensor: unknown): TakenTensor {
  const { type, data, dims } = (tensor ?? {}) as Record<string, unknown>;
  if (typeof type !== 'string' || !isList(data) || !Array.isArray(dims)) {
    throw new ZeropointError('invalid-argument', 'a Tensor is needed');
  }
  if (!isTensorType(type)) {
    throw new ZeropointError('invalid-argument', `${show(type)} is not an element type`);
  }
  const sizes = numbersFrom(dims) as number[];
  const needed = dataLength(type, elementCount(sizes));
  const own = copied(toData(type, data));
  if (own.length !== needed) {
    throw new ZeropointError(
      'invalid-argument',
      `dims [${sizes.join(', ')}] do not fit ${own.length} entries of data`,
    );
  }
  return { type, data: own, dims: sizes };
}

/**
 * A dense, row-major array with a type and dimensions, in the shape of onnxruntime-common's Tensor.
 *
 * ```ts
 * new Tensor('float32', new Float32Array(6), [2, 3]);
 * new Tensor('int64', [1n, 2n, 3n]);          // dims default to one dimension
 * new Tensor(new Float32Array(6), [2, 3]);    // the type follows from the array
 * ```
 */
export class Tensor<T extends TensorType = TensorType> implements TensorLike {
  readonly type: T;
  readonly data: TensorDataMap[T];
  readonly dims: readonly number[];
  /** The number of elements. */
  readonly size: number;
  /** Where the data is: always the CPU. There for code written for ONNX Runtime. */
  readonly location = 'cpu';

  constructor(
    type: T,
    data: TensorDataMap[T] | readonly number[] | readonly bigint[] | readonly boolean[],
    dims?: readonly (number | bigint)[],
  );
  constructor(
    data: TensorDataMap[T] | readonly number[] | readonly boolean[],
    dims?: readonly (number | bigint)[],
  );
  constructor(first: unknown, second?: unknown, third?: readonly (number | bigint)[]) {
    const named = typeof first === 'string';
    if (named && !isTensorType(first)) {
      throw new ZeropointError(
        'invalid-argument',
        `type: '${first}' is not an element type; there are ${tensorTypes.join(', ')}`,
      );
    }
    const type = named ? (first as TensorType) : typeOfData(first);
    const data = toData(type, named ? second : first);
    const given = named ? third : (second as readonly (number | bigint)[] | undefined);
    if (given !== undefined && !Array.isArray(given)) {
      throw new ZeropointError('invalid-argument', 'dims: an array of numbers is needed');
    }
    const dims = given ? (numbersFrom(given) as number[]) : [data.length];
    const size = elementCount(dims);
    if (data.length !== dataLength(type, size)) {
      throw new ZeropointError(
        'invalid-argument',
        `dims: [${dims.join(', ')}] takes ${dataLength(type, size)} entries of data, not ${data.length}`,
      );
    }
    this.type = type as T;
    this.data = data as TensorDataMap[T];
    this.dims = [...dims];
    this.size = size;
  }

  /** The data, as a promise: for code written for ONNX Runtime. */
  async getData(): Promise<TensorDataMap[T]> {
    return this.data;
  }

  /** The same data under other dimensions with as many elements. */
  reshape(dims: readonly number[]): Tensor<T> {
    return new Tensor<T>(this.type, this.data, dims);
  }

  /** Nothing to give back: there for code written for ONNX Runtime. */
  dispose(): void {}
}

/** Whether a value can be fed to a model. */
export function isTensorLike(value: unknown): value is TensorLike {
  if (typeof value !== 'object' || value === null) return false;
  const { type, data, dims } = value as Record<string, unknown>;
  return typeof type === 'string' && isList(data) && Array.isArray(dims);
}

/** A tensor of any type: `tensor.type === 'float32'` says that its data is a Float32Array. */
export type AnyTensor = { [T in TensorType]: Tensor<T> }[TensorType];

/** One tensor for each input of a model, by name. */
export type Feeds = Readonly<Record<string, TensorLike>>;
