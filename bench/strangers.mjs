#!/usr/bin/env node
// npm run bench:strangers: models that packages carry and nobody here chose, in every mode, here and in ONNX Runtime.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measuredInChild } from './lib/children.mjs';
import { movedToCurrentNode, processor } from './lib/node.mjs';
import { environment, reason } from './prepare/prepare.mjs';
import { buildOf, measure, modes, resultsFile } from './strangers/model.mjs';
import { home, strangers } from './strangers/packages.mjs';
import { docsOf, summaryOf, tables } from './strangers/tables.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const usage = `npm run bench:strangers -- [options]
  --only TEXT      models whose name has it; several, with commas
  --modes a,b      ${Object.keys(modes)
    .map((name) => `'${name.replaceAll(',', '')}'`)
    .join(', ')};
                   'none': only whether the float models run
  --list           name the models and what is missing, and stop
  --large          also packages of hundreds of megabytes, and models that take as much
  --images FOLDER  photographs for the models that want such; drawings without
  --limit N        seconds that one step may take (120)
  --times N        seconds of measuring for each contestant (0.5); 0: no times
  --again          measure anew what is kept from an earlier run with the same build
  --dist FOLDER    another build of the package (dist)
  --build NAME     of its four WebAssembly builds this one, not the best
  --shown          only show what is kept
  --json FILE      also write rows and summary
  --docs           write the tables into docs/STRANGERS.md
  --help

Packages, samples, files and results are kept in bench/.cache/strangers; a run that was stopped goes on where it was.`;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    modes: { type: 'string' },
    list: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    images: { type: 'string', default: here('../../shared/imagenet-256') },
    limit: { type: 'string', default: '120' },
    times: { type: 'string', default: '0.5' },
    again: { type: 'boolean', default: false },
    dist: { type: 'string', default: here('../dist') },
    build: { type: 'string' },
    shown: { type: 'boolean', default: false },
    json: { type: 'string' },
    docs: { type: 'boolean', default: false },
    child: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function chosenModes() {
  if (options.modes === undefined) return Object.keys(modes);
  const short = (name) => name.replaceAll(',', '').trim();
  const wanted = options.modes
    .split(',')
    .map(short)
    .filter((name) => name !== 'none');
  const known = Object.keys(modes);
  const unknown = wanted.find((name) => !known.some((mode) => short(mode) === name));
  if (unknown !== undefined) throw new Error(`there is no mode '${unknown}': ${known.map(short).join(', ')}`);
  return known.filter((mode) => wanted.includes(short(mode)));
}

async function pythonOf() {
  try {
    return await environment();
  } catch (error) {
    throw new Error(
      `ONNX Runtime cannot be installed (python3 with venv and pip is needed): ${reason(error)}`,
    );
  }
}

async function main() {
  if (options.help) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  const dist = resolve(options.dist);
  if (!existsSync(join(dist, 'node.js'))) throw new Error('the package is not built: npm run build');
  const python = await pythonOf();
  const { models, missing } = await strangers(python, {
    large: options.large,
    report: options.child || options.shown ? undefined : (text) => console.error(text),
  });
  const only = options.only?.split(',');
  const chosen = models.filter(({ name }) => !only || only.some((text) => name.includes(text)));
  const build = buildOf(dist);

  if (options.child) {
    const zeropoint = await import(join(dist, 'node.js'));
    zeropoint.configure({ threads: 1, ...(options.build && { build: options.build }) });
    await measure(
      models.find(({ name }) => name === options.child),
      {
        zeropoint,
        build,
        python,
        limit: Number(options.limit),
        times: Number(options.times),
        images: existsSync(options.images) ? options.images : undefined,
        modes: chosenModes(),
        again: options.again,
        fileOf: (end) => models.find(({ name }) => name.endsWith(end)).file,
        report: (text) => process.send(text),
      },
    );
    process.disconnect();
    process.exit();
  }

  if (options.list) {
    for (const { name, bytes, packages } of chosen) {
      console.log(
        `${name} (${(bytes / 1e6).toFixed(2)} MB)${packages.length > 1 ? `: ${packages.join(', ')}` : ''}`,
      );
    }
    for (const { name, why } of missing) console.log(`missing: ${name}: ${why}`);
    return;
  }
  if (!options.shown) {
    for (const [i, { name, bytes }] of chosen.entries()) {
      console.error(`${i + 1}/${chosen.length} ${name} (${(bytes / 1e6).toFixed(2)} MB)`);
      const why = await measuredInChild(here('strangers.mjs'), name, options.limit * 4);
      if (why) console.error(`  ${why}`);
    }
  }

  const results = chosen.map(({ name }) => resultsFile(build, name));
  const rows = results.filter(existsSync).map((file) => JSON.parse(readFileSync(file, 'utf8')));
  const { model, cores, features } = processor();
  const machine = `${model}, ${cores} cores, ${features.join(' ')}; Node ${process.version}`;
  const facts = { machine, build, missing, unmeasured: chosen.length - rows.length };
  const summary = summaryOf(rows);
  console.log(tables(rows, summary, facts));
  if (options.json) writeFileSync(options.json, JSON.stringify({ ...facts, summary, models: rows }, null, 1));
  if (options.docs)
    writeFileSync(here('../docs/STRANGERS.md'), docsOf(rows, summary, facts).replaceAll(`${home}/`, ''));
}

await main();
