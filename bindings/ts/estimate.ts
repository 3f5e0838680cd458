// What a quantization will take of memory and time, before it begins.
import type { Client } from './engine/client.ts';
import type { ConfigIn, EstimateOut, SpeedOut, ValueInfo } from './engine/module.ts';
import type { Id } from './engine/run-host.ts';
import { gigabytes, ZeropointError } from './errors.ts';
import * as check from './options.ts';
import { concreteDims, sizeChecks } from './samples/synthetic.ts';
import type { SchemeOptions } from './scheme-options.ts';

/** Settings, and what is known of the samples that there will be. */
export interface EstimateOptions extends SchemeOptions {
  /** How many samples there will be. Default: 32 where the settings need some, else none. */
  samples?: number | undefined;
  /** Sizes of named dimensions ({ H: 640 }). By default usual ones: images of 224 rows, 128 tokens. */
  dims?: Readonly<Record<string, number>> | undefined;
  /** All sizes of an input, by its name: { x: [1, 3, 48, 192] }. */
  shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  /** As QuantizeOptions has it. */
  layerErrors?: number | undefined;
  /** Threads to work with. By default what configure() said. */
  threads?: number | undefined;
}

/** What quantize() will take, about: memory within a factor of two, time of long work within a factor of four. */
export interface QuantizeEstimate {
  /** Bytes of the engine's memory when it has most in it, with what is in it now. */
  peakBytes: number;
  /** Bytes that are in it now. */
  usedBytes: number;
  /** Bytes that it can have. */
  limitBytes: number;
  /** Whether the peak is within the limit. */
  fits: boolean;
  seconds: number;
  /** Bytes of the result's files, about. */
  sizeAfter: number;
  /** What takes how much: `bytes` with all that is in memory then. The last ones are left out where there are no samples. */
  phases: readonly { name: string; bytes: number; seconds: number }[];
  /** False: sizes of some values follow from what the model computes. They are not in it, and the truth may be more. */
  complete: boolean;
  /** Where it does not fit: settings that do, the nearest first. Null: it fits, or nothing does. */
  instead: { options: SchemeOptions; peakBytes: number } | null;
}

export const estimateChecks: Record<string, check.Check> = {
  samples: check.integer(0, 1_000_000_000),
  ...sizeChecks,
  layerErrors: check.integer(0, 4),
  threads: check.integer(1, 64),
};

/** How many samples there are where nobody says. */
export const usualSamples = 32;

/** What is known of a job. */
export interface Work {
  /** The engine's form of settings; `hasSamples`: whether some are given. */
  configOf(options: SchemeOptions, hasSamples: boolean): ConfigIn;
  options: SchemeOptions;
  samples: number;
  /** Of one sample, by input; those that are missing are not known. */
  dims: Readonly<Record<string, readonly number[]>>;
  layerErrors: number;
  once: boolean;
  threads: number;
  /** Bytes of the model's files. */
  size: number;
}

/** Sizes of samples as far as the model and the caller say; an input without a rank has none. */
export function sizesOf(
  inputs: readonly ValueInfo[],
  dims: EstimateOptions['dims'],
  shapes: EstimateOptions['shapes'],
): Record<string, readonly number[]> {
  const known = inputs.filter((input) => input.dims !== null || shapes?.[input.name] !== undefined);
  return Object.fromEntries(concreteDims(known, dims, shapes));
}

const speeds = new WeakMap<Client, Map<number, Promise<SpeedOut>>>();

/** Of a machine and a number of threads: measured once, in about a tenth of a second. */
function speedOf(engine: Client, threads: number): Promise<SpeedOut> {
  const known = speeds.get(engine) ?? new Map<number, Promise<SpeedOut>>();
  speeds.set(engine, known);
  let speed = known.get(threads);
  if (!speed) {
    speed = engine.call('measureSpeed', [threads]);
    known.set(threads, speed);
    speed.catch(() => known.delete(threads));
  }
  return speed;
}

type Answer = EstimateOut & { memory: { used: number; limit: number } };

