// The samples of a model: made by samples.py and kept. Without Python, plain JavaScript draws samples for some models;
// the float model's answers to them then count as right.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { realModels } from '../lib/inputs.mjs';
import { cache, digits } from '../prepare/prepare.mjs';
import { wakewordModels } from './contest.mjs';

const run = promisify(execFile);
const script = fileURLToPath(new URL('samples.py', import.meta.url));
const drawn = { recognition: 'recognition', detection: 'detection', wakeword: 'embedding' };
const drawnCalibration = 32;
const drawnTests = 48;

const filesIn = (folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.npz'))
    .sort()
    .map((name) => ({ name, arrayBuffer: async () => readFileSync(join(folder, name)) }));

async function kept(python, model, images) {
  const folder = join(cache, 'accuracy', model.key);
  const stamp = join(folder, 'made-by');
  const maker = createHash('sha256').update(readFileSync(script)).digest('hex');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== maker) {
    if (!python) return undefined;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const more = ['--images', images, '--models', wakewordModels, '--digits', digits];
    await run(python, [script, folder, model.key, ...more]);
    writeFileSync(stamp, maker);
  }
  return folder;
}

/**
 * { calibration, test: functions that give a series of feeds; folder: for the rival; truth }, or undefined when there
 * are none without Python.
 */
export async function samplesOf(python, model, { zeropoint, inputs, images }) {
  const folder = await kept(python, model, images);
  if (folder) {
    const series = (name) => {
      const files = filesIn(join(folder, name));
      return () => zeropoint.samplesFromFiles(files, inputs);
    };
    const truth = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8'));
    return { folder, truth, calibration: series('calibration'), test: series('test') };
  }
  const input = (await realModels(zeropoint)).models[drawn[model.key]]?.input;
  if (!input) return undefined;
  const series = (first, count) =>
    async function* () {
      for (let seed = first; seed < first + count; seed += 1) {
        const feeds = Object.entries(await input(seed));
        yield Object.fromEntries(
          feeds.map(([name, t]) => [name, new zeropoint.Tensor(t.type, t.data, t.dims)]),
        );
      }
    };
  return { truth: null, calibration: series(0, drawnCalibration), test: series(1000, drawnTests) };
}

/** The first float output of each sample. */
export async function outputsOf(model, series) {
  const session = await model.createSession();
  const outputs = [];
  for await (const feeds of series()) {
    const [first] = Object.values(await session.run(feeds));
    outputs.push({ data: Float32Array.from(first.data), dims: first.dims });
  }
  await session.dispose();
  return outputs;
}
