// ONNX files written here: of one layer, for timing single kernels through both engines' public interfaces, and other
// files that are put together by hand.
import protobuf from 'protobufjs';
import { noise } from './measure.mjs';

// The part of onnx.proto that is written here.
const { root } = protobuf.parse(
  `
  syntax = "proto2";
  message Attribute { optional string name = 1; optional float f = 2; optional int64 i = 3; repeated int64 ints = 8; optional int32 type = 20; }
  message Node { repeated string input = 1; repeated string output = 2; optional string name = 3; optional string op_type = 4; repeated Attribute attribute = 5; optional string domain = 7; }
  message Tensor { repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8; optional bytes raw_data = 9; }
  message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; }
  message Shape { repeated Dimension dim = 1; }
  message TensorType { optional int32 elem_type = 1; optional Shape shape = 2; }
  message Type { optional TensorType tensor_type = 1; }
  message Value { optional string name = 1; optional Type type = 2; }
  message Graph { repeated Node node = 1; optional string name = 2; repeated Tensor initializer = 5; repeated Value input = 11; repeated Value output = 12; }
  message Opset { optional string domain = 1; optional int64 version = 2; }
  message Model { optional int64 ir_version = 1; optional string producer_name = 2; optional Graph graph = 7; repeated Opset opset_import = 8; }
`,
  { keepCase: true },
);
const Model = root.lookupType('Model');

const types = { float32: 1, uint8: 2, int8: 3, int32: 6 };
const arrays = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int32: Int32Array };

const attribute = (name, value) =>
  Array.isArray(value) ? { name, ints: value, type: 7 } : { name, i: value, type: 2 };
const value = ([name, type, dims]) => ({
  name,
  type: {
    tensor_type: {
      elem_type: types[type],
      shape: {
        dim: dims.map((dim) => (typeof dim === 'string' ? { dim_param: dim } : { dim_value: dim })),
      },
    },
  },
});

/** Nodes: [op, inputs, output, attributes, domain]. Initializers: [name, type, dims, numbers]. Values: [name, type, dims]. */
export function model({ nodes, initializers, inputs, outputs }) {
  const graph = {
    name: 'bench',
    node: nodes.map(([op, input, output, attributes = {}, domain = '']) => ({
      op_type: op,
      name: output,
      input,
      output: [output],
      domain,
      attribute: Object.entries(attributes).map(([name, given]) => attribute(name, given)),
    })),
    initializer: initializers.map(([name, type, dims, numbers]) => {
      const data = numbers instanceof arrays[type] ? numbers : arrays[type].from([numbers].flat());
      return {
        name,
        dims,
        data_type: types[type],
        raw_data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      };
    }),
    input: inputs.map(value),
    output: outputs.map(value),
  };
  const opset_import = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  return Model.encode(
    Model.create({ ir_version: 8, producer_name: 'zeropoint bench', graph, opset_import }),
  ).finish();
}

const integers = (type, count, seed) => {
  const [low, high] = type === 'uint8' ? [0, 255] : [-127, 127];
  const numbers = new arrays[type](count);
  noise(count, seed).forEach((x, i) => {
    numbers[i] = Math.round(low + ((x + 1) / 2) * (high - low));
  });
  return numbers;
};
const scalar = (name, type, number) => [name, type, [], number];

// A sum of K products of numbers like these is about this large; outputs that use all of uint8 are asked of 3 of them.
const deviation = (k) => 0.11 * Math.sqrt(k);
const X_SCALE = 1 / 127;
const W_SCALE = 1 / 127;
const outputScale = (k) => (3 * deviation(k)) / 127;

