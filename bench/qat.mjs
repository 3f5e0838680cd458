#!/usr/bin/env node
// What training brings back, and what it costs.
//
//   npm run bench:qat -- [--quick] [--networks digits,efficientnet,recognition] [--bits W8A8,W4A8] [--images FOLDER]
//                        [--json FILE]
//
// A digits network is trained here from scratch in float, then quantized with fewer and fewer bits: without training,
// and trained to answer as the float network does. EfficientNet-Lite0 and PP-OCRv4 recognition teach themselves on the
// samples that bench:accuracy calibrates with, and are tested on its others. --quick: few digits, and no networks.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as zeropoint from '../dist/node.js';
import { models as modelsFrom } from './accuracy/contest.mjs';
import { outputsOf, samplesOf as samplesOfModel } from './accuracy/samples.mjs';
import { accuracyOf, digits, digitsNetwork, randomNumbers, samplesOf } from './digits.mjs';
import { median } from './lib/measure.mjs';
import { movedToCurrentNode } from './lib/node.mjs';
import { environment, prepare } from './prepare/prepare.mjs';

const { Model, Tensor } = zeropoint;
const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    quick: { type: 'boolean', default: false },
    networks: { type: 'string', default: 'digits,efficientnet,recognition' },
    bits: { type: 'string', default: 'W8A8,W4A8' },
    images: {
      type: 'string',
      default: fileURLToPath(new URL('../../shared/imagenet-256', import.meta.url)),
    },
  },
});

const now = () => performance.now();
const percent = (part) => (100 * part).toFixed(2);
const table = (head, rows) =>
  `${[head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`;

/** Quantizes, and says how long it took and what the last progress of training was. */
async function train(model, how) {
  let last;
  const start = now();
  const { model: made } = await model.quantize({
    mode: 'qat',
    layerErrors: 0,
    onProgress: (p) => {
      last = p.training ?? last;
    },
    ...how,
  });
  return { made, seconds: (now() - start) / 1000, last };
}

// ---- digits

/** Channels of the two convolutions. A small network has less to spare. */
const networks = [
  [16, 32],
  [8, 8],
];

async function digitsTables() {
  const { training, test } = options.quick ? digits(150, 100) : digits(660, 200);
  const tables = [];
  for (const channels of networks) tables.push(await digitsTable(channels, training, test));
  return tables;
}

async function digitsTable(channels, training, test) {
  const labelled = samplesOf(training, 100, { withLabels: true, Tensor });
  const samples = samplesOf(training, 100, { Tensor });
  const accuracy = async (model) => {
    const session = await model.createSession({ threads: 1 });
    const found = await accuracyOf(session, test, { Tensor });
    await session.dispose();
    return found;
  };

  const network = await Model.load(digitsNetwork(channels));
  const untrained = await accuracy(network);
  const float = await train(network, {
    calibration: labelled,
    exclude: ['Conv', 'Gemm'],
    training: { epochs: options.quick ? 12 : 8, learningRate: 2e-3 },
  });
  const whole = await accuracy(float.made);
  console.log(
    `Digits, convolutions of ${channels.join(' and ')} channels, ${test.labels.length} digits not seen in training. Float: ` +
      `${percent(untrained)} % before it was trained, ${percent(whole)} % after ${float.seconds.toFixed(1)} s.\n`,
  );
  const rows = [];
  for (const [weightBits, activationBits] of [
    [8, 8],
    [4, 4],
    [2, 4],
  ]) {
    const how = {
      calibration: samples,
      weights: weightBits > 4 ? 'int8' : 'int4',
      weightBits,
      activationBits,
    };
    const before = await train(float.made, { ...how, training: { epochs: 0 } });
    const after = await train(float.made, { ...how, training: { epochs: 10, learningRate: 2e-3 } });
    rows.push({
      name: `W${weightBits}A${activationBits}`,
      float: whole,
      postTraining: await accuracy(before.made),
      trained: await accuracy(after.made),
      seconds: after.seconds,
      lossBefore: after.last.firstLoss,
      lossAfter: after.last.bestLoss,
    });
    await before.made.dispose();
    await after.made.dispose();
  }
  console.log(
    table(
      ['', 'float %', 'post-training %', 'trained %', 's', 'KL before', 'KL after'],
      rows.map((r) => [
        r.name,
        percent(r.float),
        percent(r.postTraining),
        percent(r.trained),
        r.seconds.toFixed(1),
        r.lossBefore.toFixed(4),
        r.lossAfter.toFixed(4),
      ]),
    ),
  );
  const steps = channels === networks[0] ? await stepCosts(float.made, samples, 'digits, 32 images') : [];
  await float.made.dispose();
  return { channels, untrained, float: whole, floatSeconds: float.seconds, rows, steps };
}