const peakOf = ({ phases, memory }: Answer) =>
  memory.used + phases.reduce((most, { bytes }) => Math.max(most, bytes), 0);

/** Settings that take less than others, the nearest to what was asked first. */
const lighter: readonly SchemeOptions[] = [
  { repairs: [] },
  { mode: 'static', repairs: [] },
  { mode: 'dynamic', repairs: [] },
  { mode: 'weight-only', weights: 'int8', repairs: [] },
];

/** Those that ask for several quantizations, or for samples. */
const searches = { target: undefined, sensitivity: undefined, training: undefined } as const;

async function insteadOf(
  engine: Client,
  model: Id,
  work: Work,
  speed: SpeedOut,
): Promise<QuantizeEstimate['instead']> {
  for (const less of lighter) {
    const options: SchemeOptions = { ...work.options, ...(less.mode && searches), ...less };
    const samples = less.mode === 'weight-only' || less.mode === 'dynamic' ? 0 : work.samples;
    try {
      const answer = await ask(engine, model, { ...work, options, samples }, speed);
      const peakBytes = peakOf(answer);
      if (peakBytes <= answer.memory.limit) return { options: less, peakBytes };
    } catch (error) {
      // Not every setting goes with every other one.
      if (!(error instanceof ZeropointError) || error.code !== 'invalid-argument') throw error;
    }
  }
  return null;
}

const ask = (engine: Client, model: Id, work: Work, speed: SpeedOut): Promise<Answer> =>
  engine.call('estimate', [
    model,
    work.configOf(work.options, work.samples > 0),
    {
      samples: work.samples,
      layerErrors: work.samples > 0 ? work.layerErrors : 0,
      once: work.once,
      dims: work.dims,
    },
    speed,
  ]);

export async function estimateOf(engine: Client, model: Id, work: Work): Promise<QuantizeEstimate> {
  const speed = await speedOf(engine, work.threads);
  const answer = await ask(engine, model, work, speed);
  const { phases, memory, weightBytesBefore, weightBytesAfter, nodeBytes, whole } = answer;
  const peakBytes = peakOf(answer);
  const fits = peakBytes <= memory.limit;
  return {
    peakBytes,
    usedBytes: memory.used,
    limitBytes: memory.limit,
    fits,
    seconds: phases.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / 1000,
    sizeAfter: Math.max(0, work.size - weightBytesBefore) + weightBytesAfter + nodeBytes,
    phases: phases.map(({ name, bytes, milliseconds }) => ({
      name,
      bytes: memory.used + bytes,
      seconds: milliseconds / 1000,
    })),
    complete: whole,
    instead: fits ? null : await insteadOf(engine, model, work, speed),
  };
}

/** Settings as a caller writes them. */
const inWords = (options: SchemeOptions) =>
  Object.entries(options)
    .map(([name, value]) => `${name}: ${JSON.stringify(value).replaceAll('"', "'")}`)
    .join(', ');

/** The error for work that does not fit: what it needs, what there is, and what would fit. */
export function noRoom(
  { peakBytes, usedBytes, limitBytes, phases, instead }: QuantizeEstimate,
  because?: ZeropointError,
): ZeropointError {
  const worst = phases.reduce((a, b) => (b.bytes > a.bytes ? b : a), { name: '', bytes: 0, seconds: 0 });
  const needs = `this takes about ${gigabytes(peakBytes)} of memory (most of it in '${worst.name}'); the engine can have ${gigabytes(limitBytes)}, and ${gigabytes(usedBytes)} are in use before it begins`;
  return new ZeropointError(
    'out-of-memory',
    because ? `${because.message}; ${needs}` : needs,
    {
      ...because?.details,
      ...(instead && { instead }),
      hint: instead
        ? `with { ${inWords(instead.options)} } it would take about ${gigabytes(instead.peakBytes)}`
        : (because?.details.hint ??
          "no settings would fit: load weights from files (weights: 'files'), dispose of other models, or use smaller samples or a smaller model"),
    },
    because && { cause: because },
  );
}