/** One product in the forms that both engines know: form → { bytes, feeds }. The weights are constants. */
export function matmuls([m, k, n], forms = ['MatMul', 'MatMulInteger', 'QLinearMatMul', 'MatMulNBits']) {
  const made = {
    MatMul() {
      return {
        bytes: model({
          nodes: [['MatMul', ['x', 'w'], 'y']],
          initializers: [['w', 'float32', [k, n], noise(k * n, 2)]],
          inputs: [['x', 'float32', [m, k]]],
          outputs: [['y', 'float32', [m, n]]],
        }),
        feeds: { x: { type: 'float32', data: noise(m * k, 1), dims: [m, k] } },
      };
    },
    MatMulInteger() {
      return {
        bytes: model({
          nodes: [['MatMulInteger', ['x', 'w', 'xz'], 'y']],
          initializers: [['w', 'int8', [k, n], integers('int8', k * n, 2)], scalar('xz', 'uint8', 128)],
          inputs: [['x', 'uint8', [m, k]]],
          outputs: [['y', 'int32', [m, n]]],
        }),
        feeds: { x: { type: 'uint8', data: integers('uint8', m * k, 1), dims: [m, k] } },
      };
    },
    QLinearMatMul() {
      return {
        bytes: model({
          nodes: [['QLinearMatMul', ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz'], 'y']],
          initializers: [
            ['w', 'int8', [k, n], integers('int8', k * n, 2)],
            scalar('xs', 'float32', X_SCALE),
            scalar('xz', 'uint8', 128),
            scalar('ws', 'float32', W_SCALE),
            scalar('wz', 'int8', 0),
            scalar('ys', 'float32', outputScale(k)),
            scalar('yz', 'uint8', 128),
          ],
          inputs: [['x', 'uint8', [m, k]]],
          outputs: [['y', 'uint8', [m, n]]],
        }),
        feeds: { x: { type: 'uint8', data: integers('uint8', m * k, 1), dims: [m, k] } },
      };
    },
    MatMulNBits() {
      const blocks = Math.ceil(k / 32);
      const packed = integers('uint8', n * blocks * 16, 2);
      const scales = noise(n * blocks, 3).map((x) => (1 + x / 2) / 8);
      return {
        bytes: model({
          nodes: [
            ['MatMulNBits', ['x', 'w', 's'], 'y', { K: k, N: n, bits: 4, block_size: 32 }, 'com.microsoft'],
          ],
          initializers: [
            ['w', 'uint8', [n, blocks, 16], packed],
            ['s', 'float32', [n * blocks], scales],
          ],
          inputs: [['x', 'float32', [m, k]]],
          outputs: [['y', 'float32', [m, n]]],
        }),
        feeds: { x: { type: 'float32', data: noise(m * k, 1), dims: [m, k] } },
      };
    },
  };
  return Object.fromEntries(forms.map((form) => [form, made[form]()]));
}

/**
 * One fully connected layer with a bias, from float to float, as tflite.mjs makes it for LiteRT: the same numbers.
 * int8: x and y int8 per tensor, weights int8 per output channel, as Q/DQ pairs.
 */
export function fullyConnected([m, k, n], quantized) {
  const { weights, quantized: wq, bias, scales } = layerNumbers(k, n);
  const x = ['x', 'float32', [m, k]];
  const y = ['y', 'float32', [m, n]];
  if (!quantized) {
    return model({
      nodes: [['Gemm', ['x', 'w', 'b'], 'y', { transB: 1 }]],
      initializers: [
        ['w', 'float32', [n, k], weights],
        ['b', 'float32', [n], bias],
      ],
      inputs: [x],
      outputs: [y],
    });
  }
  const bq = Int32Array.from(bias, (value, i) => Math.round(value / (scales.x * scales.w[i])));
  return model({
    nodes: [
      ['QuantizeLinear', ['x', 'xs', 'xz'], 'xq'],
      ['DequantizeLinear', ['xq', 'xs', 'xz'], 'xd'],
      ['DequantizeLinear', ['w', 'ws', 'wz'], 'wd', { axis: 0 }],
      ['DequantizeLinear', ['b', 'bs'], 'bd', { axis: 0 }],
      ['Gemm', ['xd', 'wd', 'bd'], 'yf', { transB: 1 }],
      ['QuantizeLinear', ['yf', 'ys', 'xz'], 'yq'],
      ['DequantizeLinear', ['yq', 'ys', 'xz'], 'y'],
    ],
    initializers: [
      ['w', 'int8', [n, k], wq],
      ['b', 'int32', [n], bq],
      scalar('xs', 'float32', scales.x),
      scalar('xz', 'int8', 0),
      ['ws', 'float32', [n], scales.w],
      ['wz', 'int8', [n], new Int8Array(n)],
      ['bs', 'float32', [n], scales.w.map((scale) => scale * scales.x)],
      scalar('ys', 'float32', scales.y),
    ],
    inputs: [x],
    outputs: [y],
  });
}

let latest; // the four files of a layer are written one after another

/** What both files of a layer are made of: weights [n, k] and their integers, bias [n], the scales of x, y and channels. */
export function layerNumbers(k, n) {
  if (latest?.k === k && latest.n === n) return latest;
  const weights = noise(k * n, 2);
  const scales = { x: X_SCALE, y: outputScale(k), w: new Float32Array(n) };
  for (let j = 0; j < n; ++j) {
    let most = 0;
    for (let i = 0; i < k; ++i) most = Math.max(most, Math.abs(weights[j * k + i]));
    scales.w[j] = most / 127;
  }
  const quantized = new Int8Array(k * n);
  for (let i = 0; i < k * n; ++i) quantized[i] = Math.round(weights[i] / scales.w[Math.floor(i / k)]);
  latest = { k, n, weights, quantized, bias: noise(n, 4), scales };
  return latest;
}

/** One convolution, float or integer, NCHW. A transposed one has no integer form but that between Q/DQ pairs. */
export function convolution(
  { input, channels, kernel, stride = 1, groups = 1, transposed = false },
  quantized,
) {
  const [, inChannels, height, width] = input;
  const pad = transposed ? 0 : kernel >> 1;
  const side = (length) =>
    transposed ? (length - 1) * stride + kernel : Math.floor((length + 2 * pad - kernel) / stride) + 1;
  const output = [1, channels, side(height), side(width)];
  const wDims = transposed
    ? [inChannels, channels / groups, kernel, kernel]
    : [channels, inChannels / groups, kernel, kernel];
  const terms = (inChannels / groups) * kernel * kernel;
  const count = wDims.reduce((a, b) => a * b);
  const attributes = {
    kernel_shape: [kernel, kernel],
    strides: [stride, stride],
    pads: [pad, pad, pad, pad],
    group: groups,
  };
  const op = transposed ? 'ConvTranspose' : 'Conv';
  const macs = transposed ? height * width * count : output[2] * output[3] * count;
  const size = input.reduce((a, b) => a * b);
  if (!quantized) {
    return {
      macs,
      bytes: model({
        nodes: [[op, ['x', 'w', 'b'], 'y', attributes]],
        initializers: [
          ['w', 'float32', wDims, noise(count, 2)],
          ['b', 'float32', [channels], noise(channels, 4)],
        ],
        inputs: [['x', 'float32', input]],
        outputs: [['y', 'float32', output]],
      }),
      feeds: { x: { type: 'float32', data: noise(size, 1), dims: input } },
    };
  }
  const perChannel = !transposed;
  const scales = Float32Array.from({ length: perChannel ? channels : 1 }, () => W_SCALE);
  const zeros = new Int8Array(scales.length);
  const channelDims = perChannel ? [channels] : [];
  const initializers = [
    ['w', 'int8', wDims, integers('int8', count, 2)],
    [
      'b',
      'int32',
      [channels],
      Int32Array.from(noise(channels, 4), (x) => Math.round(x / (X_SCALE * W_SCALE))),
    ],
    scalar('xs', 'float32', X_SCALE),
    scalar('xz', 'uint8', 128),
    ['ws', 'float32', channelDims, scales],
    ['wz', 'int8', channelDims, zeros],
    scalar('ys', 'float32', outputScale(terms)),
    scalar('yz', 'uint8', 128),
  ];
  const nodes = transposed
    ? [
        ['DequantizeLinear', ['x', 'xs', 'xz'], 'xf'],
        ['DequantizeLinear', ['w', 'ws', 'wz'], 'wf'],
        [op, ['xf', 'wf'], 'yf', attributes],
        ['QuantizeLinear', ['yf', 'ys', 'yz'], 'y'],
      ]
    : [['QLinearConv', ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz', 'b'], 'y', attributes]];
  return {
    macs,
    bytes: model({
      nodes,
      initializers: transposed ? initializers.filter(([name]) => name !== 'b') : initializers,
      inputs: [['x', 'uint8', input]],
      outputs: [['y', 'uint8', output]],
    }),
    feeds: { x: { type: 'uint8', data: integers('uint8', size, 1), dims: input } },
  };
}
