// Quantizations of weights in files that were stopped: the next call goes on with the tensors that are there.
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import type { Model as ModelType, QuantizeOptions } from 'zeropoint';
import { errorOf, installed, models, temporaryFolder, zeropoint } from './helpers.ts';

const { Model } = zeropoint;
const folder = temporaryFolder();
const path = join(folder, 'model.onnx');
const settings = { mode: 'weight-only', weights: 'int4' } as const;

beforeAll(async () => {
  await using model = await Model.load(models.angle.path);
  for (const file of await model.toFiles({ externalData: true }))
    writeFileSync(join(folder, file.name), await file.bytes());
});

const load = (scratch?: string) => Model.load(path, { weights: 'files', scratch });

async function quantized(model: ModelType, options: QuantizeOptions = settings) {
  await using small = (await model.quantize(options)).model;
  return await small.toBytes();
}
async function expected(options?: QuantizeOptions) {
  await using model = await load();
  return await quantized(model, options);
}

let count = 0;
/** Where a process was killed after it had quantized, before it wrote. */
async function leftByAKilledProcess() {
  const home = join(folder, `${++count}`);
  mkdirSync(home);
  const scratch = join(home, 'work');
  const program = `
    import { Model } from ${JSON.stringify(pathToFileURL(join(installed, 'dist/node.js')).href)};
    const model = await Model.load(${JSON.stringify(path)}, { weights: 'files', scratch: ${JSON.stringify(scratch)} });
    await model.quantize(${JSON.stringify(settings)});
    process.kill(process.pid, 'SIGKILL');`;
  const file = join(folder, 'killed.mjs');
  writeFileSync(file, program);
  const signal = await new Promise((done) => {
    execFile(process.execPath, [file], (error) => done(error?.signal));
  });
  expect(signal).toBe('SIGKILL');
  const [name = ''] = readdirSync(home);
  return { home, scratch, weights: join(home, name, 'weights'), notes: join(home, name, 'notes') };
}

test('what a killed process has made is not made again', async () => {
  const { home, scratch, weights, notes } = await leftByAKilledProcess();
  const text = readFileSync(notes, 'utf8');
  const size = statSync(weights).size;
  const lines = text.trimEnd().split('\n').length - 1;
  expect(lines).toBeGreaterThan(3);
  // Stopped in the middle of its last note.
  truncateSync(notes, text.length - 20);
  {
    await using model = await load(scratch);
    expect(model.left).toBe(lines - 1);
    expect(await quantized(model)).toEqual(await expected());
    const [name = ''] = readdirSync(home);
    expect(readFileSync(join(home, name, 'notes'), 'utf8')).toBe(text);
    expect(statSync(join(home, name, 'weights')).size).toBe(size); // the one that was missing is where it had been
  }
  expect(readdirSync(home)).toEqual([]);
});

test('other settings take nothing of it', async () => {
  const { scratch } = await leftByAKilledProcess();
  const other = { mode: 'weight-only', weights: 'int8' } as const;
  await using model = await load(scratch);
  expect(model.left).toBeGreaterThan(0);
  expect(await quantized(model, other)).toEqual(await expected(other));
});

test('nor do weights that have changed since, or notes that say what cannot be', async () => {
  const { scratch, notes, weights } = await leftByAKilledProcess();
  const [first = '', ...lines] = readFileSync(notes, 'utf8').trimEnd().split('\n');
  const end = statSync(weights).size;
  for (const [dims, offset] of [
    [[-1], 0],
    [[1e300], 0],
    ['many', 0],
    [[4], end],
  ]) {
    const wrong = JSON.stringify(['0 what', [{ type: 'float32', dims, offset, bytes: 16 }]]);
    writeFileSync(notes, `${first}\n${lines[0]}\n${wrong}\n${lines[1]}\n`);
    const stopped = await load(scratch);
    expect(stopped.left).toBe(1); // the one before
    const [name = ''] = readdirSync(join(scratch, '..'));
    // As if this process had been killed too.
    renameSync(join(scratch, '..', name), join(notes, '..'));
    await stopped.dispose();
  }
  const data = join(folder, 'model.onnx_data');
  utimesSync(data, new Date(), new Date(Date.now() + 5000));
  await using model = await load((await leftByAKilledProcess()).scratch);
  expect(model.left).toBeGreaterThan(0);
  const { scratch: old } = await leftByAKilledProcess();
  utimesSync(data, new Date(), new Date(Date.now() + 9000));
  await using after = await load(old);
  expect(after.left).toBe(0);
  expect(await quantized(after)).toEqual(await expected());
});

test('two models may have one name at a time, and nothing stays of bytes', async () => {
  const home = join(folder, 'two');
  const scratch = join(home, 'work'); // the folder is made
  {
    await using one = await load(scratch);
    await using two = await load(scratch);
    expect(readdirSync(home)).toHaveLength(2);
    const all = await Promise.all([quantized(one), quantized(two)]);
    expect(all[0]).toEqual(all[1]);
    const bytes = new Uint8Array(readFileSync(join(folder, 'model.onnx_data')));
    await using third = await Model.load(path, {
      externalData: { 'model.onnx_data': bytes },
      weights: 'files',
      scratch,
    });
    await quantized(third);
    expect(readdirSync(home)).toHaveLength(2);
  }
  expect(readdirSync(home)).toEqual([]);
  expect(existsSync(scratch)).toBe(false);
});

test('a name is needed', async () => {
  await errorOf(() => load(''), 'invalid-argument');
  await errorOf(() => Model.load(path, { scratch: 3 as never }), 'invalid-argument');
});