// ---- what a step costs

/** One and two threads: a step of training beside a forward pass of the float model over as many samples. */
async function stepCosts(model, samples, what) {
  const batchSize = 32;
  const [first] = samples;
  const feeds = Object.fromEntries(
    Object.entries(first).map(([name, { data, dims }]) => {
      const row = data.length / dims[0];
      return [name, new Tensor('float32', data.slice(0, batchSize * row), [batchSize, ...dims.slice(1)])];
    }),
  );
  const counts = [1, 2].filter((n) => n <= availableParallelism());
  const seen = counts.map((threads) => ({ threads, forward: [], step: [] }));
  for (let turn = 0; turn < 3; turn += 1) {
    for (const { threads, forward, step } of seen) {
      const session = await model.createSession({ threads });
      const passes = [];
      for (let i = 0; i < 60; i += 1) {
        await session.run(feeds);
        if (i >= 20) passes.push(session.lastRunMs);
      }
      await session.dispose();
      const { last, made } = await train(model, {
        calibration: samples.slice(0, 10),
        threads,
        training: { epochs: 4, batchSize, validation: 0 },
      });
      await made.dispose();
      forward.push(median(passes));
      step.push(last.stepMilliseconds);
    }
  }
  const steps = seen.map(({ threads, forward, step }) => ({
    threads,
    forward: median(forward),
    step: median(step),
  }));
  const [one, two] = steps;
  console.log(
    table(
      [`a step of ${what}`, 'forward ms', 'step ms', 'forward passes', 'against one thread'],
      steps.map((s) => [
        `${s.threads} ${s.threads > 1 ? 'threads' : 'thread'}`,
        s.forward.toFixed(2),
        s.step.toFixed(2),
        (s.step / s.forward).toFixed(2),
        two && s === two ? `${(one.step / two.step).toFixed(2)}x` : '',
      ]),
    ),
  );
  return steps;
}

// ---- networks

const nearest = { what: 'rounded to the nearest', by: { repairs: [] } };
const adaround = {
  what: 'AdaRound',
  by: {
    repairs: ['adaround', 'bias-correction'],
    parameters: { 'adaround-samples': 100, 'adaround-patches': 8192 },
  },
};
const parameters = { 'gptq-samples': 500, 'gptq-patches': 20000 };
const gptq = { what: 'GPTQ', by: { repairs: ['gptq'], parameters } };
const equalized = { what: 'equalization and GPTQ', by: { repairs: ['equalization', 'gptq'], parameters } };

/** `start`: what training begins with. */
const recipes = {
  efficientnet: [
    { name: 'W8A8', options: {}, start: gptq },
    { name: 'W4A8', options: { weights: 'int4' }, start: equalized },
  ],
  recognition: [{ name: 'W4A8', options: { weights: 'int4' }, start: equalized }],
};

const training = {
  efficientnet: { blocks: true, epochs: 6, batchSize: 16, learningRate: 3e-3, memoryLimit: '3GiB' },
  recognition: { epochs: 6, batchSize: 8, learningRate: 2e-5, memoryLimit: '3GiB' },
};

/** Photographs teach more when they are seen in several ways: so many of each besides itself, half of them mixed. */
const augmentations = { efficientnet: 4 };

/** The photograph [1, 3, height, width] mirrored or not, and a random part of it (40 to 100 % of a side). */
function augmented({ data, dims }, random) {
  const [, , height, width] = dims;
  const scale = 0.4 + 0.6 * random();
  const [top, left] = [height, width].map((side) => random() * (side - 1) * (1 - scale));
  const mirrored = random() < 0.5;
  const made = new Float32Array(data.length);
  for (let y = 0; y < height; ++y) {
    const fy = top + y * scale;
    const y0 = Math.floor(fy);
    const y1 = Math.min(y0 + 1, height - 1);
    for (let x = 0; x < width; ++x) {
      const fx = left + x * scale;
      const x0 = Math.floor(fx);
      const x1 = Math.min(x0 + 1, width - 1);
      const [v, h] = [fy - y0, fx - x0];
      const to = y * width + (mirrored ? width - 1 - x : x);
      for (let c = 0; c < 3; ++c) {
        const plane = c * height * width;
        const at = (row, column) => data[plane + row * width + column];
        made[plane + to] =
          (1 - v) * ((1 - h) * at(y0, x0) + h * at(y0, x1)) + v * ((1 - h) * at(y1, x0) + h * at(y1, x1));
      }
    }
  }
  return new Tensor('float32', made, dims);
}

