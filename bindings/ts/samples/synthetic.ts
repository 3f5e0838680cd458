// Made-up samples: enough to measure speed, and to try things out; not to find ranges that real data has.
import type { ValueInfo } from '../engine/module.ts';
import { ZeropointError } from '../errors.ts';
import * as check from '../options.ts';
import { dataLength, Tensor, type TensorType } from '../tensor.ts';

/** The number and the sizes of samples of noise. */
export interface SyntheticOptions {
  /** How many samples. Default: 8. */
  count?: number | undefined;
  /** The same seed gives the same samples. Default: 1. */
  seed?: number | undefined;
  /** Floats are drawn from a normal distribution around 0 (default), or evenly from -1...1. */
  distribution?: 'normal' | 'uniform' | undefined;
  /** Integers are drawn evenly from 0 up to, but without, this. Default: 100; types that hold less: what they hold. */
  integers?: number | undefined;
  /** Sizes of named dimensions: { H: 640, W: 640 }. */
  dims?: Readonly<Record<string, number>> | undefined;
  /** All sizes of an input, by its name: { x: [1, 3, 48, 192] }. Dimensions without a name are set by these alone. */
  shapes?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** Sizes of inputs, by the names of dimensions and by those of inputs. */
export const sizeChecks = {
  dims: check.recordOf(check.integer(0, 2 ** 31 - 1)),
  shapes: check.recordOf(check.listOf(check.integer(0, 2 ** 31 - 1))),
};

export const syntheticChecks: Record<string, check.Check> = {
  count: check.integer(1, 1_000_000),
  seed: check.integer(0, 2 ** 32 - 1),
  distribution: check.oneOf(['normal', 'uniform']),
  integers: check.integer(1, 2 ** 31 - 1),
  ...sizeChecks,
};

/** sfc32 by Chris Doty-Humphrey: small, fast, and passes PractRand. */
function randomFrom(seed: number): () => number {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, 0xb7e15162, seed | 0];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 15; ++i) next();
  return next;
}

/** The size of a named or unknown dimension: images of 224 rows, a second of sound, 128 tokens. */
function usualSize(axis: number, rank: number, isFloat: boolean): number {
  if (axis === 0) return 1;
  if (rank === 4 || rank === 5) return 224;
  if (rank === 2) return isFloat ? 16000 : 128;
  return rank === 3 && axis === 1 ? 128 : 224;
}

/** The error for the name of a dimension that no input has. */
function noSuchDim(inputs: readonly ValueInfo[], dim: string): ZeropointError {
  const open = new Set(inputs.flatMap(({ dims }) => (dims ?? []).filter((d) => typeof d === 'string')));
  const nameless = inputs.find(({ dims }) => dims?.includes('?') ?? true);
  const names = [...open].filter((name) => name !== '?');
  return new ZeropointError(
    'invalid-argument',
    `dims: no input has a dimension named '${dim}'; there ${names.length ? `are ${names.join(', ')}` : 'are none'}`,
    nameless && { hint: `dimensions of ${nameless.name} have no name: set its whole shape` },
  );
}

/**
 * Sizes of named dimensions, with those that the shapes of inputs give them. Throws for names that there are not, for shapes
 * that do not fit, and for one name with two sizes.
 */
export function dimsOf(
  inputs: readonly ValueInfo[],
  given: Readonly<Record<string, number>> = {},
  shapes: Readonly<Record<string, readonly number[]>> = {},
): Record<string, number> {
  const named = new Map(Object.entries(given));
  for (const dim of named.keys())
    if (dim === '?' || !inputs.some(({ dims }) => dims?.includes(dim))) throw noSuchDim(inputs, dim);
  const wrong = (tensor: string, what: string) =>
    new ZeropointError('invalid-argument', `shapes: ${tensor}: ${what}`, { tensor });
  for (const [name, shape] of Object.entries(shapes)) {
    const input = inputs.find((value) => value.name === name);
    if (!input)
      throw wrong(
        name,
        `the model has no such input; its inputs are ${inputs.map((i) => i.name).join(', ')}`,
      );
    const { dims } = input;
    if (!dims) continue;
    const fits =
      dims.length === shape.length && dims.every((d, i) => typeof d === 'string' || d === shape[i]);
    if (!fits) throw wrong(name, `[${shape.join(', ')}] does not fit [${dims.join(', ')}]`);
    for (const [i, dim] of dims.entries()) {
      const size = shape[i] as number;
      if (typeof dim === 'number' || dim === '?') continue;
      if ((named.get(dim) ?? size) !== size) throw wrong(name, `${dim} is ${named.get(dim)} elsewhere`);
      named.set(dim, size);
    }
  }
  return Object.fromEntries(named);
}

