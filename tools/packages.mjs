// Programs and libraries that the system must have, and how apt gives them. Systems without apt are told what to install.
import { existsSync, readFileSync } from 'node:fs';
import { commandPath, Failure, outputOf, run, step } from './process.mjs';

const header = (name) => () =>
  ['/usr/include', '/usr/local/include', '/opt/homebrew/include'].some((folder) =>
    existsSync(`${folder}/${name}`),
  );
const command =
  (...names) =>
  () =>
    names.some((name) => commandPath(name));
const file = (path) => () => existsSync(path);

/** Each: the apt package, and how to see that what it gives is there. */
const forBuilding = [
  { apt: 'cmake', isThere: command('cmake') },
  { apt: 'ninja-build', isThere: command('ninja') },
  { apt: 'ccache', isThere: command('ccache') },
  { apt: 'libprotozero-dev', isThere: header('protozero/pbf_reader.hpp') },
];

const forTesting = [
  { apt: 'git', isThere: command('git') },
  { apt: 'python3-venv', isThere: () => outputOf('python3', ['-c', 'import ensurepip, venv']) !== null },
  { apt: 'clang-19', isThere: command('clang++-19') },
  { apt: 'libclang-rt-19-dev', isThere: file('/usr/lib/llvm-19/lib/clang/19/lib/linux') },
  { apt: 'clang-format-19', isThere: command('clang-format-19') },
  { apt: 'clang-tidy-19', isThere: command('clang-tidy-19') },
  { apt: 'libsimde-dev', isThere: header('simde/wasm/simd128.h') },
  { apt: 'googletest', isThere: file('/usr/src/googletest/CMakeLists.txt') },
  { apt: 'chromium', isThere: command('chromium') },
  { apt: 'firefox-esr', isThere: command('firefox-esr') },
];

export const isDebian = () =>
  existsSync('/etc/os-release') && /^ID=debian$/m.test(readFileSync('/etc/os-release', 'utf8'));

/** The version of a package that apt would install, or null. */
export const candidateVersion = (name) =>
  outputOf('apt-cache', ['policy', name], { env: { ...process.env, LC_ALL: 'C' } })?.match(
    /Candidate: (\S+)/,
  )?.[1] ?? null;

export async function installPackages(names) {
  const isInstalled = (name) =>
    /^Status: install ok installed$/m.test(outputOf('dpkg-query', ['-s', name]) ?? '');
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo'];
  if (!commandPath('apt-get') || (asRoot.length && !commandPath('sudo'))) {
    throw new Failure(
      `These are missing, and only apt with root's rights installs them by itself: ${missing.join(' ')}`,
    );
  }
  const apt = (...args) => {
    const [program, ...rest] = [
      ...asRoot,
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      '-qq',
      '-o',
      'DPkg::Lock::Timeout=300',
      ...args,
    ];
    return run(program, rest, { quiet: true });
  };
  await step(`apt-get install ${missing.join(' ')}`, async () => {
    await apt('update');
    await apt('install', '-y', '--no-install-recommends', ...missing);
  });
}

/** Installs what is missing for building, or for building and testing. */
export async function ensureSystemPackages({ tests }) {
  const needs = tests ? [...forBuilding, ...forTesting] : forBuilding;
  await installPackages(needs.filter((need) => !need.isThere()).map((need) => need.apt));
}
