// Files, as Node has them: for the package's own thread and for the worker.
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isAlive } from './node-process.ts';
import type { FoundFile, OpenScratch, Platform, ScratchHandle } from './platform.ts';

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

async function sizeOfFile(path: string | URL): Promise<FoundFile> {
  const found = await stat(path);
  if (!found.isFile()) throw new Error('it is no file');
  return { path: pathOf(path), size: found.size, changed: found.mtimeMs };
}

const isBelow = (folder: string, path: string) => {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
};

/**
 * The file that a model at `model` calls `name`. Links may not lead out of the model's folder, or out of the folder that
 * the model's own link leads to: caches of downloads have links for both.
 */
async function besideModel(model: string | URL, name: string): Promise<FoundFile> {
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

let named = 0;

/**
 * The folder for scratch files under a path: `PATH.PROCESS-NUMBER`. The one of a process that is gone is taken over, by
 * renaming it, which only one process can.
 */
function folderNamed(path: string): string {
  const own = `${path}.${process.pid}-${Date.now()}-${++named}`;
  const begin = `${basename(path)}.`;
  const started = Date.now() - 1000 * process.uptime();
  let isTaken = false;
  mkdirSync(dirname(own), { recursive: true });
  for (const name of readdirSync(dirname(own))) {
    const [, pid, at] = (name.startsWith(begin) && /^(\d+)-(\d+)-\d+$/.exec(name.slice(begin.length))) || [];
    if (pid === undefined) continue;
    // In a container all processes may have the same number.
    const isOpen = Number(pid) === process.pid ? Number(at) >= started : isAlive(Number(pid));
    if (isOpen) continue;
    const left = join(dirname(own), name);
    try {
      if (isTaken) rmSync(left, { recursive: true, force: true });
      else renameSync(left, own);
      isTaken = true;
    } catch {
      // Another process has taken it.
    }
  }
  if (!isTaken) mkdirSync(own, { mode: 0o700 });
  return own;
}

function handleOf(path: string): ScratchHandle & { close(): void } {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  return {
    size: () => fstatSync(file).size,
    read: (at, into) => readAll(file, at, into),
    write(at, bytes) {
      for (let done = 0; done < bytes.byteLength; )
        done += writeSync(file, bytes, done, Math.min(stretch, bytes.byteLength - done), at + done);
    },
    truncate: (size) => ftruncateSync(file, size),
    flush: () => fdatasyncSync(file),
    close: () => closeSync(file),
  };
}

function scratch(path?: string): OpenScratch {
  const folder = path === undefined ? mkdtempSync(join(tmpdir(), 'zeropoint-')) : folderNamed(path);
  const name = join(folder, 'weights');
  const data = handleOf(name);
  const notes = path === undefined ? undefined : handleOf(join(folder, 'notes'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  let removed = false;
  // Where open files can be removed, nothing is left whatever becomes of the program.
  if (path === undefined) {
    try {
      remove();
      removed = true;
    } catch {}
  }
  return {
    name,
    data,
    notes,
    close() {
      data.close();
      notes?.close();
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
