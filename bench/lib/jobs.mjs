// The jobs that are measured: single products, layers and convolutions as files of one layer, and the real models. Every maker
// writes its files into a folder and answers with the jobs that contest.mjs runs.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noise } from './measure.mjs';
import * as onnx from './onnx.mjs';
import * as tflite from './tflite.mjs';

/** M, K, N. */
const products = [
  [384, 384, 384],
  [512, 512, 512],
  [768, 768, 768],
  [1024, 1024, 1024],
  [128, 768, 3072],
  [196, 512, 512],
  [3136, 64, 64],
  [1, 1024, 1024],
  [1, 4096, 4096],
];
const quickProducts = [
  [384, 384, 384],
  [768, 768, 768],
  [1, 4096, 4096],
];

/** Layers of the models below, at the sizes that they have there. */
const convolutions = [
  { from: 'detection', what: '3×3 stride 2', input: [1, 3, 640, 640], channels: 16, kernel: 3, stride: 2 },
  { from: 'detection', what: 'pointwise', input: [1, 16, 320, 320], channels: 32, kernel: 1 },
  { from: 'detection', what: 'pointwise', input: [1, 48, 160, 160], channels: 48, kernel: 1 },
  { from: 'recognition', what: 'pointwise', input: [1, 240, 12, 80], channels: 240, kernel: 1, quick: true },
  { from: 'EfficientNet-Lite0', what: 'pointwise', input: [1, 112, 14, 14], channels: 672, kernel: 1 },
  { from: 'detection', what: '3×3', input: [1, 96, 80, 80], channels: 24, kernel: 3, quick: true },
  { from: 'embedding', what: '3×3', input: [1, 24, 38, 16], channels: 48, kernel: 3 },
  { from: 'detection', what: '3×3 depthwise', input: [1, 48, 160, 160], channels: 48, kernel: 3, groups: 48 },
  {
    from: 'detection',
    what: '3×3 depthwise stride 2',
    input: [1, 96, 80, 80],
    channels: 96,
    kernel: 3,
    stride: 2,
    groups: 96,
  },
  {
    from: 'recognition',
    what: '5×5 depthwise',
    input: [1, 240, 12, 80],
    channels: 240,
    kernel: 5,
    groups: 240,
    quick: true,
  },
  {
    from: 'ResNeXt',
    what: '3×3 in 32 groups',
    input: [1, 128, 28, 28],
    channels: 128,
    kernel: 3,
    groups: 32,
  },
  {
    from: 'detection',
    what: '2×2 transposed, stride 2',
    input: [1, 24, 160, 160],
    channels: 24,
    kernel: 2,
    stride: 2,
    transposed: true,
  },
];

/** Outputs of both engines are to agree this well. */
const rounding = { relative: 1e-4 };
const exactly = { relative: 0 };
/** One step of a uint8 output that uses the upper part of its range. */
const oneStep = { relative: 1.01 / 200 };
/** One step of an int8 output that uses its range, seen as a float. */
const oneSignedStep = { relative: 1.01 / 100 };
/** Weights of 4 bits: engines may round the activations, to 16 bits here, or to 8 in blocks where the file allows it. */
const roundedActivations = { relative: 2e-3 };

const feedFiles = (folder, id, feeds) =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, { type, data, dims }], i) => {
      const file = `${id}.${i}.bin`;
      writeFileSync(join(folder, file), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return [name, { type, dims: [...dims], file }];
    }),
  );

export function gemmJobs(folder, quick) {
  return (quick ? quickProducts : products).map((size) => {
    const name = size.join('×');
    const id = `gemm-${size.join('-')}`;
    const entrants = [];
    for (const [form, { bytes, feeds }] of Object.entries(onnx.matmuls(size))) {
      const file = `${id}-${form}.onnx`;
      writeFileSync(join(folder, file), bytes);
      const own = feedFiles(folder, `${id}-${form}`, feeds);
      for (const engine of ['ours', 'theirs'])
        entrants.push({ name: `${engine} ${form}`, engine, file, feeds: own });
    }
    const tolerances = {
      MatMul: rounding,
      MatMulInteger: exactly,
      QLinearMatMul: oneStep,
      MatMulNBits: roundedActivations,
    };
    const pairs = Object.entries(tolerances).map(([form, tolerance]) => [
      `theirs ${form}`,
      `ours ${form}`,
      tolerance,
    ]);
    return { id, table: 'gemm', name, macs: size.reduce((a, b) => a * b), size, entrants, pairs };
  });
}

