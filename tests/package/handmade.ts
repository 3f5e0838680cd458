// Models by hand, field by field, as protobuf writes them: small ones, and files that no exporter makes.

const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
const field = (tag: number, bytes: number[]) => [tag * 8 + 2, ...varint(bytes.length), ...bytes];
const number = (tag: number, value: number) => [tag * 8, ...varint(value)];
const text = (tag: number, value: string) => field(tag, [...new TextEncoder().encode(value)]);
export const valueInfo = (tag: number, name: string, dims: (number | string)[], type = 1) =>
  field(tag, [
    ...text(1, name),
    ...field(
      2,
      field(1, [
        ...number(1, type),
        ...field(
          2,
          dims.flatMap((d) => field(1, typeof d === 'number' ? number(1, d) : text(2, d))),
        ),
      ]),
    ),
  ]);
/** A float32 tensor of the model's own. */
export const initializer = (name: string, dims: number[], values: number[]) =>
  field(5, [
    ...dims.flatMap((d) => number(1, d)),
    ...number(2, 1),
    ...text(8, name),
    ...field(9, [...new Uint8Array(Float32Array.from(values).buffer)]),
  ]);
/** The same of any type (by its number in ONNX), its numbers as bytes or in the list of int32. */
export const tensorOf = (
  name: string,
  type: number,
  dims: number[],
  { raw, list }: { raw?: ArrayLike<number>; list?: number[] },
) =>
  field(5, [
    ...dims.flatMap((d) => number(1, d)),
    ...number(2, type),
    ...(list ? field(5, list.flatMap(varint)) : []),
    ...text(8, name),
    ...(raw ? field(9, Array.from(raw)) : []),
  ]);
/** A node, named by its operator and first output. */
export const node = (op: string, inputs: string[], outputs: string[], domain = '') =>
  field(1, [
    ...inputs.flatMap((name) => text(1, name)),
    ...outputs.flatMap((name) => text(2, name)),
    ...text(3, `${op}_of_${outputs[0]}`),
    ...text(4, op),
    ...(domain ? text(7, domain) : []),
  ]);
export const modelOf = (graph: number[], domains: string[] = [], opset = 13) =>
  Uint8Array.from([
    ...number(1, 8),
    ...field(7, [...graph, ...text(2, 'graph')]),
    ...field(8, [...text(1, ''), ...number(2, opset)]),
    ...domains.flatMap((domain) => field(8, [...text(1, domain), ...number(2, 1)])),
  ]);
/** A model from x to y, both float32 of these dimensions. */
export const small = (dims: (number | string)[], ...nodes: number[][]) =>
  modelOf([...nodes.flat(), ...valueInfo(11, 'x', dims), ...valueInfo(12, 'y', dims)], ['own.ops']);
