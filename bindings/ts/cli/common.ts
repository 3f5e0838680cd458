// What the commands share: options, samples, progress, output, errors.
import { randomUUID } from 'node:crypto';
import { lstat, open, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { SingleBar } from 'cli-progress';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  concreteDims,
  configure,
  type Feeds,
  imagePresets,
  Model,
  type ModelFile,
  type Progress,
  readNpy,
  type SampleFile,
  type SampleOptions,
  samplesFromFiles,
  syntheticSamples,
  type TrainingProgress,
  type ValueInfo,
  ZeropointError,
} from '../node.ts';

/** `cannotRun`: of `inspect`, which has said all that it could. */
export const exitCodes = { done: 0, failed: 1, wrongCall: 2, cannotRun: 3 };

/** A mistake in the call: exit code 2. */
export class WrongCall extends Error {}

export function exitCode(error: unknown): number {
  if (error instanceof WrongCall) return exitCodes.wrongCall;
  // An option's value that only the engine could judge.
  if (error instanceof ZeropointError && error.code === 'invalid-argument') return exitCodes.wrongCall;
  return exitCodes.failed;
}

let asJson = false;

/** Errors go to standard error, with --json as an object. */
export function printError(error: unknown): void {
  if (error instanceof ZeropointError) {
    const { code, message, details } = error;
    if (asJson) {
      process.stderr.write(`${JSON.stringify({ error: { code, message, ...details } })}\n`);
      return;
    }
    const where = [
      details.node && `node: ${details.node}`,
      details.op && `operator: ${details.op}`,
      details.tensor && `tensor: ${details.tensor}`,
    ].filter(Boolean);
    process.stderr.write(`error: ${plain(message)}\n`);
    if (where.length) process.stderr.write(`  ${plain(where.join(', '))}\n`);
    if (details.hint) process.stderr.write(`  ${plain(details.hint)}\n`);
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof WrongCall ? 'invalid-argument' : 'internal';
  process.stderr.write(
    asJson ? `${JSON.stringify({ error: { code, message } })}\n` : `error: ${plain(message)}\n`,
  );
}

/** Names come out of strangers' files: no control characters reach the terminal. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '?');
}

// ---- interruption

const controller = new AbortController();

/** Fires on the first Ctrl-C. */
export const interrupted: AbortSignal = controller.signal;

/** The first Ctrl-C stops the work, so that nothing is left half written; the second ends the process. */
export function installInterrupt(): void {
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      if (interrupted.aborted) process.exit(code);
      controller.abort(new Error('interrupted'));
    });
  }
}

// ---- options

export interface CommonOptions {
  json?: boolean | string;
  quiet?: boolean;
  threads?: number;
}

const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('It is not an integer of 1 or more.');
  return value;
};

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
};

const numbers = (text: string): number | number[] => {
  const values = text.split(',').map(number);
  return values.length === 1 ? (values[0] as number) : values;
};

const size = (text: string): number | [number, number] => {
  const [height, width, ...more] = text.split(/[x,]/).map(positiveInteger);
  if (more.length) throw new InvalidArgumentError('One number, or HEIGHTxWIDTH, is needed.');
  return width === undefined ? (height as number) : [height as number, width];
};

const list = (text: string, before: string[] | undefined): string[] => [
  ...(before ?? []),
  ...text.split(',').filter(Boolean),
];

/** `--dims H=640,W=640`, also given several times. */
const dims = (text: string, before: Record<string, number> | undefined): Record<string, number> => {
  const result = { ...before };
  for (const pair of text.split(',')) {
    const at = pair.lastIndexOf('=');
    if (at < 1) throw new InvalidArgumentError("NAME=SIZE is needed, as in 'H=640,W=640'.");
    result[pair.slice(0, at)] = positiveInteger(pair.slice(at + 1));
  }
  return result;
};

export const parse = { positiveInteger, number, list, dims };

