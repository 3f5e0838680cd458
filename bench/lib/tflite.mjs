// One fully connected layer as a .tflite file, for LiteRT: the same numbers as fullyConnected() of onnx.mjs. LiteRT.js
// takes no integers from JavaScript, so the int8 layer stands between QUANTIZE and DEQUANTIZE.
import * as flatbuffers from 'flatbuffers';
import { layerNumbers } from './onnx.mjs';

// The fields of TFLite's schema.fbs (version 3) that are used here, by their numbers.
const FLOAT32 = 0;
const INT32 = 2;
const INT8 = 9;
const FULLY_CONNECTED = 9;
const QUANTIZE = 114;
const DEQUANTIZE = 6;
const FULLY_CONNECTED_OPTIONS = 8;

class Writer {
  constructor(size) {
    this.builder = new flatbuffers.Builder(size);
  }

  /** A table of fields: number → [kind, value], where the kind names the builder's method and the default is 0. */
  table(count, fields) {
    this.builder.startObject(count);
    for (const [number, [kind, value]] of Object.entries(fields)) {
      this.builder[`addField${kind}`](Number(number), value, 0);
    }
    return ['Offset', this.builder.endObject()];
  }

  string(text) {
    return ['Offset', this.builder.createString(text)];
  }

  vector(bytes, add, values) {
    this.builder.startVector(bytes, values.length, bytes);
    for (let i = values.length - 1; i >= 0; --i) this.builder[add](values[i]);
    return ['Offset', this.builder.endVector()];
  }

  ints = (values) => this.vector(4, 'addInt32', values);
  offsets = (entries) =>
    this.vector(
      4,
      'addOffset',
      entries.map(([, offset]) => offset),
    );

  /** Bytes that begin at a multiple of 16, as kernels may ask. */
  bytes(array) {
    const data = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    this.builder.startVector(1, data.length, 16);
    this.builder.space -= data.length;
    this.builder.bb.bytes().set(data, this.builder.space);
    return ['Offset', this.builder.endVector()];
  }

  quantization(scales, dimension = 0) {
    return this.table(7, {
      2: this.vector(4, 'addFloat32', scales),
      3: this.vector(
        8,
        'addInt64',
        Array.from(scales, () => 0n),
      ),
      6: ['Int32', dimension],
    });
  }

  tensor(name, dims, type, buffer, quantization) {
    const fields = { 0: this.ints(dims), 1: ['Int8', type], 2: ['Int32', buffer], 3: this.string(name) };
    if (quantization) fields[4] = quantization;
    return this.table(8, fields);
  }

  operator(code, inputs, outputs, options) {
    const fields = { 0: ['Int32', code], 1: this.ints(inputs), 2: this.ints(outputs) };
    if (options) Object.assign(fields, { 3: ['Int8', FULLY_CONNECTED_OPTIONS], 4: options });
    return this.table(9, fields);
  }

  finish(entry) {
    this.builder.finish(entry[1], 'TFL3');
    return this.builder.asUint8Array().slice();
  }
}

export function fullyConnected([m, k, n], quantized) {
  const numbers = layerNumbers(k, n);
  const { bias, scales } = numbers;
  const w = quantized ? numbers.quantized : numbers.weights;
  const b = quantized ? Int32Array.from(bias, (x, i) => Math.round(x / (scales.x * scales.w[i]))) : bias;
  const writer = new Writer(w.byteLength + (1 << 17));
  const buffers = [null, w, b].map((data) => writer.table(1, data ? { 0: writer.bytes(data) } : {}));
  const type = quantized ? INT8 : FLOAT32;
  const q = (...given) => (quantized ? writer.quantization(...given) : undefined);
  const tensors = [
    writer.tensor('xq', [m, k], type, 0, q([scales.x])),
    writer.tensor('w', [n, k], type, 1, q(scales.w)),
    writer.tensor('b', [n], quantized ? INT32 : FLOAT32, 2, q(scales.w.map((scale) => scale * scales.x))),
    writer.tensor('yq', [m, n], type, 0, q([scales.y])),
  ];
  const operators = [writer.operator(0, [0, 1, 2], [3], writer.table(5, {}))];
  let [input, output] = [0, 3];
  if (quantized) {
    [input, output] = [4, 5];
    tensors.push(writer.tensor('x', [m, k], FLOAT32, 0), writer.tensor('y', [m, n], FLOAT32, 0));
    operators.unshift(writer.operator(1, [4], [0]));
    operators.push(writer.operator(2, [3], [5]));
  }
  const subgraph = writer.table(5, {
    0: writer.offsets(tensors),
    1: writer.ints([input]),
    2: writer.ints([output]),
    3: writer.offsets(operators),
    4: writer.string('main'),
  });
  const codes = quantized ? [FULLY_CONNECTED, QUANTIZE, DEQUANTIZE] : [FULLY_CONNECTED];
  const versions = { [FULLY_CONNECTED]: 5, [QUANTIZE]: 1, [DEQUANTIZE]: 2 };
  const operatorCodes = codes.map((code) =>
    writer.table(4, { 0: ['Int8', code], 2: ['Int32', versions[code]], 3: ['Int32', code] }),
  );
  return writer.finish(
    writer.table(5, {
      0: ['Int32', 3],
      1: writer.offsets(operatorCodes),
      2: writer.offsets([subgraph]),
      3: writer.string('one fully connected layer'),
      4: writer.offsets(buffers),
    }),
  );
}
