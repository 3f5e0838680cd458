// ONNX Runtime's quantizer, driven by rival.py; its measurements are kept beside the samples.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('rival.py', import.meta.url));

/** Changes when the model or the script does. */
function stateOf(modelFile) {
  const hash = createHash('sha256');
  for (const file of [script, modelFile]) hash.update(readFileSync(file));
  return hash.digest('hex');
}

/** One tensor for each sample, cut from what the script wrote, shaped like ours. */
function cut(file, like) {
  const bytes = readFileSync(file);
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let at = 0;
  return like.map(({ data, dims }) => {
    const part = all.subarray(at, at + data.length);
    at += data.length;
    return { data: part, dims };
  });
}

async function* fresh(python, modelFile, samples, out) {
  // Its shape inference leaves files where it runs.
  const cwd = mkdtempSync(join(tmpdir(), 'zeropoint-rival-'));
  const child = spawn(python, [script, modelFile, samples, out], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  let said = '';
  child.stderr.on('data', (data) => {
    said = (said + data).slice(-2000);
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{')) yield JSON.parse(line);
  }
  const code = await ended;
  rmSync(cwd, { recursive: true, force: true });
  if (code !== 0) throw new Error(said.trim().split('\n').at(-1) || `it ended with ${code}`);
}

/**
 * The rival's rows, one for each setting, as they come: { setting, bytes, seconds, outputs } or { setting, error }.
 * `expected`: the float model's outputs on the test samples.
 */
export async function* rivalRows(python, modelFile, samples, expected, { again = false } = {}) {
  const out = join(samples, 'rival');
  const kept = join(out, 'rows.json');
  const state = stateOf(modelFile);
  const before = existsSync(kept) ? JSON.parse(readFileSync(kept, 'utf8')) : {};
  const useKept = !again && before.state === state;
  mkdirSync(out, { recursive: true });
  const rows = [];
  for await (const row of useKept ? before.rows : fresh(python, modelFile, samples, out)) {
    rows.push(row);
    yield row.error ? row : { ...row, outputs: cut(join(out, `${row.setting}.bin`), expected) };
  }
  if (!useKept) writeFileSync(kept, JSON.stringify({ state, rows }));
}
