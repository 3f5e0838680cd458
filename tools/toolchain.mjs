// Finds an Emscripten new enough for us, or sets one up in the user's cache folder.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { candidateVersion, installPackages, isDebian } from './packages.mjs';
import { commandPath, Failure, machineNode, outputOf, root, run, step } from './process.mjs';

/** The first with the final relaxed-SIMD intrinsics. */
const oldest = '3.1.69';

const cacheFolder = resolve(
  process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
  'zeropoint',
  'toolchain',
  'emscripten',
);

const isNewEnough = (version) => {
  const number = (text) =>
    text
      .split('.')
      .map(Number)
      .reduce((sum, part) => sum * 1000 + part, 0);
  const found = version?.match(/\d+\.\d+\.\d+/)?.[0];
  return found !== undefined && number(found) >= number(oldest);
};

const isUsable = (emcc) =>
  emcc !== null && existsSync(emcc) && isNewEnough(outputOf(emcc, ['--version'])?.split('\n')[0]);

/** The folder of a suitable emcc: on the PATH, of an active emsdk, in the cache; or null. */
function findEmscripten() {
  const onPath = commandPath('emcc');
  if (isUsable(onPath)) return dirname(onPath);
  const emsdk = process.env.EMSDK && join(process.env.EMSDK, 'upstream', 'emscripten');
  if (emsdk && isUsable(join(emsdk, 'emcc'))) return emsdk;
  const cached = join(cacheFolder, 'emscripten');
  return existsSync(join(cached, 'emcc')) ? cached : null;
}

async function installEmscripten() {
  if (isNewEnough(candidateVersion('emscripten'))) {
    await installPackages(['emscripten']);
    return;
  }
  if (!isDebian()) {
    throw new Failure(
      `Emscripten ${oldest} or newer is needed: install and activate emsdk (emscripten.org, "Download and install"), then run this again.`,
    );
  }
  await installPackages(['clang-19', 'lld-19', 'llvm-19', 'debian-archive-keyring', 'python3']);
  await step(`setting up Emscripten ${oldest} in ${cacheFolder}`, () =>
    run('bash', [join(root, 'tools', 'install-emscripten.sh'), cacheFolder], { quiet: true }),
  );
}

/** Makes Emscripten available, and answers the environment in which to build with it. */
export async function emscriptenEnvironment() {
  let folder = findEmscripten();
  if (!folder) {
    await installEmscripten();
    folder = findEmscripten();
    if (!folder) throw new Failure('Emscripten was set up, but emcc does not run.');
  }
  return { ...process.env, PATH: `${folder}${delimiter}${process.env.PATH}`, EM_NODE_JS: machineNode };
}
