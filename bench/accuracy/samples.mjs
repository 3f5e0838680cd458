// Samples that accuracy is measured with, made once by samples.py and kept in bench/.cache.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { wakewordModels } from './contest.mjs';

const run = promisify(execFile);

const filesIn = (folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.npz'))
    .sort()
    .map((name) => ({ name, arrayBuffer: async () => readFileSync(join(folder, name)) }));

/** Files to calibrate and to test with, and what is right about the latter; undefined where they cannot be made. */
export async function samplesFor({ key, cache, python, images }) {
  const folder = join(cache, 'accuracy', key);
  if (!existsSync(join(folder, 'truth.json'))) {
    if (!python) return undefined;
    mkdirSync(folder, { recursive: true });
    const script = fileURLToPath(new URL('samples.py', import.meta.url));
    await run(python, [script, folder, key, '--images', images, '--models', wakewordModels]);
  }
  return {
    folder,
    truth: JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8')),
    calibration: filesIn(join(folder, 'calibration')),
    test: filesIn(join(folder, 'test')),
  };
}
