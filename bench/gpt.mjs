// A character GPT with a cache of keys and values, in plain operators and in the fused ones of com.microsoft
// (bench/gpt/gpt.py makes both): beside ONNX Runtime in float, and in every scheme.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { onnxRuntime, zeropoint } from './lib/engines.mjs';
import { agreement } from './lib/measure.mjs';
import { movedToCurrentNode } from './lib/node.mjs';
import { schemes } from './lib/schemes.mjs';
import { db, kb, table } from './lib/table.mjs';

const usage = `node bench/gpt.mjs FOLDER [--threads N]
FOLDER is what "python bench/gpt/gpt.py export WEIGHTS.npz FOLDER" wrote.`;

/** Floats may differ by so much of the largest number of an output. */
const tolerance = 1e-4;

const all = {
  ...schemes,
  float16: { mode: 'float16' },
};

function feedsOf(named) {
  return Object.fromEntries(
    Object.entries(named).map(([name, { dims, data }]) => {
      const isFloat = name.startsWith('past');
      const numbers = isFloat ? Float32Array.from(data) : BigInt64Array.from(data, BigInt);
      return [name, { type: isFloat ? 'float32' : 'int64', dims, data: numbers }];
    }),
  );
}

/** How near the outputs of all runs are to those that are known. */
async function compare(opened, runs, wanted) {
  let worst = 0;
  const logits = [[], []];
  for (const [i, { feeds }] of runs.entries()) {
    const found = await opened.run(opened.prepare(feedsOf(feeds)));
    for (const [name, { data }] of Object.entries(wanted[i])) {
      const { maxAbs } = agreement(data, Array.from(found[name].data, Number));
      worst = Math.max(worst, maxAbs / Math.max(1e-9, ...data.map(Math.abs)));
    }
    logits[0].push(...wanted[i].logits.data);
    logits[1].push(...Array.from(found.logits.data, Number));
  }
  return { worst, ...agreement(...logits) };
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { threads: { type: 'string', default: '1' }, help: { type: 'boolean' } },
    allowPositionals: true,
  });
  if (values.help || positionals.length !== 1) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  const [folder] = positionals;
  const threads = Number(values.threads);
  const ours = zeropoint(await import('../dist/node.js'), { threads });
  const theirs = onnxRuntime(await import('onnxruntime-web'), { threads });
  const recorded = JSON.parse(readFileSync(join(folder, 'runs.json'), 'utf8'));
  for (const [name, runs] of Object.entries(recorded)) {
    const bytes = readFileSync(join(folder, `${name}.onnx`));
    const wanted = runs.map(({ outputs }) => outputs);
    const float = await ours.open(bytes);
    const { worst } = await compare(float, runs, wanted);
    console.log(`
### ${name}: ${kb(bytes.length)} KB; float is within ${worst.toExponential(1)} of ONNX Runtime's
`);
    if (!(worst <= tolerance)) process.exitCode = 1;
    const rows = [];
    for (const [scheme, options] of Object.entries(all)) {
      const row = [scheme];
      rows.push(row);
      try {
        const calibration =
          options.mode === 'static' ? runs.map(({ feeds }) => float.prepare(feedsOf(feeds))) : undefined;
        const { model } = await float.model.quantize({ ...options, calibration, layerErrors: 0 });
        const file = await model.toBytes();
        await model.dispose();
        const mine = await ours.open(file);
        const { sqnr, cosine } = await compare(mine, runs, wanted);
        row.push(kb(file.length), db(sqnr), cosine.toFixed(5));
        await mine.close();
        const rival = await theirs.open(file);
        row.push('yes', db((await compare(rival, runs, wanted)).sqnr));
        await rival.close();
      } catch (error) {
        row.push(...Array(Math.max(0, 4 - row.length)).fill('–'), `no: ${error.message.slice(0, 200)}`);
        process.exitCode = 1;
      }
    }
    console.log(table(['scheme', 'KB', 'SQNR of logits dB', 'cosine', 'ORT Web opens', 'its SQNR dB'], rows));
    await float.close();
  }
}

await main();
