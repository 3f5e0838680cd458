// Where models come from, and where results go: files, folders, patterns and the standard streams.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { glob, isDynamicPattern } from 'tinyglobby';
import { cancelled, messageOf } from '../errors.ts';
import { Model, type ModelFile, ZeropointError } from '../node.ts';
import { isAlive } from '../node-process.ts';
import { interrupted, isStream, WrongCall } from './common.ts';

// ---- what goes in

let takenFor: string | undefined;
let streamDigest: string | undefined;

/** The SHA-256 of a model's file, of whatever size. */
export async function digestOf(path: string): Promise<string | undefined> {
  if (isStream(path)) return streamDigest;
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, { signal: interrupted });
  return hash.digest('hex');
}

/** All of standard input, which can be read once. `what`: what it is to be. */
async function readStandardInput(what: string): Promise<Uint8Array> {
  if (takenFor !== undefined)
    throw new WrongCall(`standard input is ${takenFor} already: it cannot be ${what} as well`);
  takenFor = what;
  if (process.stdin.isTTY)
    throw new WrongCall(`${what} comes from standard input, which is a terminal: send a file into it`);
  try {
    const bytes = await buffer(addAbortSignal(interrupted, process.stdin));
    streamDigest = createHash('sha256').update(bytes).digest('hex');
    return new Uint8Array(bytes);
  } catch (error) {
    if (interrupted.aborted) throw cancelled(interrupted);
    throw new ZeropointError('io', `standard input could not be read: ${messageOf(error)}`);
  }
}

/** The bytes of a file, or of standard input. `what`: what they are to be. */
export async function readBytes(path: string, what: string): Promise<Uint8Array> {
  if (isStream(path)) return readStandardInput(what);
  try {
    return await readFile(path);
  } catch (error) {
    throw new ZeropointError(
      'io',
      `${path} could not be read: ${messageOf(error)}`,
      { file: path },
      { cause: error },
    );
  }
}

/** The files that a model was read from. */
export const inputsOf = (path: string, model: Model): string[] =>
  isStream(path) ? [] : [path, ...model.externalData.map(({ name }) => join(dirname(path), name))];

export async function loadModel(
  path: string,
  { scratch }: { scratch?: string | undefined } = {},
): Promise<Model> {
  const name = isStream(path) ? 'standard input' : path;
  if (!isStream(path)) {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') return undefined; // reading it says what is wrong
      throw new ZeropointError('io', `${path}: there is no such file`, { file: path });
    });
    if (found?.isDirectory())
      throw new WrongCall(`${path} is a folder, and one model is needed: name a file in it`);
  }
  const source = isStream(path) ? await readBytes(path, 'a model') : resolve(path);
  try {
    return await Model.load(source, { scratch, signal: interrupted });
  } catch (error) {
    if (error instanceof ZeropointError) {
      throw new ZeropointError(error.code, `${name}: ${error.message}`, { file: name, ...error.details });
    }
    throw error;
  }
}

/** A model that a command was given. */
export interface Source {
  path: string;
  /** What a result is called in a folder: the file's name, or its way in the folder that was named. */
  name: string;
}

const inOrder = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true });

const isBelow = (folder: string, path: string) => {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
};

/** What modelsAt() takes, for the help of commands. */
export const modelsWords =
  'ONNX files, folders with such files, or patterns as in "models/*.onnx"; - is standard input';

/** The models of files, folders (with all that is in them) and patterns. What is below `output` was written before. */
export async function modelsAt(words: readonly string[], output: string): Promise<Source[]> {
  const found = new Map<string, Source>();
  const add = (path: string, name: string) => {
    const key = isStream(path) ? path : resolve(path);
    if (!found.has(key)) found.set(key, { path, name });
  };
  for (const word of words) {
    const what = isStream(word) ? undefined : await stat(word).catch(() => undefined);
    if (what?.isDirectory()) {
      const names = await glob('**/*.onnx', { cwd: word, caseSensitiveMatch: false });
      const own = names.filter((name) => isStream(output) || !isBelow(resolve(output), resolve(word, name)));
      if (own.length === 0)
        throw new WrongCall(
          names.length === 0
            ? `${word}: there is no .onnx file in this folder`
            : `${word}: results go to ${output}, and all models are inside of it: name another folder`,
        );
      for (const name of own.sort(inOrder)) add(join(word, name), name);
    } else if (!what && isDynamicPattern(word)) {
      const paths = await glob(word, { expandDirectories: false, absolute: isAbsolute(word) });
      if (paths.length === 0) throw new WrongCall(`${word}: there is no such file`);
      for (const path of paths.sort(inOrder)) add(path, basename(path));
    } else {
      add(word, isStream(word) ? '' : basename(word));
    }
  }
  return [...found.values()];
}

// ---- what comes out

/** Whether a path names a folder: one that is there, or with a slash at its end. */
export async function isFolder(path: string): Promise<boolean> {
  if (isStream(path)) return false;
  return (
    path.endsWith('/') ||
    path.endsWith(sep) ||
    Boolean((await stat(path).catch(() => undefined))?.isDirectory())
  );
}