/** The sizes that samples get, where the model leaves them open. The same name is the same size everywhere. */
export function concreteDims(
  inputs: readonly ValueInfo[],
  given: Readonly<Record<string, number>> = {},
  shapes: Readonly<Record<string, readonly number[]>> = {},
): Map<string, number[]> {
  const named = new Map(Object.entries(dimsOf(inputs, given, shapes)));
  const sizes = new Map<string, number[]>();
  for (const { name, type, dims } of inputs) {
    const whole = shapes[name];
    if (whole) {
      sizes.set(name, [...whole]);
      continue;
    }
    if (!dims) {
      throw new ZeropointError(
        'invalid-argument',
        `input '${name}': the model does not say how many dimensions it has`,
        {
          tensor: name,
          hint: 'pass samples',
        },
      );
    }
    const isFloat = type.startsWith('float') || type === 'bfloat16';
    const concrete = dims.map((dim, axis) => {
      if (typeof dim === 'number') return dim;
      const known = dim === '?' ? undefined : named.get(dim);
      const size = known ?? usualSize(axis, dims.length, isFloat);
      if (dim !== '?') named.set(dim, size);
      return size;
    });
    sizes.set(name, concrete);
  }
  return sizes;
}

const mostOf: Partial<Record<TensorType, number>> = { bool: 2, int4: 8, uint4: 16, int8: 128, uint8: 256 };

/** One half-precision bit pattern of a number in -4...4: exact enough for made-up data. */
function halfBits(value: number): number {
  const [bits = 0] = new Uint32Array(new Float32Array([value]).buffer);
  const exponent = ((bits >>> 23) & 255) - 112;
  return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 1023);
}

/** Bytes of small floats around 1: any two of 4 bits, powers of two, or numbers with a sign. */
function smallFloatBits(type: TensorType, random: () => number): () => number {
  if (type === 'float4e2m1') return () => Math.floor(random() * 256);
  if (type === 'float8e8m0') return () => 124 + Math.floor(random() * 6);
  return () => 40 + Math.floor(random() * 24) + (random() < 0.5 ? 128 : 0);
}

function fill(
  type: TensorType,
  dims: number[],
  name: string,
  random: () => number,
  options: SyntheticOptions,
): Tensor {
  const size = dims.reduce((a, b) => a * b, 1);
  const length = dataLength(type, size);
  const number =
    options.distribution === 'uniform'
      ? () => random() * 2 - 1
      : () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const make = (value: () => number) => Array.from({ length }, value);
  switch (type) {
    case 'float32':
    case 'float64':
      return new Tensor<TensorType>(type, make(number), dims);
    case 'float16':
      return new Tensor(
        'float16',
        Uint16Array.from({ length }, () => halfBits(number())),
        dims,
      ) as Tensor;
    case 'bfloat16': {
      const bits = new Uint32Array(Float32Array.from({ length }, number).buffer);
      return new Tensor(
        'bfloat16',
        Uint16Array.from(bits, (b) => b >>> 16),
        dims,
      ) as Tensor;
    }
    case 'string':
      return new Tensor('string', new Array<string>(size).fill(''), dims) as Tensor;
    case 'int4':
    case 'uint4':
    case 'int2':
    case 'uint2':
      return new Tensor<TensorType>(
        type,
        make(() => Math.floor(random() * 256) - (type.startsWith('i') ? 128 : 0)),
        dims,
      );
    case 'float4e2m1':
    case 'float8e4m3fn':
    case 'float8e4m3fnuz':
    case 'float8e5m2':
    case 'float8e5m2fnuz':
    case 'float8e8m0':
      return new Tensor(type, Uint8Array.from({ length }, smallFloatBits(type, random)), dims) as Tensor;
    default: {
      // What transformers take besides tokens: nothing is masked, all is one segment.
      if (/mask/i.test(name))
        return new Tensor<TensorType>(
          type,
          make(() => 1),
          dims,
        );
      if (/token_type|segment/i.test(name))
        return new Tensor<TensorType>(
          type,
          make(() => 0),
          dims,
        );
      const most = Math.min(options.integers ?? 100, mostOf[type] ?? Number.POSITIVE_INFINITY);
      return new Tensor<TensorType>(
        type,
        make(() => Math.floor(random() * most)),
        dims,
      );
    }
  }
}

/** Made-up samples for a model's inputs. */
export function* syntheticSamples(
  inputs: readonly ValueInfo[],
  options: SyntheticOptions = {},
): Generator<Record<string, Tensor>> {
  check.checkOptions(options, syntheticChecks);
  const random = randomFrom(options.seed ?? 1);
  const sizes = concreteDims(inputs, options.dims, options.shapes);
  for (let i = 0; i < (options.count ?? 8); ++i) {
    const tensors = inputs.map(({ name, type }) => [
      name,
      fill(type, sizes.get(name) ?? [], name, random, options),
    ]);
    yield Object.fromEntries(tensors) as Record<string, Tensor>;
  }
}
