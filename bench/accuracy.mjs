#!/usr/bin/env node
// The accuracy of quantized models beside ONNX Runtime's quantizer, on the same samples and held-out inputs.
//
//   npm run bench:accuracy -- [--models efficientnet,minilm] [--settings default,auto] [--images FOLDER] [--json FILE] [--docs]
//
// Python's onnxruntime is installed into bench/.cache/venv; without it the rival's rows say why they are missing.
// --docs writes the tables into docs/ACCURACY.md.
import { execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { models as modelsFrom, settings } from './accuracy/contest.mjs';
import { sqnr } from './accuracy/metrics.mjs';
import { samplesFor } from './accuracy/samples.mjs';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: options } = parseArgs({
  options: {
    models: { type: 'string' },
    settings: { type: 'string' },
    images: { type: 'string', default: here('../../shared/imagenet-256') },
    json: { type: 'string' },
    docs: { type: 'boolean', default: false },
  },
});
const chosen = (list, name) => list === undefined || list.split(',').includes(name);

const { Model, samplesFromFiles } = await import(here('../dist/node.js'));
const { cache, environment, prepare } = await import('./prepare/prepare.mjs');

/** One tensor for each sample: the first float output. */
async function outputsOf(model, files) {
  const session = await model.createSession();
  const outputs = [];
  for await (const feeds of samplesFromFiles(files, model.inputs)) {
    const [first] = Object.values(await session.run(feeds));
    outputs.push({ data: Float32Array.from(first.data), dims: first.dims });
  }
  await session[Symbol.asyncDispose]?.();
  return outputs;
}

/** The rival's rows, as they come: one for each setting. */
async function* rivalRows(python, model, samples, out) {
  const child = spawn(python, [here('accuracy/rival.py'), model.file, samples, out], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{')) yield JSON.parse(line);
  }
}

function cut(bytes, like) {
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let at = 0;
  return like.map(({ data, dims }) => {
    const part = all.subarray(at, at + data.length);
    at += data.length;
    return { data: part, dims };
  });
}

const shown = (value) =>
  value === undefined || value === null ? '–' : Math.abs(value) < 1.01 ? value.toFixed(4) : value.toFixed(2);

function tableOf({ name, unit, rows }) {
  const extra = [...new Set(rows.flatMap((row) => Object.keys(row.metrics ?? {})))].filter(
    (key) => key !== 'main',
  );
  const head = ['', 'setting', unit, ...extra, 'SQNR dB', 'MB', 's'];
  const lines = rows.map((row) =>
    row.error
      ? [row.tool, row.setting, row.error.slice(0, 60), ...extra.map(() => ''), '', '', '']
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

const results = [];
const summary = {};
const { models: prepared, missing } = await prepare();
for (const [name, why] of Object.entries(missing)) console.error(`${name}: ${why}`);
let python;
try {
  python = await environment();
  // What its 4-bit quantizer needs, and its package does not ask for.
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', 'onnx-ir', 'sympy']);
} catch (error) {
  console.error(`the rival cannot be measured: ${error.message.trim().split('\n').at(-1)}`);
}

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
  const made = await samplesFor({ key: model.key, cache, python, images: options.images });
  if (!made) continue;
  const { folder: samples, truth, calibration, test } = made;
  const float = await Model.load(readFileSync(model.file));
  const expected = await outputsOf(float, test);
  const rows = [];
  const add = (row) => {
    rows.push(row);
    const { metrics, error } = row;
    console.error(
      `${model.name}: ${row.tool} ${row.setting}: ${error ?? `${shown(metrics.main)} (${row.sqnr.toFixed(1)} dB)`}`,
    );
  };
  add({
    tool: 'zeropoint',
    setting: 'float',
    kind: 'float',
    metrics: model.metric(expected, expected, truth),
    sqnr: Number.POSITIVE_INFINITY,
    bytes: float.size ?? readFileSync(model.file).length,
    seconds: 0,
  });
  for (const setting of settings(model)) {
    if (!chosen(options.settings, setting.name)) continue;
    const row = { tool: 'zeropoint', setting: setting.name, kind: setting.kind };
    try {
      const start = performance.now();
      const { model: small, report } = await float.quantize({
        ...setting.options,
        calibration: () => samplesFromFiles(calibration, float.inputs),
        layerErrors: 0,
      });
      const seconds = (performance.now() - start) / 1000;
      const outputs = await outputsOf(small, test);
      add({
        ...row,
        metrics: model.metric(outputs, expected, truth),
        sqnr: sqnr(outputs, expected),
        bytes: report.sizeAfter,
        seconds,
        trials: report.trials,
      });
      await small[Symbol.asyncDispose]();
    } catch (error) {
      add({ ...row, error: error.message });
    }
  }
  if (python) {
    const out = join(samples, 'rival');
    for await (const { setting, bytes, seconds, error } of rivalRows(python, model, samples, out)) {
      const kind = setting === 'float' ? 'float' : setting.startsWith('4-bit') ? 'int4' : 'int8';
      const row = { tool: 'ONNX Runtime', setting, kind };
      if (error) {
        add({ ...row, error });
        continue;
      }
      const outputs = cut(readFileSync(join(out, `${setting}.bin`)), expected);
      add({
        ...row,
        metrics: model.metric(outputs, expected, truth),
        sqnr: sqnr(outputs, expected),
        bytes,
        seconds,
      });
    }
  }
  const of = (tool, name) => rows.find((row) => row.tool === tool && row.setting === name)?.metrics?.main;
  const best = (kind) =>
    rows
      .filter((row) => row.tool === 'ONNX Runtime' && row.kind === kind && row.metrics)
      .sort((a, b) => b.metrics.main - a.metrics.main)[0];
  summary[model.key] = {
    float: of('zeropoint', 'float'),
    default: of('zeropoint', 'default'),
    auto: of('zeropoint', 'auto'),
    rivalBest: best('int8')?.metrics.main,
    rivalSetting: best('int8')?.setting,
    rival4bit: best('int4')?.metrics.main,
  };
  results.push({ ...model, metric: undefined, file: undefined, rows });
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
