// node tools/lint.mjs [--fix] [FILE…]: format and lint. Without files: everything is format-checked, and
// clang-tidy reads the C++ files that changed since the branch left its base.
import { existsSync } from 'node:fs';
import { extname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { docsCheck } from './docs-check.mjs';
import { inParallel, nodeBin, outputOf, root, run, runMain } from './process.mjs';
import { setUp } from './setup.mjs';

const lines = (text) => (text ? text.split('\n').filter(Boolean) : []);
const git = (...args) => lines(outputOf('git', args));
const isCpp = (file) => ['.cpp', '.h'].includes(extname(file)) && /^(src|bindings|tests|bench)\//.test(file);

/** Every file git knows or would know. */
const allFiles = () =>
  git('ls-files', '--cached', '--others', '--exclude-standard').filter((file) =>
    existsSync(join(root, file)),
  );

/** Files that differ from the branch's base (from the last commit's parent, on the main branch itself). */
function changedFiles() {
  const [head] = git('rev-parse', 'HEAD');
  const [mergeBase] = git('merge-base', 'HEAD', 'origin/HEAD');
  const base = mergeBase && mergeBase !== head ? mergeBase : git('rev-parse', '--verify', 'HEAD~1')[0];
  const committed = base ? git('diff', '--name-only', '--diff-filter=d', base) : allFiles();
  return [...new Set([...committed, ...git('ls-files', '--others', '--exclude-standard')])];
}

async function clangFormat(files, fix) {
  if (files.length === 0) return true;
  const { code } = await run('clang-format-19', [...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...files], {
    mayFail: true,
  });
  return code === 0;
}

/** clang-tidy reads headers through the sources that include them; bindings compile only under Emscripten. */
async function clangTidy(files, environment) {
  const sources = files.filter((file) => file.endsWith('.cpp') && /^(src|tests\/unit)\//.test(file));
  if (sources.length === 0) return true;
  await run('cmake', ['--preset', 'lint'], { env: environment, quiet: true }); // writes compile_commands.json
  const results = await inParallel(sources, async (source) => {
    const { code, output } = await run('clang-tidy-19', ['--quiet', '-p', 'build/lint', source], {
      mayFail: true,
      quiet: true,
    });
    if (code !== 0) console.log(output.replaceAll(/^\d+ warnings? .*generated\.\n/gm, ''));
    return code === 0;
  });
  return results.every(Boolean);
}

/** The one C++ program that no build of the engine has: it broke unnoticed. */
async function benchCompiles(environment) {
  const flags = [
    '-fsyntax-only',
    '-std=c++23',
    '-msimd128',
    '-mrelaxed-simd',
    '-DZEROPOINT_RELAXED=1',
    '-Isrc',
  ];
  const { code } = await run('em++', [...flags, 'bench/kernels/kernels.cpp'], {
    env: environment,
    mayFail: true,
  });
  return code === 0;
}

async function biome(files, fix) {
  const { code } = await run(
    nodeBin('biome'),
    [
      'check',
      '--no-errors-on-unmatched',
      '--error-on-warnings',
      ...(fix ? ['--write'] : []),
      ...(files.length ? files : ['.']),
    ],
    { mayFail: true },
  );
  return code === 0;
}

async function types() {
  const { code } = await run(nodeBin('tsc'), ['-p', 'tsconfig.json'], { mayFail: true });
  return code === 0;
}

/** Answers [name, passed] for each check. */
export async function lint(environment, { fix = false, files = [] } = {}) {
  const named = files.map((file) => relative(root, resolve(file)));
  const cpp = (named.length ? named : allFiles()).filter(isCpp);
  const rest = named.filter((file) => !isCpp(file));
  const results = [['clang-format', await clangFormat(cpp, fix)]];
  if (named.length === 0 || rest.length) {
    results.push(['biome', await biome(rest, fix)]);
    results.push(['types', await types()]);
  }
  if (named.length === 0) results.push(['documents and includes', docsCheck({ write: fix })]);
  if (named.length === 0) results.push(['bench/kernels compiles', await benchCompiles(environment)]);
  if (!fix) results.push(['clang-tidy', await clangTidy(named.length ? named : changedFiles(), environment)]);
  return results;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    const args = process.argv.slice(2);
    const results = await lint(await setUp({ tests: true }), {
      fix: args.includes('--fix'),
      files: args.filter((arg) => !arg.startsWith('--')),
    });
    for (const [name, passed] of results) console.log(`${passed ? 'ok    ' : 'FAILED'} ${name}`);
    return results.every(([, passed]) => passed) ? 0 : 1;
  });
}
