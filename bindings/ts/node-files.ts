// Files, as Node has them: for the package's own thread and for the worker.
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Platform } from './platform.ts';

/** Systems move at most so much in one call. */
const stretch = 2 ** 30;

function readAll(file: number, at: number, into: Uint8Array): void {
  for (let done = 0; done < into.byteLength; ) {
    const got = readSync(file, into, done, Math.min(stretch, into.byteLength - done), at + done);
    if (got === 0) throw new Error(`it ends at byte ${at + done}`);
    done += got;
  }
}

const pathOf = (path: string | URL) => (path instanceof URL ? fileURLToPath(path) : path);

async function sizeOfFile(path: string | URL): Promise<{ path: string; size: number }> {
  const found = await stat(path);
  if (!found.isFile()) throw new Error('it is no file');
  return { path: pathOf(path), size: found.size };
}

const isBelow = (folder: string, path: string) => {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
};

/**
 * The file that a model at `model` calls `name`. Links may not lead out of the model's folder, or out of the folder that
 * the model's own link leads to: caches of downloads have links for both.
 */
async function besideModel(model: string | URL, name: string): Promise<{ path: string; size: number }> {
  const path = pathOf(model);
  const folder = dirname(path);
  const real = await realpath(join(folder, ...name.split('/'))).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new Error(`there is none in ${folder}`) : error;
  });
  const folders = [await realpath(folder), dirname(await realpath(path))];
  if (!folders.some((allowed) => isBelow(allowed, real)))
    throw new Error('it is a link out of the folder of the model, which is not followed');
  return sizeOfFile(real);
}

function scratch(): ReturnType<NonNullable<Platform['scratch']>> {
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-'));
  const name = join(folder, 'weights');
  const file = openSync(name, 'wx+', 0o600);
  const remove = () => {
    unlinkSync(name);
    rmdirSync(folder);
  };
  let removed = false;
  try {
    remove(); // where open files can be removed, nothing is left whatever becomes of the program
    removed = true;
  } catch {}
  let size = 0;
  return {
    name,
    append(bytes) {
      const at = size;
      for (let done = 0; done < bytes.byteLength; )
        done += writeSync(file, bytes, done, Math.min(stretch, bytes.byteLength - done), at + done);
      size += bytes.byteLength;
      return at;
    },
    read: (at, into) => readAll(file, at, into),
    close() {
      closeSync(file);
      if (!removed) remove();
    },
  };
}

export const nodeFiles = {
  readFile,
  sizeOfFile,
  besideModel,
  openFile(path) {
    const file = openSync(path, 'r');
    if (!fstatSync(file).isFile()) {
      closeSync(file);
      throw new Error('it is no file');
    }
    return { read: (at, into) => readAll(file, at, into), close: () => closeSync(file) };
  },
  scratch,
} satisfies Platform;
