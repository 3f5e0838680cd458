// Python environments of our own, in the user's cache folder: one for each list of exact versions.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { Failure, run, step } from './process.mjs';

const cacheFolder = resolve(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'zeropoint');

/** A folder of the user's cache for what is made from these files, and from nothing else. */
export function cacheFolderOf(kind, files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  return join(cacheFolder, kind, hash.digest('hex').slice(0, 16));
}

/** Makes a folder with `make(folder)`, wholly or not at all, where it is not there yet. */
export async function ensureFolder(folder, make) {
  if (existsSync(folder)) return;
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    await make(unfinished);
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // another process was first
  }
}

/** A Python with the packages of a requirements file. */
export async function pythonWith(requirements) {
  const folder = cacheFolderOf('python', [requirements]);
  const python = join(folder, 'bin', 'python');
  const isWhole = join(folder, 'complete');
  if (existsSync(isWhole)) return python;
  rmSync(folder, { recursive: true, force: true }); // an environment does not move: it is made in its place
  await step(`Python environment in ${folder}`, async () => {
    try {
      await run('python3', ['-m', 'venv', folder], { quiet: true });
      const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
      await run(python, [...pip, '--only-binary', ':all:', '-r', requirements], { quiet: true });
    } catch (error) {
      throw new Failure(
        `${error.message}\nPython 3.11 or newer with its module venv is needed, and pip must reach a package index that has what ${requirements} lists.`,
      );
    }
  });
  mkdirSync(isWhole);
  return python;
}