export function addCommonOptions(command: Command, { jsonFile = false } = {}): Command {
  return command
    .option(
      jsonFile ? '--json [file]' : '--json',
      `write the result as JSON${jsonFile ? ', to a file if one is named' : ''}`,
    )
    .option('--quiet', 'no progress and no warnings')
    .option('--threads <n>', 'threads to work with', positiveInteger);
}

export interface SampleArguments extends SampleOptions {
  dims?: Record<string, number>;
  seed?: number;
  samples?: number;
}

export function addSampleOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--preset <name>', 'images: how the model was trained').choices(Object.keys(imagePresets)),
    )
    .option('--size <n|HxW>', 'images: height and width', size)
    .option('--mean <n,n,n>', 'images: subtracted from each channel, which is 0...1', numbers)
    .option('--std <n,n,n>', 'images: each channel is divided by it', numbers)
    .addOption(new Option('--layout <order>', 'images: order of dimensions').choices(['nchw', 'nhwc']))
    .addOption(new Option('--channels <order>', 'images: order of channels').choices(['rgb', 'bgr', 'gray']))
    .addOption(
      new Option('--resize <how>', 'images: how they come to their size').choices([
        'stretch',
        'cover',
        'contain',
        'fit-height',
      ]),
    )
    .option('--audio-scale <n>', 'sound: every value is multiplied by it (32768: as 16-bit integers)', number)
    .option('--samples <n>', 'the most samples to use', positiveInteger)
    .option('--dims <names>', 'synthetic samples: sizes of named dimensions, as in H=640,W=640', dims)
    .option('--seed <n>', 'synthetic samples and training: another seed gives others', positiveInteger);
}

/** Reads the common options; call it first. */
export function begin(options: CommonOptions): void {
  asJson = options.json === true;
  if (options.threads !== undefined) configure({ threads: options.threads });
}

// ---- models and samples

/** The files that a model was read from. */
export const inputsOf = (path: string, model: Model): string[] => [
  path,
  ...model.externalData.map(({ name }) => join(dirname(path), name)),
];

export async function loadModel(path: string): Promise<Model> {
  try {
    return await Model.load(resolve(path), { signal: interrupted });
  } catch (error) {
    if (error instanceof ZeropointError) {
      throw new ZeropointError(error.code, `${path}: ${error.message}`, { file: path, ...error.details });
    }
    throw error;
  }
}

const fileAt = (path: string, name: string): SampleFile => ({ name, arrayBuffer: () => readFile(path) });

/** A folder of `<input>.npy` is one sample of several inputs. */
async function sampleInFolder(folder: string, inputs: readonly ValueInfo[]): Promise<SampleFile> {
  const { writeNpz } = await import('../node.ts');
  return {
    name: folder,
    async arrayBuffer() {
      const arrays: Record<string, ReturnType<typeof readNpy>> = {};
      for (const { name } of inputs) {
        const path = join(folder, `${name}.npy`);
        try {
          arrays[name] = readNpy(await readFile(path), path);
        } catch (error) {
          if (error instanceof ZeropointError) throw error;
          throw new ZeropointError('invalid-sample', `${folder}: there is no ${name}.npy in it`, {
            file: folder,
          });
        }
      }
      return writeNpz(arrays);
    },
  };
}

export const isImageName = (name: string): boolean => /\.(png|jpe?g|webp|gif|avif|tiff?|bmp)$/i.test(name);

/** The files of a folder in the order of their names (numbers as numbers), or the one file. */
export async function* filesAt(path: string, inputs: readonly ValueInfo[]): AsyncGenerator<SampleFile> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new WrongCall(`${path}: there is no such file or folder`);
  if (!found.isDirectory()) {
    yield fileAt(path, path);
    return;
  }
  const entries = await readdir(path, { withFileTypes: true });
  entries.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const inner = join(path, entry.name);
    if (entry.isDirectory()) yield await sampleInFolder(inner, inputs);
    else if (isImageName(entry.name) || /\.(npy|npz|wav)$/i.test(entry.name)) yield fileAt(inner, inner);
  }
}

