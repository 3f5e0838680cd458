// node bench/qat.mjs [--json FILE]: what training brings back. A digits network is trained here from scratch in float,
// then quantized with fewer and fewer bits: without training, and trained to answer as the float network does.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Model, Tensor } from '../dist/node.js';
import { accuracyOf, digits, digitsNetwork, samplesOf } from './digits.mjs';

const { values: options } = parseArgs({ options: { json: { type: 'string' } } });
const { training, test } = digits(800, 200);
const labelled = samplesOf(training, 100, { withLabels: true, Tensor });
const samples = samplesOf(training, 100, { Tensor });

const now = () => performance.now();
const percent = (part) => `${(100 * part).toFixed(2)} %`;

async function accuracy(model) {
  await using session = await model.createSession({ threads: 1 });
  return accuracyOf(session, test, { Tensor });
}

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

/** Milliseconds of a forward pass of one training batch: the median of many. */
async function forward(model, threads) {
  await using session = await model.createSession({ threads });
  const [feeds] = samplesOf({ images: training.images.slice(0, 32), labels: [] }, 32, { Tensor });
  const times = [];
  for (let i = 0; i < 60; ++i) {
    const start = now();
    await session.run(feeds);
    times.push(now() - start);
  }
  return times.sort((a, b) => a - b)[30];
}

const network = await Model.load(digitsNetwork());
const float = await train(network, {
  calibration: labelled,
  exclude: ['Conv', 'Gemm'],
  training: { epochs: 8, learningRate: 2e-3 },
});
const result = {
  float: { untrained: await accuracy(network), accuracy: await accuracy(float.made), seconds: float.seconds },
  rows: [],
  steps: [],
};
console.log(
  `float: ${percent(result.float.untrained)} untrained, ${percent(result.float.accuracy)} trained in ${float.seconds.toFixed(1)} s`,
);

console.log('\n        post-training   trained   seconds   KL before   KL after');
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
  const after = await train(float.made, { ...how, training: { epochs: 6, learningRate: 2e-3 } });
  const row = {
    name: `W${weightBits}A${activationBits}`,
    postTraining: await accuracy(before.made),
    trained: await accuracy(after.made),
    seconds: after.seconds,
    lossBefore: after.last.firstLoss,
    lossAfter: after.last.bestLoss,
  };
  result.rows.push(row);
  console.log(
    `${row.name.padEnd(8)}${percent(row.postTraining).padStart(13)}${percent(row.trained).padStart(10)}` +
      `${row.seconds.toFixed(1).padStart(10)}${row.lossBefore.toFixed(4).padStart(12)}${row.lossAfter.toFixed(4).padStart(11)}`,
  );
  await before.made.dispose();
  await after.made.dispose();
}

console.log('\none step of 32 images, in milliseconds: forward alone, a training step, their ratio');
for (const threads of [1, 2]) {
  const pass = await forward(float.made, threads);
  const { last, made } = await train(float.made, {
    calibration: samples.slice(0, 40),
    threads,
    training: { epochs: 1 },
  });
  await made.dispose();
  result.steps.push({ threads, forward: pass, step: last.stepMilliseconds });
  console.log(
    `${threads} thread${threads > 1 ? 's' : ' '}  ${pass.toFixed(2)}  ${last.stepMilliseconds.toFixed(2)}  ${(last.stepMilliseconds / pass).toFixed(2)}`,
  );
}
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(result, undefined, 2)}\n`);
await float.made.dispose();
await network.dispose();