export function layerJobs(folder, quick) {
  return (quick ? quickProducts : products).map((size) => {
    const [m, k] = size;
    const id = `layer-${size.join('-')}`;
    const feeds = feedFiles(folder, id, { x: { type: 'float32', data: noise(m * k, 1), dims: [m, k] } });
    const entrants = [];
    const pairs = [];
    for (const type of ['f32', 'int8']) {
      writeFileSync(join(folder, `${id}-${type}.onnx`), onnx.fullyConnected(size, type === 'int8'));
      writeFileSync(join(folder, `${id}-${type}.tflite`), tflite.fullyConnected(size, type === 'int8'));
      entrants.push({ name: `ours ${type}`, engine: 'ours', file: `${id}-${type}.onnx` });
      entrants.push({ name: `litert ${type}`, engine: 'litert', file: `${id}-${type}.tflite` });
      pairs.push([`ours ${type}`, `litert ${type}`, type === 'int8' ? oneSignedStep : rounding]);
    }
    return {
      id,
      table: 'layer',
      name: size.join('×'),
      macs: size.reduce((a, b) => a * b),
      size,
      feeds,
      entrants,
      pairs,
    };
  });
}

export function convolutionJobs(folder, quick) {
  return convolutions
    .filter((layer) => layer.quick || !quick)
    .map((layer) => {
      const [, channels, height, width] = layer.input;
      const name = `${layer.what}, ${channels}→${layer.channels}, ${height}×${width}`;
      const id = `conv-${name.replaceAll(/[^\w]+/g, '-')}`;
      const entrants = [];
      let macs = 0;
      for (const type of ['f32', 'int8']) {
        const made = onnx.convolution(layer, type === 'int8');
        macs = made.macs;
        const file = `${id}-${type}.onnx`;
        writeFileSync(join(folder, file), made.bytes);
        const own = feedFiles(folder, `${id}-${type}`, made.feeds);
        for (const engine of ['ours', 'theirs'])
          entrants.push({ name: `${engine} ${type}`, engine, file, feeds: own });
      }
      const pairs = [
        ['theirs f32', 'ours f32', rounding],
        ['theirs int8', 'ours int8', oneStep],
      ];
      return { id, table: 'convolution', name, from: layer.from, macs, entrants, pairs };
    });
}

/** Quantizes each model with inputs like its own, eight of them, as the package does by default. */
export async function modelJobs(folder, zeropoint, models, report) {
  const jobs = [];
  const quantizedFiles = new Map(); // models that differ in their inputs alone share them
  for (const [id, { title, path, input }] of Object.entries(models)) {
    report(`${title}: quantizing`);
    let int8 = quantizedFiles.get(path);
    if (!int8) {
      int8 = `${id}-int8.onnx`;
      const model = await zeropoint.Model.load(readFileSync(path));
      const calibration = [];
      for (let seed = 0; seed < 8; ++seed) {
        const entries = Object.entries(await input(seed));
        calibration.push(
          Object.fromEntries(
            entries.map(([name, { type, data, dims }]) => [name, new zeropoint.Tensor(type, data, dims)]),
          ),
        );
      }
      const { model: quantized } = await model.quantize({ calibration, layerErrors: 0 });
      writeFileSync(join(folder, int8), await quantized.toBytes());
      await quantized.dispose();
      await model.dispose();
      copyFileSync(path, join(folder, `${id}-float.onnx`));
      quantizedFiles.set(path, int8);
    }
    const float = int8.replace('-int8', '-float');
    const entrants = ['float', 'int8'].flatMap((type) =>
      ['ours', 'theirs'].map((engine) => ({
        name: `${engine} ${type}`,
        engine,
        file: type === 'int8' ? int8 : float,
      })),
    );
    const pairs = [
      ['theirs float', 'ours float', { relative: 1e-3 }],
      ['theirs int8', 'ours int8', { sqnr: 25 }],
    ];
    jobs.push({
      id,
      table: 'model',
      name: title,
      bytes: {
        float: readFileSync(join(folder, float)).length,
        int8: readFileSync(join(folder, int8)).length,
      },
      feeds: feedFiles(folder, id, await input(100)),
      entrants,
      pairs,
    });
  }
  return jobs;
}