/** Samples from a path; without one synthetic samples, and `warn` is told what that costs. */
export async function samplesFor(
  inputs: readonly ValueInfo[],
  path: string | undefined,
  options: SampleArguments,
  { synthetic, warn, cost }: { synthetic: number; warn: (text: string) => void; cost: string },
): Promise<{ samples: () => AsyncIterable<Feeds> | Iterable<Feeds>; count: number; synthetic: boolean }> {
  if (path === undefined) {
    const count = options.samples ?? synthetic;
    const sizes = Object.fromEntries(concreteDims(inputs, options.dims));
    const shapes = Object.entries(sizes).map(([name, shape]) => `${name} [${shape.join(', ')}]`);
    warn(`no samples were given: ${count} synthetic ones (normal noise, ${shapes.join('; ')}). ${cost}`);
    const given = { count, dims: options.dims, seed: options.seed };
    return { samples: () => syntheticSamples(inputs, given), count, synthetic: true };
  }
  if (options.dims) throw new WrongCall('--dims is for synthetic samples, and samples were given');
  const { dims: _, seed, samples: limit, ...rest } = options;
  const known = await countFiles(path, inputs);
  if (known === 0) {
    throw new ZeropointError('invalid-sample', `${path}: there is no .npy, .npz, .wav or image file in it`, {
      file: path,
    });
  }
  const sampleOptions: SampleOptions = {
    preset: rest.preset,
    size: rest.size,
    mean: rest.mean,
    std: rest.std,
    layout: rest.layout,
    channels: rest.channels,
    resize: rest.resize,
    audioScale: rest.audioScale,
    limit,
  };
  return {
    samples: () => samplesFromFiles(filesAt(path, inputs), inputs, sampleOptions),
    // A file may hold several samples: the count is only shown.
    count: Math.min(known, limit ?? known),
    synthetic: false,
  };
}

async function countFiles(path: string, inputs: readonly ValueInfo[]): Promise<number> {
  let count = 0;
  for await (const _ of filesAt(path, inputs)) count += 1;
  return count;
}

// ---- progress and output

export interface Terminal {
  progress(progress: Progress): void;
  warn(text: string): void;
  /** Takes the bar away. */
  end(): void;
}

const trainingLine = ({ epoch, epochs, loss, stepMilliseconds, remainingMilliseconds }: TrainingProgress) =>
  ` epoch ${epoch}/${epochs}, loss ${loss.toPrecision(3)}, ${stepMilliseconds.toFixed(0)} ms a step, ${Math.ceil(remainingMilliseconds / 1000)} s left`;