/** Where the result of each model goes: to a file, or into a folder. `flag` says which is meant; `ending` is what names get there. */
export async function placesFor(
  flag: string,
  output: string,
  models: readonly Source[],
  ending: string,
): Promise<string[]> {
  const into = await isFolder(output);
  if (!into) {
    if (models.length === 1) return [output];
    throw new WrongCall(
      isStream(output)
        ? `there are ${models.length} models, and standard output takes one: name a folder after ${flag}`
        : `there are ${models.length} models, and ${output} is one file: name a folder after ${flag}, as in ${flag} ${output}/`,
    );
  }
  const owners = new Map<string, string>();
  return models.map(({ path, name }) => {
    if (isStream(path))
      throw new WrongCall(
        `the model from standard input has no name: name a file after ${flag}, not a folder`,
      );
    const place = join(output, name.replace(/(\.onnx)?$/i, ending));
    const owner = owners.get(place);
    if (owner !== undefined)
      throw new WrongCall(`${owner} and ${path} would both become ${place}: quantize them one by one`);
    owners.set(place, path);
    return place;
  });
}

/**
 * Throws if an output may not be written: before the work, so that none is done in vain. `into`: its folder is made where
 * there is none.
 */
export async function checkOutput(
  path: string,
  inputs: readonly string[],
  force: boolean | undefined,
  into = false,
): Promise<void> {
  if (isStream(path)) {
    if (process.stdout.isTTY) throw new WrongCall('standard output is a terminal: send it to a file');
    return;
  }
  const target = await realpath(path).catch(() => undefined);
  for (const input of inputs) {
    if (target !== undefined && target === (await realpath(input).catch(() => undefined))) {
      throw new WrongCall(`${path} is an input: it is never overwritten`);
    }
  }
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) throw new WrongCall(`${path} is a folder`);
  if (found && !force) throw new WrongCall(`${path} exists: give --force to overwrite it`);
  if (into) return;
  const folder = await stat(dirname(resolve(path))).catch(() => undefined);
  if (!folder?.isDirectory()) throw new WrongCall(`${dirname(path)} is not a folder`);
}

/** Writes a file wholly or not at all, or to standard output. */
export const writeOutput = (path: string, data: Uint8Array | string): Promise<void> =>
  isStream(path) ? writeStandardOutput([data]) : writeAll([{ path, data }]);

async function writeStandardOutput(
  data: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>,
): Promise<void> {
  for await (const part of data) {
    await new Promise<void>((done, failed) => {
      process.stdout.write(part, (error) => (error ? failed(error) : done()));
    });
  }
}

/** Writes a model's files beside each other, all of them or none: the model's own last. */
export async function writeModelFiles(
  path: string,
  files: readonly ModelFile[],
  inputs: readonly string[],
  force: boolean | undefined,
): Promise<void> {
  if (isStream(path)) {
    const [file, ...more] = files;
    if (!file || more.length > 0)
      throw new WrongCall(
        `the model becomes ${files.length} files (${files.map(({ name }) => name).join(', ')}), and standard output takes one: name a file after -o`,
      );
    return writeStandardOutput(file);
  }
  const all = files.map((data, i) => ({ path: i === 0 ? path : join(dirname(path), data.name), data }));
  for (const { path: data } of all.slice(1)) await checkOutput(data, inputs, force);
  await writeAll(all.reverse());
}

/** What the name of an unfinished file begins with, before the process that writes it. */
const unfinishedName = (path: string) => `.${basename(path, extname(path))}.`;

/** Where tensors of large models are while this file is made of them; undefined: nowhere with a name. */
export const scratchFor = (path: string): string | undefined =>
  isStream(path) ? undefined : join(dirname(resolve(path)), `${unfinishedName(path)}scratch`);

/** Removes unfinished parts of this file that a killed process left: nothing can resume from them. */
async function removeUnfinished(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  const begin = unfinishedName(path);
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = name.startsWith(begin) && /^(\d+)-[0-9a-f-]{36}\.tmp$/.exec(name.slice(begin.length))?.[1];
    if (pid && !isAlive(Number(pid))) await rm(join(folder, name), { force: true });
  }
}

async function writeAll(
  files: readonly { path: string; data: Uint8Array | string | AsyncIterable<Uint8Array> }[],
): Promise<void> {
  const written = files.map(({ path, data }) => ({
    path,
    data,
    temporary: join(dirname(resolve(path)), `${unfinishedName(path)}${process.pid}-${randomUUID()}.tmp`),
  }));
  let path = '';
  try {
    for (const file of written) await removeUnfinished(file.path);
    for (const { temporary, data, path: now } of written) {
      path = now;
      await mkdir(dirname(temporary), { recursive: true });
      const file = await open(temporary, 'wx');
      try {
        await writeFile(file, data);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    for (const { temporary, path: now } of written) {
      path = now;
      await rename(temporary, path);
    }
  } catch (error) {
    for (const { temporary } of written) await rm(temporary, { force: true });
    if (error instanceof ZeropointError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new ZeropointError(
      'io',
      `${path} could not be written: ${message}`,
      { file: path },
      { cause: error },
    );
  }
}
