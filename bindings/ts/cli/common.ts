// What the commands share: errors, interruption, options, words.
import { type Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../errors.ts';
import { configure, type ValueInfo, ZeropointError } from '../node.ts';

/** `cannotRun`: of `inspect`, which has said all that it could. */
export const exitCodes = { done: 0, failed: 1, wrongCall: 2, cannotRun: 3 };

/** A mistake in the call: exit code 2. */
export class WrongCall extends Error {}

export function exitCode(error: unknown): number {
  if (endedBy !== undefined && error instanceof ZeropointError && error.code === 'cancelled') return endedBy;
  if (error instanceof WrongCall) return exitCodes.wrongCall;
  // An option's value that only the engine could judge.
  if (error instanceof ZeropointError && error.code === 'invalid-argument') return exitCodes.wrongCall;
  return exitCodes.failed;
}

let asJson = false;

/** An error as an object. */
export function errorObject(error: unknown): Record<string, unknown> {
  if (error instanceof ZeropointError) return { code: error.code, message: error.message, ...error.details };
  return { code: error instanceof WrongCall ? 'invalid-argument' : 'internal', message: messageOf(error) };
}

/** Errors go to standard error, with --json and --progress json as an object. `of`: the model, where there are several. */
export function printError(error: unknown, of?: string): void {
  if (asJson) {
    const model = of === undefined ? {} : { model: of };
    process.stderr.write(`${JSON.stringify({ error: { ...model, ...errorObject(error) } })}\n`);
    return;
  }
  const message = messageOf(error);
  const about = of === undefined || message.startsWith(of) ? '' : `${of}: `;
  process.stderr.write(`error: ${plain(about + message)}\n`);
  if (!(error instanceof ZeropointError)) return;
  const { details } = error;
  const where = [
    details.node && `node: ${details.node}`,
    details.op && `operator: ${details.op}`,
    details.tensor && `tensor: ${details.tensor}`,
  ].filter(Boolean);
  if (where.length) process.stderr.write(`  ${plain(where.join(', '))}\n`);
  if (details.hint) process.stderr.write(`  ${plain(details.hint)}\n`);
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

const signals = { SIGINT: 130, SIGTERM: 143 } as const;

/** The exit code of the signal that stops the work. */
let endedBy: number | undefined;

/** The first Ctrl-C stops the work, so that nothing is left half written; the second ends the process. */
export function installInterrupt(): void {
  for (const [name, code] of Object.entries(signals)) {
    process.on(name, () => {
      if (interrupted.aborted) process.exit(code);
      endedBy = code;
      controller.abort(new Error('interrupted'));
    });
  }
}

/** Whoever sends SIGTERM is told that it came, also where the work could be brought to an end. */
export const isTerminated = (): boolean => endedBy === signals.SIGTERM;
export const terminatedCode: number = signals.SIGTERM;

/** Ends with the exit code of the signal, where a signal is what the work waited for. */
export function endBySignal(): void {
  process.exitCode = endedBy;
}

// ---- options

export interface CommonOptions {
  json?: boolean | string;
  quiet?: boolean;
  threads?: number;
  progress?: string;
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

/** `--dims H=640,W=640`, also given several times. */
const dims = (text: string, before: Record<string, number> | undefined): Record<string, number> => {
  const result = { ...before };
  for (const pair of text.split(',')) {
    const at = pair.lastIndexOf('=');
    if (at < 1) throw new InvalidArgumentError("NAME=SIZE is needed, as in 'H=640,W=640'.");
    const [name, size] = [pair.slice(0, at), positiveInteger(pair.slice(at + 1))];
    if (Object.hasOwn(result, name) && result[name] !== size)
      throw new InvalidArgumentError(`${name} is ${result[name]} already.`);
    result[name] = size;
  }
  return result;
};

/** `--shape x:1,3,48,192`, also given several times. */
const shapes = (text: string, before: Record<string, number[]> | undefined): Record<string, number[]> => {
  const at = text.lastIndexOf(':');
  if (at < 1) throw new InvalidArgumentError("NAME:SIZE,SIZE,... is needed, as in 'x:1,3,48,192'.");
  const name = text.slice(0, at);
  const sizes = text
    .slice(at + 1)
    .split(',')
    .map(positiveInteger);
  const other = before && Object.hasOwn(before, name) ? before[name] : undefined;
  if (other && other.join() !== sizes.join())
    throw new InvalidArgumentError(`${name} has the shape ${other.join()} already.`);
  return { ...before, [name]: sizes };
};

export const parse = { positiveInteger, number, numbers, size, dims, shapes };

/** Headings of the groups in the help, in their order. */
export const groups = {
  files: 'Files:',
  samples: 'Samples:',
  images: 'Images and sound:',
  madeUp: 'Made-up samples:',
  common: 'Output and machine:',
} as const;

export function addCommonOptions(command: Command, { jsonFile = false } = {}): Command {
  return command
    .optionsGroup(groups.common)
    .option(
      jsonFile ? '--json [file]' : '--json',
      `write the result as JSON${jsonFile ? ', to a file if one is named' : ''}`,
    )
    .option('--quiet', 'no progress and no warnings')
    .option('--threads <n>', 'threads to work with', positiveInteger)
    .helpOption('-h, --help', 'this text');
}

/** Reads the common options; call it first. */
export function begin(options: CommonOptions): void {
  asJson = options.json === true || options.progress === 'json';
  if (options.threads !== undefined) configure({ threads: options.threads });
}

/** A file name that means standard input or standard output. */
export const isStream = (path: string): boolean => path === '-';

// ---- output

let stdout: NodeJS.WriteStream = process.stdout;

/** Standard output has a file on it: words go to standard error. */
export function keepStandardOutput(): void {
  stdout = process.stderr;
}

/** Infinity and NaN have no form in JSON: "Infinity" and null. `indent` 0: one line. */
export function json(value: unknown, indent = 2): string {
  const replace = (_: string, v: unknown) => {
    if (typeof v !== 'number' || Number.isFinite(v)) return v;
    return Number.isNaN(v) ? null : String(v);
  };
  return `${JSON.stringify(value, replace, indent)}\n`;
}

/** To standard error. Work that shows progress has its own: Terminal.warn(). */
export const warn = (text: string): void => {
  process.stderr.write(`warning: ${plain(text)}\n`);
};

export const print = (text: string): void => {
  stdout.write(`${plain(text)}\n`);
};

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

/** A time as one says it: to two digits. */
export function duration(seconds: number): string {
  if (seconds < 1) return 'less than a second';
  if (seconds < 90) return `${Number(seconds.toPrecision(2))} s`;
  const minutes = seconds / 60;
  return minutes < 90
    ? `${Number(minutes.toPrecision(2))} min`
    : `${Number((minutes / 60).toPrecision(2))} h`;
}

/** The same of a time that is an estimate. */
export const roughDuration = (seconds: number): string =>
  seconds < 1 ? duration(seconds) : `about ${duration(seconds)}`;

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