/** A progress bar on standard error, if that is a terminal; warnings there too. */
export function terminal(quiet: boolean | undefined, count = 0): Terminal {
  const shows = !quiet && process.stderr.isTTY === true;
  let bar: SingleBar | undefined;
  return {
    progress({ phase, done, total, training }) {
      if (!shows) return;
      const most = total || count;
      if (!bar) {
        bar = new SingleBar({
          format: ' {phase} {bar} {percentage}%{more}',
          barsize: 32,
          hideCursor: true,
          clearOnComplete: true,
          stopOnComplete: false,
          stream: process.stderr,
        });
        bar.start(1, 0, { phase: phase.padEnd(10), more: '' });
      }
      bar.update(most > 0 ? Math.min(done / most, 1) : 0, {
        phase: phase.padEnd(10),
        more: phase === 'train' && training ? trainingLine(training) : '',
      });
    },
    warn(text) {
      if (quiet) return;
      bar?.stop();
      bar = undefined;
      process.stderr.write(`warning: ${plain(text)}\n`);
    },
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}

/** Infinity and NaN have no form in JSON: "Infinity" and null. */
export function json(value: unknown): string {
  const replace = (_: string, v: unknown) => {
    if (typeof v !== 'number' || Number.isFinite(v)) return v;
    return Number.isNaN(v) ? null : String(v);
  };
  return `${JSON.stringify(value, replace, 2)}\n`;
}

export const print = (text: string): void => {
  process.stdout.write(`${plain(text)}\n`);
};

/** Throws if the output may not be written: before the work, so that none is done in vain. */
export async function checkOutput(
  path: string,
  inputs: readonly string[],
  force: boolean | undefined,
): Promise<void> {
  const target = await realpath(path).catch(() => undefined);
  for (const input of inputs) {
    if (target !== undefined && target === (await realpath(input).catch(() => undefined))) {
      throw new WrongCall(`${path} is an input: it is never overwritten`);
    }
  }
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) throw new WrongCall(`${path} is a folder`);
  if (found && !force) throw new WrongCall(`${path} exists: give --force to overwrite it`);
  const folder = await stat(dirname(resolve(path))).catch(() => undefined);
  if (!folder?.isDirectory()) throw new WrongCall(`${dirname(path)} is not a folder`);
}

/** Writes a file wholly or not at all. */
export const writeOutput = (path: string, data: Uint8Array | string): Promise<void> =>
  writeAll([{ path, data }]);

/** Writes a model's files beside each other, all of them or none: the model's own last. */
export async function writeModelFiles(
  path: string,
  files: readonly ModelFile[],
  inputs: readonly string[],
  force: boolean | undefined,
): Promise<void> {
  const all = files.map((data, i) => ({ path: i === 0 ? path : join(dirname(path), data.name), data }));
  for (const { path: data } of all.slice(1)) await checkOutput(data, inputs, force);
  await writeAll(all.reverse());
}

async function writeAll(
  files: readonly { path: string; data: Uint8Array | string | AsyncIterable<Uint8Array> }[],
): Promise<void> {
  const written = files.map(({ path, data }) => ({
    path,
    data,
    temporary: join(dirname(resolve(path)), `.${basename(path, extname(path))}.${randomUUID()}.tmp`),
  }));
  let path = '';
  try {
    for (const { temporary, data, path: now } of written) {
      path = now;
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

// ---- words

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ['kB', 'MB', 'GB'];
  let value = count / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** How the size of a file changed: never as a share that has to be read twice. */
export function sizeChange(before: number, after: number): string {
  if (after === before) return 'the same size';
  if (after > before) return `${percentOf(after / before - 1)} larger`;
  const times = before / after;
  return times < 1.1 ? `${percentOf(1 - after / before)} smaller` : `${times.toFixed(2)} times smaller`;
}

/** How two times compare: as the larger of both over the smaller. */
export function speedChange(before: number, after: number): string {
  return after <= before
    ? `${(before / after).toFixed(2)} times as fast`
    : `${(after / before).toFixed(2)} times slower`;
}

const percentOf = (share: number) => `${share < 0.01 ? 'less than 1' : (100 * share).toFixed(0)} %`;

export function amount(count: number): string {
  const [value, unit] =
    count >= 1e9
      ? [count / 1e9, ' G']
      : count >= 1e6
        ? [count / 1e6, ' M']
        : count >= 1e4
          ? [count / 1e3, ' k']
          : [count, ''];
  return unit === '' ? String(value) : `${value.toFixed(2)}${unit}`;
}

export function decibels(value: number): string {
  if (Number.isNaN(value)) return '-';
  return Number.isFinite(value) ? `${value.toFixed(1)} dB` : value > 0 ? 'exact' : '-∞ dB';
}

export const milliseconds = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

export function shape({ type, dims: sizes }: ValueInfo): string {
  return `${type} ${sizes ? `[${sizes.join(', ')}]` : '[...]'}`;
}

/** Columns as wide as what is in them; the last is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
