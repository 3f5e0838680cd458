// npm run bench:builds: this build beside an earlier one, model by model: time, size and accuracy of what each makes.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { realModels } from './lib/inputs.mjs';
import { agreement, geometricMean, race } from './lib/measure.mjs';
import { movedToCurrentNode, processor } from './lib/node.mjs';
import { db, ms, table, times } from './lib/table.mjs';

const usage = `npm run bench:builds -- --before DIST [options]
  --before DIST    the dist/ of the earlier build (built in a worktree of its own)
  --dist DIST      that of the later one (dist)
  --models a,b     of bench:models; all without it
  --modes a,b      (float,static,dynamic,weight-only)
  --images FOLDER  photographs to calibrate EfficientNet-Lite0 with
  --json FILE      also write the rows
  --help

Both builds quantize with the same 16 samples, run alternately in one process with one thread, and are compared with the
earlier build's float results on 8 other inputs.`;

const root = fileURLToPath(new URL('..', import.meta.url));
const samples = 16;
const heldOut = 8;

async function build(dist) {
  const zeropoint = await import(pathToFileURL(join(resolve(dist), 'node.js')).href);
  await zeropoint.configure({ threads: 1 });
  return zeropoint;
}

const tensors = (zeropoint, feeds) =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, { type, data, dims }]) => [
      name,
      new zeropoint.Tensor(type, data, dims),
    ]),
  );

/** Float results of all inputs in one list of numbers. */
async function numbers(zeropoint, session, inputs) {
  const all = [];
  for (const feeds of inputs) {
    for (const { type, data } of Object.values(await session.run(tensors(zeropoint, feeds))))
      if (type === 'float32') all.push(data);
  }
  return all.flatMap((data) => [...data]);
}

async function entrant(zeropoint, path, mode, calibration) {
  const float = await zeropoint.Model.load(readFileSync(path));
  if (mode === 'float') return { model: float, bytes: readFileSync(path).length };
  const { model } = await float.quantize({
    mode,
    ...(mode === 'static' ? { calibration: calibration.map((feeds) => tensors(zeropoint, feeds)) } : {}),
    layerErrors: 0,
  });
  const bytes = (await model.toBytes()).length;
  await float.dispose();
  return { model, bytes };
}

async function row(builds, path, mode, calibration, inputs, expected) {
  const found = {};
  const calls = {};
  const open = [];
  for (const [name, zeropoint] of Object.entries(builds)) {
    try {
      const { model, bytes } = await entrant(zeropoint, path, mode, calibration);
      const session = await model.createSession({ threads: 1 });
      open.push(session, model);
      const outputs = await numbers(zeropoint, session, inputs);
      found[name] = { bytes, outputs };
      const feeds = tensors(zeropoint, inputs[0]);
      calls[name] = () => session.run(feeds);
    } catch (error) {
      found[name] = { error: error.message };
    }
  }
  const medians = await race(calls);
  for (const [name, time] of Object.entries(medians)) found[name].ms = time;
  const reference = expected ?? found.before?.outputs ?? found.after.outputs;
  for (const entry of Object.values(found)) {
    if (entry.outputs) entry.sqnr = agreement(reference, entry.outputs).sqnr;
    delete entry.outputs;
  }
  for (const opened of open) await opened.dispose();
  return { found, reference };
}

async function main() {
  const { values } = parseArgs({
    options: {
      before: { type: 'string' },
      dist: { type: 'string', default: join(root, 'dist') },
      models: { type: 'string' },
      modes: { type: 'string', default: 'float,static,dynamic,weight-only' },
      images: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || !values.before) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  const builds = { before: await build(values.before), after: await build(values.dist) };
  const { models } = await realModels(builds.after, { images: values.images });
  const rows = [];
  for (const [name, { title, path, input }] of Object.entries(models)) {
    if (values.models && !values.models.split(',').includes(name)) continue;
    const calibration = [];
    for (let i = 0; i < samples; ++i) calibration.push(await input(i));
    const inputs = [];
    for (let i = 0; i < heldOut; ++i) inputs.push(await input(1000 + i));
    let expected;
    for (const mode of values.modes.split(',')) {
      const { found, reference } = await row(builds, path, mode, calibration, inputs, expected);
      if (mode === 'float') expected = reference;
      rows.push({ model: title, mode, ...found });
      const { before, after } = found;
      console.error(
        `${title}, ${mode}: ${ms(before.ms)} → ${ms(after.ms)} ms, ${db(before.sqnr)} → ${db(after.sqnr)} dB` +
          `${before.error ? `; before: ${before.error}` : ''}${after.error ? `; after: ${after.error}` : ''}`,
      );
    }
  }
  const { model, features } = processor();
  const shown = rows.map(({ model, mode, before, after }) => [
    model,
    mode,
    ms(before.ms),
    ms(after.ms),
    times(before.ms / after.ms),
    before.error ? 'fails' : db(before.sqnr),
    after.error ? 'fails' : db(after.sqnr),
    before.bytes && after.bytes ? `${(100 * (after.bytes / before.bytes - 1)).toFixed(1)} %` : '–',
  ]);
  const head = ['model', 'mode', 'ms before', 'after', 'as fast', 'dB before', 'after', 'bytes'];
  console.log(`${model} (${features.join(', ')}), one thread\n\n${table(head, shown)}\n`);
  const ratios = rows.map(({ before, after }) => before.ms / after.ms);
  console.log(`as fast as before: ${times(geometricMean(ratios))} (geometric mean)`);
  const moved = rows.filter(
    ({ before, after }) =>
      before.ms / after.ms < 0.98 || after.sqnr < before.sqnr - 0.2 || (before.ms && !after.ms),
  );
  console.log(`slower by more than 2 %, or less accurate: ${moved.length} of ${rows.length} rows`);
  if (values.json) writeFileSync(values.json, JSON.stringify({ processor: processor(), rows }, null, 2));
  process.exit(0); // engines of both builds hold the process
}

await main();
