// node tools/build.mjs [wasm] [package] [page] [served]: builds what is named, or everything, into dist/ and dist-page/.
// `served` is the page in the package, dist/page/.
// Only what changed is built again.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listOf } from './bundled.mjs';
import { Failure, machineNode, nodeBin, root, run, runMain, step } from './process.mjs';
import { describeParts } from './sbom.mjs';
import { setUp } from './setup.mjs';
import { emscriptenEnvironment } from './toolchain.mjs';

const builds = ['simd', 'simd-threads', 'relaxed', 'relaxed-threads'];

/** Two modules for each build, one that only runs models: build/wasm/<variant>.* becomes dist/wasm/<variant>.*. */
export const variants = [...builds, ...builds.map((build) => `run-${build}`)];

/** Configures a CMake preset where that is due, and builds it. */
export async function buildPreset(preset, environment, { buildFolder = preset, quiet = false } = {}) {
  const ninjaFile = join(root, 'build', buildFolder, 'build.ninja');
  const cache = join(root, 'build', buildFolder, 'CMakeCache.txt');
  const presets = join(root, 'CMakePresets.json');
  const isFresh = existsSync(ninjaFile) && statSync(ninjaFile).mtimeMs > statSync(presets).mtimeMs;
  const hasTests = () => /^ZEROPOINT_TESTS:\w+=(ON|TRUE)$/m.test(readFileSync(cache, 'utf8'));
  if (!isFresh || (preset.endsWith('-tests') && !hasTests())) {
    // A preset that only builds is configured by the one that its folder is named for.
    const configured = buildFolder === preset || preset.endsWith('-tests') ? preset : buildFolder;
    await run('cmake', ['--preset', configured], { env: environment, quiet: true });
  }
  await run('cmake', ['--build', '--preset', preset], { env: environment, quiet });
}

/** Copies one variant to dist/wasm. */
function publishVariant(variant) {
  const from = join(root, 'build', 'wasm', variant);
  const to = join(root, 'dist', 'wasm', variant);
  if (existsSync(`${to}.mjs`) && statSync(`${to}.mjs`).mtimeMs > statSync(`${from}.mjs`).mtimeMs) return;
  mkdirSync(join(root, 'dist', 'wasm'), { recursive: true });
  copyFileSync(`${from}.wasm`, `${to}.wasm`);
  copyFileSync(`${from}.mjs`, `${to}.mjs`);
}

async function buildWasm(environment) {
  await step('WebAssembly', async () => {
    await buildPreset('wasm', environment);
    for (const variant of variants) publishVariant(variant);
  });
}

/** When anything in these files and folders (or in what they hold) was last changed. */
function newest(...paths) {
  const timeOf = (path) => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found) return 0;
    return found.isDirectory()
      ? Math.max(found.mtimeMs, ...readdirSync(path).map((name) => timeOf(join(path, name))))
      : found.mtimeMs;
  };
  return Math.max(...paths.map((path) => timeOf(join(root, path))));
}

async function buildPackage(environment) {
  const built = statSync(join(root, 'dist', 'index.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (
    existsSync(listOf('package')) &&
    built >
      newest(
        'bindings/ts',
        'web/src', // the command line's report
        'dist/wasm',
        'tools/glue.mjs',
        'rolldown.config.mjs',
        'tsconfig.base.json',
        'tsconfig.build.json',
        'package-lock.json',
      )
  )
    return;
  await step('npm package', async () => {
    mkdirSync(join(root, 'dist'), { recursive: true });
    for (const name of readdirSync(join(root, 'dist'))) {
      if (name !== 'wasm') rmSync(join(root, 'dist', name), { recursive: true });
    }
    await run(nodeBin('tsc'), ['-p', 'tsconfig.build.json']); // types
    await run(nodeBin('rolldown'), ['-c', 'rolldown.config.mjs'], { quiet: true });
    await describeParts(environment);
  });
}

/** What the page's digits demo loads. The engine is no input: a network that it trained once stays good. */
async function buildDigits() {
  const built =
    statSync(join(root, 'build', 'digits', 'digits.onnx'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built > newest('tools/digits.mjs', 'bench/digits.mjs', 'package-lock.json')) return;
  await step('digits demo: training its network', () => run(machineNode, ['tools/digits.mjs']));
}

/** Builds the page into a folder, in a mode of web/vite.config.ts, and answers the path of its document. */
async function buildPageInto(folder, mode, title) {
  await buildDigits();
  const page = join(folder, 'index.html');
  const built = statSync(page, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const others = readdirSync(join(root, 'dist')).filter((name) => name !== 'page');
  const ofPackage = others.map((name) => join('dist', name));
  if (built < newest('web', ...ofPackage, 'build/digits', 'package-lock.json', 'tools/api-reference.mjs'))
    await step(title, () =>
      run(nodeBin('vite'), ['build', 'web', '--mode', mode, '--outDir', folder, '--emptyOutDir'], {
        env: { ...process.env, NODE_ENV: 'production' }, // a test that builds has another
      }),
    );
  return page;
}

const buildPage = () => buildPageInto(join(root, 'dist-page'), 'production', 'page');

/** The page in the package, which `zeropoint serve` serves. */
async function buildServed(environment) {
  await buildPageInto(join(root, 'dist', 'page'), 'packed', 'page in the package');
  const described = statSync(join(root, 'dist', 'sbom.cdx.json'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (described < newest('dist/page', 'tools/parts.mjs', 'tools/sbom.mjs')) await describeParts(environment);
}

/** The page as one file, with the licenses of its parts below it. The package must be there. */
export async function buildSingle() {
  const folder = join(root, 'build', 'single');
  const page = await buildPageInto(folder, 'single', 'page as one file');
  const file = join(folder, 'zeropoint.html');
  const built = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built >= newest('build/single/index.html', 'tools/parts.mjs', 'tools/sbom.mjs', 'tools/build.mjs'))
    return file;
  await describeParts(await emscriptenEnvironment(), folder, 'single');
  const text = readFileSync(join(folder, 'THIRD-PARTY.txt'), 'utf8');
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const licenses = `<details class="licenses"><summary>Licenses</summary><pre>${escaped}</pre></details>`;
  const document = readFileSync(page, 'utf8');
  const end = document.indexOf('<noscript>');
  if (end < 0) throw new Failure('the page has no place for the licenses');
  writeFileSync(file, `${document.slice(0, end)}${licenses}\n    ${document.slice(end)}`);
  return file;
}

/** Bytes of a file, or of all files in a folder. */
export function sizeOf(path) {
  const found = statSync(path);
  if (!found.isDirectory()) return found.size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

const parts = { wasm: buildWasm, package: buildPackage, page: buildPage, served: buildServed };

export async function build(environment, names = Object.keys(parts)) {
  for (const name of names) await parts[name](environment);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    const names = process.argv.slice(2);
    const unknown = names.filter((name) => !Object.hasOwn(parts, name));
    if (unknown.length)
      throw new Failure(`no such part: ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`);
    await build(await setUp(), names.length ? names : undefined);
  });
}