/** Two photographs on top of each other, in any proportion: function matching (Beyer et al. 2022). */
function mixed(one, other, random) {
  const part = random();
  return new Tensor(
    'float32',
    one.data.map((v, i) => (1 - part) * v + part * other.data[i]),
    one.dims,
  );
}

async function networkTables() {
  const { models: prepared } = await prepare();
  const python = await environment().catch(() => undefined);
  const results = [];
  for (const model of modelsFrom(prepared)) {
    if (!recipes[model.key] || !options.networks.split(',').includes(model.key)) continue;
    if (!model.file || !existsSync(model.file) || (model.images && !existsSync(options.images))) {
      console.error(`${model.name} is left out: its model or its images are not there`);
      continue;
    }
    const float = await Model.load(readFileSync(model.file));
    const { inputs } = float;
    const samples = await samplesOfModel(python, model, { zeropoint, inputs, images: options.images });
    if (!samples) continue;
    const { truth, test } = samples;
    const calibration = [];
    for await (const feeds of samples.calibration()) calibration.push(feeds);
    const random = randomNumbers(1);
    const taught = [...calibration];
    for (let time = 0; time < (augmentations[model.key] ?? 0); ++time) {
      for (const feeds of calibration) {
        const other = calibration[Math.floor(random() * calibration.length)];
        const images = Object.entries(feeds).map(([name, image]) => {
          const view = augmented(image, random);
          return [name, time % 2 ? mixed(view, augmented(other[name], random), random) : view];
        });
        taught.push(Object.fromEntries(images));
      }
    }
    const expected = await outputsOf(float, test);
    const measure = async (made) => {
      const metrics = model.metric(await outputsOf(made, test), expected, truth);
      await made.dispose();
      return metrics;
    };
    const rows = [{ name: 'float', metrics: model.metric(expected, expected, truth), seconds: 0 }];
    const tell = () => console.error(`${model.name}: ${JSON.stringify(rows.at(-1))}`);
    for (const { name, options: how, start } of recipes[model.key]) {
      if (!options.bits.split(',').includes(name)) continue;
      for (const { what, by } of [nearest, adaround, start]) {
        const began = now();
        const { model: made } = await float.quantize({
          mode: 'static',
          calibration,
          layerErrors: 0,
          ...how,
          ...by,
        });
        const seconds = (now() - began) / 1000;
        rows.push({ name: `${name}, ${what}`, metrics: await measure(made), seconds });
        tell();
      }
      const { made, seconds, last } = await train(float, {
        calibration: taught,
        ...how,
        ...start.by,
        training: training[model.key],
      });
      rows.push({
        name: `${name}, trained`,
        metrics: await measure(made),
        seconds,
        step: last.stepMilliseconds,
        memory: last.memoryBytes,
      });
      tell();
    }
    const keys = Object.keys(rows[0].metrics).filter((key) => key !== 'main');
    console.log(`${model.name}\n`);
    console.log(
      table(
        ['', model.unit, ...keys, 's', 'ms a step', 'MB'],
        rows.map((r) => [
          r.name,
          r.metrics.main.toFixed(2),
          ...keys.map((key) => r.metrics[key].toFixed(3)),
          r.seconds.toFixed(0),
          r.step?.toFixed(0) ?? '',
          r.memory ? (r.memory / 1e6).toFixed(0) : '',
        ]),
      ),
    );
    await float.dispose();
    results.push({ key: model.key, name: model.name, rows });
  }
  return results;
}

async function main() {
  if (await movedToCurrentNode(import.meta.url)) return;
  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} threads`;
  console.log(`${machine}\n`);
  const result = {
    machine,
    digits: options.networks.split(',').includes('digits') ? await digitsTables() : [],
    networks: options.quick ? [] : await networkTables(),
  };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, undefined, 2)}\n`);
}

await main();
