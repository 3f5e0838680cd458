// npm run bench:models: every real model in every scheme. It measures the effect of quantization on the size, on the
// outputs and on the time here and in ONNX Runtime Web, and tries whether ONNX Runtime opens the file and computes the same.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { onnxRuntime, zeropoint } from './lib/engines.mjs';
import { realModels } from './lib/inputs.mjs';
import { agreement, race } from './lib/measure.mjs';
import { movedToCurrentNode, processor } from './lib/node.mjs';
import { schemes } from './lib/schemes.mjs';
import { db, kb, ms, table } from './lib/table.mjs';

const usage = `node bench/models.mjs [options]
  --models a,b    only these: detection, recognition, angle, embedding, melspectrogram, wakeWord, minilm16, minilm128,
                  efficientnet, gptPlain, gptFused, whisperEncoder, whisperDecoder
  --threads N     threads of both engines (1)
  --images DIR    photographs for EfficientNet-Lite0; without them it gets drawings
  --text FILE     a text to train the GPT on, for two minutes; without it the GPT has random weights
  --json FILE     also write the rows
  --seconds N     measuring time of each contestant (0.5)
  --help`;

const calibrationSamples = 8;
const comparedSamples = 4;

/** All numbers of an output over all samples. */
const joined = (runs, name) => runs.flatMap((outputs) => Array.from(outputs[name].data, Number));

/** The output that agrees worst decides. */
function worst(references, candidates) {
  const all = Object.keys(references[0]).map((name) =>
    agreement(joined(references, name), joined(candidates, name)),
  );
  return {
    sqnr: Math.min(...all.map(({ sqnr }) => sqnr)),
    cosine: Math.min(...all.map(({ cosine }) => cosine)),
    /** The share of numbers that are at most a 255th of the output's range apart. */
    withinStep: Math.min(...all.map(({ withinStep }) => withinStep)),
  };
}

const theirAgreement = ({ sqnr, withinStep }) => ({ agreement: sqnr, withinStep });

async function outputsOf(opened, inputs) {
  const outputs = [];
  for (const feeds of inputs) outputs.push(await opened.run(opened.prepare(feeds)));
  return outputs;
}

async function measureModel(engines, { title, path, input }, { seconds }) {
  const { ours, theirs } = engines;
  const bytes = readFileSync(path);
  const samples = async (from, count) =>
    Promise.all(Array.from({ length: count }, (_, i) => input(from + i)));
  const inputs = await samples(100, comparedSamples);
  const opened = { ours: await ours.open(bytes), theirs: await theirs.open(bytes) };
  const contestants = {};
  const entrants = { 'our float': opened.ours, 'their float': opened.theirs };
  const reference = await outputsOf(opened.ours, inputs);
  const floatsAgree = worst(await outputsOf(opened.theirs, inputs), reference);

  const rows = [];
  for (const [scheme, options] of Object.entries(schemes)) {
    const row = { model: title, scheme };
    rows.push(row);
    try {
      const calibration = options.mode === 'static' ? await samples(0, calibrationSamples) : undefined;
      const tensors = calibration?.map((feeds) => opened.ours.prepare(feeds));
      const { model, report } = await opened.ours.model.quantize({
        ...options,
        calibration: tensors,
        layerErrors: 0,
      });
      const file = await model.toBytes();
      await model.dispose();
      Object.assign(row, { before: bytes.length, after: file.length, layers: report.layersQuantized });
      const mine = await ours.open(file);
      entrants[`our ${scheme}`] = mine;
      const outputs = await outputsOf(mine, inputs);
      const { sqnr, cosine } = worst(reference, outputs);
      Object.assign(row, { sqnr, cosine });
      try {
        const rival = await theirs.open(file);
        entrants[`their ${scheme}`] = rival;
        row.opens = true;
        const rivals = await outputsOf(rival, inputs);
        Object.assign(row, theirAgreement(worst(rivals, outputs)));
        row.theirSqnr = worst(reference, rivals).sqnr;
      } catch (error) {
        row.opens = false;
        row.why = error.message;
      }
    } catch (error) {
      row.why = error.message;
    }
  }
  for (const [name, entrant] of Object.entries(entrants)) {
    const feeds = entrant.prepare(inputs[0]);
    contestants[name] = () => entrant.run(feeds);
  }
  const medians = await race(contestants, { budget: seconds * 1000, warmUp: 200 });
  for (const row of rows) {
    row.ourFloat = medians['our float'];
    row.theirFloat = medians['their float'];
    row.ours = medians[`our ${row.scheme}`];
    row.theirs = medians[`their ${row.scheme}`];
  }
  for (const entrant of Object.values(entrants)) await entrant.close();
  return { title, floatsAgree, rows };
}

function show({ title, floatsAgree, rows }) {
  const [{ before, ourFloat, theirFloat }] = rows;
  console.log(`
### ${title}

Float: ${kb(before)} KB; ${ms(ourFloat)} ms, ONNX Runtime Web ${ms(theirFloat)} ms; they agree to ${db(floatsAgree.sqnr)} dB.
`);
  const head = [
    'scheme',
    'KB',
    'SQNR dB',
    'cosine',
    'ms',
    'ORT ms',
    'ORT opens',
    'engines agree dB',
    'within a step',
    'ORT SQNR dB',
  ];
  const cells = rows.map((row) => [
    row.scheme,
    kb(row.after),
    db(row.sqnr),
    row.cosine?.toFixed(5),
    ms(row.ours),
    ms(row.theirs),
    row.opens === undefined ? '–' : row.opens ? 'yes' : 'no',
    db(row.agreement),
    row.withinStep === undefined ? undefined : `${(100 * row.withinStep).toFixed(2)} %`,
    db(row.theirSqnr),
  ]);
  console.log(table(head, cells));
  for (const { scheme, why } of rows) if (why) console.log(`\n${scheme}: ${why}`);
}

async function main() {
  const { values } = parseArgs({
    options: {
      models: { type: 'string' },
      threads: { type: 'string', default: '1' },
      images: { type: 'string' },
      text: { type: 'string' },
      json: { type: 'string' },
      seconds: { type: 'string', default: '0.5' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;

  const threads = Number(values.threads);
  const module = await import('../dist/node.js');
  const ours = zeropoint(module, { threads });
  const theirs = onnxRuntime(await import('onnxruntime-web'), { threads });
  const { models, missing } = await realModels(module, { images: values.images, text: values.text });
  const wanted = values.models?.split(',') ?? Object.keys(models);
  const unknown = wanted.filter((name) => !models[name] && !missing[name.replace(/\d+$|[A-Z].*$/, '')]);
  if (unknown.length) throw new Error(`no such model: ${unknown.join(', ')}`);

  const { model: cpu, features } = processor();
  const info = await ours.info();
  console.log(
    `${cpu} (${features.join(', ')}), Node ${process.version}, build ${info.build}, relaxed dot product ${info.relaxedDot}, threads: ${threads}`,
  );
  console.log(
    'The engines «agree» on a file to so many dB; «within a step»: at most 1/255 of the output’s range apart.',
  );
  const results = [];
  for (const name of wanted) {
    if (!models[name]) continue;
    results.push(await measureModel({ ours, theirs }, models[name], { seconds: Number(values.seconds) }));
    show(results.at(-1));
  }
  for (const [name, why] of Object.entries(missing)) console.log(`\n${name}: left out: ${why}`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
}

await main();
