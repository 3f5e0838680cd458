// npm start -- [FROM] [TO]: quantizes each .onnx file of the folder FROM (models) into the folder TO (quantized).
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compare, Model, syntheticSamples, ZeropointError } from 'zeropoint';

const [from = 'models', to = 'quantized'] = process.argv.slice(2);

async function quantize(name) {
  const model = await Model.load(join(from, name));
  try {
    // Noise shows size and speed. For accuracy give real samples: samplesFromFiles() reads images, arrays and sound.
    const samples = [...syntheticSamples(model.inputs, { count: 4 })];
    const { model: small, report } = await model.quantize({ calibration: samples });
    await writeFile(join(to, name), await small.toBytes());
    const { outputs, latency } = await compare(model, small, samples);
    await small.dispose();
    const worst = Math.min(...outputs.map(({ sqnr }) => sqnr));
    const speed = latency.reference / latency.candidate;
    return `${report.sizeBefore} → ${report.sizeAfter} bytes, ${worst.toFixed(1)} dB, ${speed.toFixed(2)} times as fast`;
  } finally {
    await model.dispose();
  }
}

await mkdir(to, { recursive: true });
const names = (await readdir(from)).filter((name) => name.endsWith('.onnx')).sort();
if (names.length === 0) console.error(`There are no .onnx files in ${from}/.`);
for (const name of names) {
  try {
    console.log(`${name}: ${await quantize(name)}`);
  } catch (error) {
    if (!(error instanceof ZeropointError)) throw error;
    // One model that fails does not stop the others.
    console.error(`${name}: ${error.code}: ${error.message}`);
    process.exitCode = 1;
  }
}
