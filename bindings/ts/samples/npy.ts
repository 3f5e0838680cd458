// NumPy's file format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
import { ZeropointError } from '../errors.ts';
import { bytesOf, elementCount, Tensor, type TensorLike, type TensorType, viewAs } from '../tensor.ts';

type Plain = Exclude<
  TensorType,
  'string' | 'bfloat16' | `${'' | 'u'}int${2 | 4}` | `float8${string}` | `float4${string}`
>;

const typeOfDescr: Record<string, Plain> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
};

const descrOfType = Object.fromEntries(
  Object.entries(typeOfDescr).map(([descr, type]) => [type, descr]),
) as Record<Plain, string>;

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // "\x93NUMPY"

export const isNpy = (bytes: Uint8Array): boolean => magic.every((byte, i) => bytes[i] === byte);

/** Strings of one width, filled up with zeros: `U` in UTF-32, `S` in bytes, taken as UTF-8. */
function stringsIn(bytes: Uint8Array, kind: string, width: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const own = bytes.subarray(i * width, (i + 1) * width);
    if (kind === 'S') return new TextDecoder().decode(own).replace(/\0+$/, '');
    const points = Array.from(new Uint32Array(own.slice().buffer));
    return String.fromCodePoint(...points).replace(/\0+$/, '');
  });
}

/** Strings as NumPy's `U`: UTF-32, all as wide as the longest. */
function bytesOfStrings(strings: readonly string[]): { descr: string; data: Uint8Array } {
  const points = strings.map((text) => Array.from(text, (character) => character.codePointAt(0) as number));
  if (points.some((own) => own.at(-1) === 0)) {
    throw new ZeropointError('unsupported-type', 'a string that ends in a zero cannot be written as .npy');
  }
  const width = points.reduce((most, own) => Math.max(most, own.length), 1);
  const data = new Uint32Array(points.length * width);
  for (const [i, own] of points.entries()) data.set(own, i * width);
  return { descr: `<U${width}`, data: bytesOf(data) };
}

/** Copies bytes so that they are aligned, and turns them round if they are in big-endian order. */
function nativeBytes(bytes: Uint8Array, elementBytes: number, bigEndian: boolean): Uint8Array {
  const copy = bytes.slice();
  if (bigEndian && elementBytes > 1) {
    for (let i = 0; i < copy.length; i += elementBytes) copy.subarray(i, i + elementBytes).reverse();
  }
  return copy;
}

/** From column-major order to row-major order. */
function toRowMajor(bytes: Uint8Array, dims: readonly number[], elementBytes: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const count = bytes.length / elementBytes;
  const index = new Array<number>(dims.length).fill(0);
  const strides: number[] = [];
  let stride = 1;
  for (const d of dims) {
    strides.push(stride);
    stride *= d;
  }
  for (let to = 0; to < count; ++to) {
    const from = index.reduce((sum, i, axis) => sum + i * (strides[axis] as number), 0);
    for (let b = 0; b < elementBytes; ++b) {
      out[to * elementBytes + b] = bytes[from * elementBytes + b] as number;
    }
    for (let axis = dims.length - 1; axis >= 0; --axis) {
      const next = (index[axis] as number) + 1;
      if (next < (dims[axis] as number)) {
        index[axis] = next;
        break;
      }
      index[axis] = 0;
    }
  }
  return out;
}

/** Reads a .npy file. `name` is for error messages. */
export function readNpy(bytes: Uint8Array, name = '.npy'): Tensor {
  const fail = (problem: string) =>
    new ZeropointError('invalid-sample', `${name}: ${problem}`, { file: name });
  if (bytes.length < 10 || !isNpy(bytes)) throw fail('not a .npy file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6] as number;
  if (version < 1 || version > 3) throw fail(`version ${version} of the format is not known`);
  const start = version === 1 ? 10 : 12;
  if (bytes.length < start) throw fail('the file is truncated');
  const headerLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const end = start + headerLength;
  if (end > bytes.length) throw fail('the file is truncated in its header');

  const header = new TextDecoder('utf-8').decode(bytes.subarray(start, end));
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(header)?.[1];
  if (descr === undefined) throw fail('records and objects cannot be read, only arrays of numbers');
  if (order === undefined || shape === undefined) throw fail('the header is malformed');
  const [, endian, kind = '', digits = ''] = /^([<>|=]?)([a-zUS])(\d+)$/.exec(descr) ?? [];
  const isText = kind === 'U' || kind === 'S';
  const type = isText ? 'string' : typeOfDescr[kind + digits];
  if (type === undefined) {
    throw fail(
      `elements of type '${descr}' cannot be read; there are ${Object.keys(typeOfDescr).join(', ')}, U and S`,
    );
  }
  const dims = shape
    .split(',')
    .map((text) => text.trim().replace(/L$/, ''))
    .filter(Boolean)
    .map(Number);
  let count: number;
  try {
    count = elementCount(dims);
  } catch {
    throw fail(`the shape (${shape}) is not valid`);
  }
  const unitBytes = kind === 'U' ? 4 : kind === 'S' ? 1 : Number(digits);
  const elementBytes = isText ? unitBytes * Number(digits) : unitBytes;
  if (isText && elementBytes === 0 && count > 0) throw fail('strings without a length');
  const expected = count * elementBytes;
  const found = bytes.length - end;
  if (found !== expected) {
    throw fail(`${descr} of shape [${dims.join(', ')}] takes ${expected} bytes, and the file has ${found}`);
  }
  let data = nativeBytes(bytes.subarray(end), unitBytes, endian === '>');
  if (order === 'True' && dims.length > 1) data = toRowMajor(data, dims, elementBytes);
  if (type !== 'string') return new Tensor<TensorType>(type, viewAs(type, data), dims);
  let strings: string[];
  try {
    strings = stringsIn(data, kind, elementBytes, count);
  } catch {
    throw fail('its strings have invalid characters');
  }
  return new Tensor<TensorType>(type, strings, dims);
}

/** The type in a .npy file's words, and the elements. */
function written({ type, data }: TensorLike): { descr: string; data: Uint8Array } {
  if (Array.isArray(data)) return bytesOfStrings(data);
  const descr = descrOfType[type as Plain];
  if (descr === undefined) {
    throw new ZeropointError('unsupported-type', `a tensor of type '${type}' cannot be written as .npy`);
  }
  return { descr: `${descr.endsWith('1') ? '|' : '<'}${descr}`, data: bytesOf(data) };
}

/** A tensor as a .npy file; strings as NumPy's `U`. bfloat16, small floats and packed elements have no form in it. */
export function writeNpy(tensor: TensorLike): Uint8Array<ArrayBuffer> {
  const { descr, data } = written(tensor);
  const shape = tensor.dims.length === 1 ? `${tensor.dims[0]},` : tensor.dims.join(', ');
  const fields = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  // Data starts at a multiple of 64, as NumPy has it.
  const header = `${fields.padEnd(Math.ceil((10 + fields.length + 1) / 64) * 64 - 11)}\n`;
  const file = new Uint8Array(10 + header.length + data.length);
  file.set([...magic, 1, 0]);
  new DataView(file.buffer).setUint16(8, header.length, true);
  file.set(new TextEncoder().encode(header), 10);
  file.set(data, 10 + header.length);
  return file;
}
