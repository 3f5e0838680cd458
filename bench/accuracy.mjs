#!/usr/bin/env node
// The accuracy of quantized models beside ONNX Runtime's quantizer, on the same samples and held-out inputs.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { models as modelsFrom, settings } from './accuracy/contest.mjs';
import { sqnr } from './accuracy/metrics.mjs';
import { rivalRows } from './accuracy/rival.mjs';
import { outputsOf, samplesOf } from './accuracy/samples.mjs';
import { movedToCurrentNode } from './lib/node.mjs';
import { environment, prepare, reason } from './prepare/prepare.mjs';

const usage = `npm run bench:accuracy -- [options]
  --models a,b     only these: efficientnet, recognition, detection, minilm, wakeword, digits
  --settings a,b   only these of ours, e.g. default,auto,adaround; the whole list without it
  --images FOLDER  labelled pictures for EfficientNet-Lite0 (0.jpg is of class 0)
  --again          measure ONNX Runtime again: its rows are kept in bench/.cache/accuracy
  --json FILE      write all rows and the summary
  --docs           write the tables into docs/ACCURACY.md
  --help

Python's onnxruntime is installed into bench/.cache/venv; without it the rival's rows say why they are missing.`;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: options } = parseArgs({
  options: {
    models: { type: 'string' },
    settings: { type: 'string' },
    images: { type: 'string', default: here('../../shared/imagenet-256') },
    again: { type: 'boolean', default: false },
    json: { type: 'string' },
    docs: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const chosen = (list, name) => list === undefined || list.split(',').includes(name);

const shown = (value) =>
  value === undefined || value === null ? '–' : Math.abs(value) < 1.01 ? value.toFixed(4) : value.toFixed(2);

/** Why there are no numbers: readers of a table have no use for the first letters of a Python error. */
const inWords = (error) =>
  /INVALID_GRAPH|NOT_IMPLEMENTED|Load model/.test(error)
    ? 'it writes a file that ONNX Runtime refuses'
    : /inhomogeneo|array element with a sequence/.test(error)
      ? 'it stops: its calibration takes values of one shape only'
      : /to be an initializer/.test(error)
        ? 'it stops: a weight is computed by the graph'
        : 'it stops with an error';

function tableOf({ name, unit, rows }) {
  const extra = [...new Set(rows.flatMap((row) => Object.keys(row.metrics ?? {})))].filter(
    (key) => key !== 'main',
  );
  const head = ['', 'setting', unit, ...extra, 'SQNR dB', 'MB', 's'];
  const lines = rows.map((row) =>
    row.error
      ? [row.tool, row.setting, inWords(row.error), ...extra.map(() => ''), '', '', '']
      : [
          row.tool,
          row.setting,
          shown(row.metrics.main),
          ...extra.map((key) => shown(row.metrics[key])),
          Number.isFinite(row.sqnr) ? row.sqnr.toFixed(1) : '∞',
          (row.bytes / 1e6).toFixed(2),
          row.seconds.toFixed(1),
        ],
  );
  const text = [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
  return `### ${name}\n\n${text}\n`;
}

function summaryOf(rows) {
  const of = (tool, name) => rows.find((row) => row.tool === tool && row.setting === name);
  const best = (kind) =>
    rows
      .filter((row) => row.tool === 'ONNX Runtime' && row.kind === kind && row.metrics)
      .sort((a, b) => b.metrics.main - a.metrics.main || b.sqnr - a.sqnr)[0];
  const [ours, auto, rival] = [of('zeropoint', 'default'), of('zeropoint', 'auto'), best('int8')];
  return {
    float: of('zeropoint', 'float')?.metrics.main,
    default: ours?.metrics?.main,
    auto: auto?.metrics?.main,
    rivalBest: rival?.metrics.main,
    rivalSetting: rival?.setting,
    rival4bit: best('int4')?.metrics.main,
    defaultSqnr: ours?.sqnr,
    autoSqnr: auto?.sqnr,
    rivalBestSqnr: rival?.sqnr,
  };
}

async function measure(zeropoint, model, python) {
  const float = await zeropoint.Model.load(readFileSync(model.file));
  const samples = await samplesOf(python, model, {
    zeropoint,
    inputs: float.inputs,
    images: options.images,
  });
  if (!samples) {
    console.error(`${model.name} is left out: its samples are made with Python`);
    return undefined;
  }
  if (samples.truth === null && model.labelled) {
    console.error(`${model.name}: no labels, so that the float model's answers count as right`);
  }
  const expected = await outputsOf(float, samples.test);
  const rows = [];
  const add = ({ outputs, ...row }) => {
    if (outputs) {
      row.metrics = model.metric(outputs, expected, samples.truth);
      row.sqnr = sqnr(outputs, expected);
    }
    rows.push(row);
    const what =
      row.error ?? `${shown(row.metrics.main)} (${row.sqnr.toFixed(1)} dB, ${row.seconds.toFixed(1)} s)`;
    console.error(`${model.name}: ${row.tool} ${row.setting}: ${what}`);
  };
  const bytes = readFileSync(model.file).length;
  add({ tool: 'zeropoint', setting: 'float', kind: 'float', outputs: expected, bytes, seconds: 0 });
  for (const { name: setting, kind, options: how } of settings(model)) {
    if (!chosen(options.settings, setting)) continue;
    const row = { tool: 'zeropoint', setting, kind };
    try {
      const start = performance.now();
      const quantized = await float.quantize({ ...how, calibration: samples.calibration, layerErrors: 0 });
      const seconds = (performance.now() - start) / 1000;
      const outputs = await outputsOf(quantized.model, samples.test);
      await quantized.model.dispose();
      const { sizeAfter, trials } = quantized.report;
      add({ ...row, outputs, bytes: sizeAfter, seconds, trials });
    } catch (error) {
      add({ ...row, error: error.message });
    }
  }
  if (python && samples.folder) {
    try {
      for await (const row of rivalRows(python, model.file, samples.folder, expected, options)) {
        const { setting } = row;
        const kind = setting === 'float' ? 'float' : setting.startsWith('4-bit') ? 'int4' : 'int8';
        add({ tool: 'ONNX Runtime', kind, ...row });
      }
    } catch (error) {
      add({ tool: 'ONNX Runtime', setting: 'all', kind: 'none', error: error.message });
    }
  }
  await float.dispose();
  return rows;
}

async function main() {
  if (options.help) {
    console.log(usage);
    return;
  }
  if (await movedToCurrentNode(import.meta.url)) return;
  if (!existsSync(here('../dist/node.js'))) throw new Error('the package is not built: npm run build');
  const zeropoint = await import(here('../dist/node.js'));
  const { models: prepared, missing } = await prepare();
  for (const [name, why] of Object.entries(missing)) console.error(`${name}: ${why}`);
  let python;
  try {
    python = await environment();
  } catch (error) {
    console.error(`ONNX Runtime's quantizer cannot be measured: ${reason(error)}`);
  }

  const results = [];
  const summary = {};
  for (const model of modelsFrom(prepared)) {
    if (!chosen(options.models, model.key)) continue;
    if (!model.file || !existsSync(model.file)) {
      console.error(`${model.name} is left out: there is no model file`);
      continue;
    }
    if (model.images && !existsSync(options.images)) {
      console.error(`${model.name} is left out: give --images FOLDER`);
      continue;
    }
    const rows = await measure(zeropoint, model, python);
    if (!rows) continue;
    summary[model.key] = summaryOf(rows);
    results.push({ key: model.key, name: model.name, unit: model.unit, rows });
    console.log(tableOf({ ...model, rows }));
  }

  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} threads`;
  if (options.json) {
    writeFileSync(options.json, JSON.stringify({ machine, summary, models: results }, null, 2));
  }
  if (options.docs) {
    const path = here('../docs/ACCURACY.md');
    const text = readFileSync(path, 'utf8');
    const [before] = text.split('<!-- tables -->');
    const after = text.split('<!-- end of tables -->')[1];
    const tables = results.map(tableOf).join('\n');
    writeFileSync(
      path,
      `${before}<!-- tables -->\n\nMeasured on ${machine}.\n\n${tables}\n<!-- end of tables -->${after}`,
    );
  }
}

await main();
