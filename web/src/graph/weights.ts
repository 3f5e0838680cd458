// How the numbers of a tensor in an ONNX file are distributed.
import { PbfReader } from 'pbf';
import type { GraphTensor } from './onnx.ts';

/** Equal steps from the least number to the largest; zeros are counted apart. */
export interface Spread {
  left: number;
  width: number;
  counts: readonly number[];
  zeros: number;
  /** NaN and infinite numbers, which are in no step. */
  notFinite: number;
}

const steps = 64;

/** Numbers in the fields of TensorProto: in a list for their type, or as bytes. */
function readContent(message: Uint8Array): { raw?: Uint8Array; list: number[] } {
  const pbf = new PbfReader(message);
  const found: { raw?: Uint8Array; list: number[] } = { list: [] };
  pbf.readMessage((tag) => {
    if (tag === 4) pbf.readPackedFloat(found.list);
    else if (tag === 5 || tag === 7) pbf.readPackedVarint(found.list, true);
    else if (tag === 9) found.raw = pbf.readBytes();
    else if (tag === 10) pbf.readPackedDouble(found.list);
    else if (tag === 11) pbf.readPackedVarint(found.list);
  }, undefined);
  return found;
}

/** IEEE 754 binary16. */
function half(bits: number): number {
  const fraction = bits & 0x3ff;
  const exponent = (bits >> 10) & 31;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** The upper half of a float32. */
function bfloat(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] as number;
}

type Reader = (view: DataView, index: number) => number;
const four = (view: DataView, index: number) => (view.getUint8(index >> 1) >> (4 * (index & 1))) & 15;
/** An element out of the bytes, by type. Types that are not here are not drawn. */
const readers: Readonly<Record<string, Reader>> = {
  float32: (view, i) => view.getFloat32(4 * i, true),
  float64: (view, i) => view.getFloat64(8 * i, true),
  float16: (view, i) => half(view.getUint16(2 * i, true)),
  bfloat16: (view, i) => bfloat(view.getUint16(2 * i, true)),
  int8: (view, i) => view.getInt8(i),
  uint8: (view, i) => view.getUint8(i),
  int16: (view, i) => view.getInt16(2 * i, true),
  uint16: (view, i) => view.getUint16(2 * i, true),
  int32: (view, i) => view.getInt32(4 * i, true),
  uint32: (view, i) => view.getUint32(4 * i, true),
  int64: (view, i) => Number(view.getBigInt64(8 * i, true)),
  uint64: (view, i) => Number(view.getBigUint64(8 * i, true)),
  int4: (view, i) => (four(view, i) ^ 8) - 8,
  uint4: four,
};
/** Types whose numbers stand in a list of int32 as they are; the others have their bits there. */
const plain = /^(u?int(8|16|32|64)|float(32|64))$/;

/** `message`: the bytes of the file between the two places of `at`. Undefined: the numbers are elsewhere, or of a type that is not drawn. */
export function spreadOf(message: Uint8Array, { type, dims, bytes }: GraphTensor): Spread | undefined {
  const read = readers[type];
  const count = dims.reduce((product, dim) => product * dim, 1);
  if (!read || count === 0) return undefined;
  const { raw, list } = readContent(message);
  let value: (index: number) => number;
  if (raw && raw.length >= bytes) {
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    value = (i) => read(view, i);
  } else if (list.length === count && (plain.test(type) || type === 'float16' || type === 'bfloat16')) {
    const bits = type === 'float16' ? half : type === 'bfloat16' ? bfloat : undefined;
    value = (i) => (bits ? bits(list[i] as number) : (list[i] as number));
  } else {
    return undefined;
  }
  let [left, right, zeros, notFinite] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (let i = 0; i < count; ++i) {
    const each = value(i);
    if (!Number.isFinite(each)) {
      ++notFinite;
      continue;
    }
    if (each === 0) ++zeros;
    if (each < left) left = each;
    if (each > right) right = each;
  }
  if (!(right > left)) return { left: right === left ? left : 0, width: 0, counts: [], zeros, notFinite };
  const width = (right - left) / steps;
  const counts = new Array<number>(steps).fill(0);
  for (let i = 0; i < count; ++i) {
    const each = value(i);
    if (each === 0 || !Number.isFinite(each)) continue;
    const step = Math.min(steps - 1, Math.floor((each - left) / width));
    counts[step] = (counts[step] as number) + 1;
  }
  return { left, width, counts, zeros, notFinite };
}
