// What each goal would probably bring for this model: the size, memory and time that the package expects, and how fast it may be.
// Measurements of a run take the place of estimates.
import type { Model, ModelReport, QuantizeEstimate, SchemeOptions } from 'zeropoint';
import { bytes, seconds, times } from './format.ts';
import type { SampleSet } from './samples/sample-set.ts';
import { type Goal, goalOf, goals, initial, type Settings, toOptions } from './settings.ts';
import type { Run } from './work.ts';

/** What is expected of a goal. */
export interface Expected {
  estimate: Pick<
    QuantizeEstimate,
    'sizeAfter' | 'seconds' | 'complete' | 'peakBytes' | 'limitBytes' | 'fits'
  >;
  /** The part of the model's work that integers would do, 0...1. */
  integerShare: number;
}

/** What these settings would make of the model, with samples of the sizes that there are. */
export async function inspected(
  model: Model,
  scheme: SchemeOptions,
  samples: SampleSet | undefined,
  dims: Readonly<Record<string, number>>,
): Promise<ModelReport> {
  try {
    if (samples) return await model.inspect({ ...scheme, shapes: await shapesOf(samples) });
    return await model.inspect({ ...scheme, dims });
  } catch {
    // Guessed sizes need not suit each other, and samples may be wrong: quantizing reports these.
    return model.inspect(scheme);
  }
}

/** Asks the engine; undefined: these settings change nothing of the model. */
export async function expectedOf(
  model: Model,
  { settings }: Goal,
  samples: SampleSet | undefined,
  dims: Readonly<Record<string, number>>,
): Promise<Expected | undefined> {
  const { format: _, ...scheme } = toOptions({ ...initial(undefined), ...settings } as Settings);
  const { plan, problem } = await inspected(model, scheme, samples, dims);
  if (problem || !(plan.weightBytesAfter > 0)) return undefined;
  const estimate = await model.estimate({
    ...scheme,
    ...(samples ? { samples: samples.count, shapes: await shapesOf(samples) } : { dims }),
  });
  const { macs, macsQuantized, layers, layersQuantized } = plan;
  const share = macs > 0 ? macsQuantized / macs : layersQuantized / Math.max(1, layers.length);
  return { estimate, integerShare: usesIntegers(settings) ? share : 0 };
}

/** Bytes of a model that is asked about before it is run: preparing one for an estimate takes time. */
const mayBeTooLarge = 2 ** 28;

/** Settings without how a file is written. */
export function schemeOf(settings: Settings): SchemeOptions {
  const { format: _, opset: __, externalData: ___, chunkSize: ____, ...scheme } = toOptions(settings);
  return scheme;
}

/**
 * Whether samples are run: always where these settings need some; else if the original and what becomes of it can be in
 * memory together.
 */
export async function isRunWith(
  model: Model,
  scheme: SchemeOptions,
  samples: SampleSet | undefined,
  dims: Readonly<Record<string, number>>,
): Promise<boolean> {
  if (model.size < mayBeTooLarge || (await model.needsSamples(scheme))) return true;
  const { fits } = await model.estimate({
    ...scheme,
    repairs: [],
    samples: 1,
    ...(samples ? { shapes: await shapesOf(samples) } : { dims }),
  });
  return fits;
}

const shapesKnown = new WeakMap<SampleSet, Record<string, readonly number[]>>();

/** Of the first sample. */
async function shapesOf(samples: SampleSet): Promise<Record<string, readonly number[]>> {
  const known = shapesKnown.get(samples);
  if (known) return known;
  const found: Record<string, readonly number[]> = {};
  for await (const feeds of samples.feeds(1)) {
    for (const [name, { dims }] of Object.entries(feeds)) found[name] = dims;
    break;
  }
  shapesKnown.set(samples, found);
  return found;
}

export interface Known {
  /** Bytes of the model. */
  size: number;
  expected: Readonly<Record<string, Expected | undefined>>;
  /** The estimates are of the samples that there are. */
  hasSamples: boolean;
  runs: readonly Pick<Run, 'number' | 'settings' | 'report' | 'latency' | 'milliseconds'>[];
}

/** How much faster integer kernels are in the middle of many models: int8ModelsVsOwnFloat in docs/PERFORMANCE.md. */
const integerSpeed = 1.7;

const usesIntegers = ({ mode }: Partial<Settings>) => mode === 'static' || mode === 'auto';

/** Rounded as a guess is. */
function roughly(seconds: number): string {
  if (seconds < 10) return 'a few seconds';
  if (seconds < 45) return 'about half a minute';
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes >= 90) return `about ${Math.round(minutes / 60)} hours`;
  return minutes === 1 ? 'about a minute' : `about ${minutes} minutes`;
}

const speedWords = (ratio: number) =>
  Math.abs(ratio - 1) < 0.05
    ? 'as fast as the original'
    : ratio > 1
      ? `${times(ratio)} as fast`
      : `${times(1 / ratio)} slower`;

function wordsOf(goal: Goal, { size, expected, hasSamples, runs }: Known): string[] {
  const done = runs.filter(({ settings }) => goalOf(settings) === goal.id).at(-1);
  if (done) {
    const { report, latency, milliseconds, number } = done;
    return [
      `run ${number}: ${bytes(report.sizeAfter)}`,
      ...(latency.runs > 0 ? [speedWords(latency.original / latency.quantized)] : []),
      ...(milliseconds === undefined ? [] : [`took ${seconds(milliseconds / 1000)}`]),
    ];
  }
  const found = expected[goal.id];
  if (!found) return [];
  const { estimate, integerShare: share } = found;
  const words = [
    `about ${bytes(estimate.sizeAfter)} of ${bytes(size)}`,
    `perhaps ${speedWords(1 / (1 - share + share / integerSpeed))} here`,
  ];
  if (!estimate.fits)
    words.push(`needs ${bytes(estimate.peakBytes)} of memory, and there are ${bytes(estimate.limitBytes)}`);
  else if (hasSamples && estimate.complete)
    words.push(`quantizing takes ${roughly(estimate.seconds)}, ${bytes(estimate.peakBytes)} of memory`);
  return words;
}

/** Of each goal, by its id: a few words each. */
export const estimatesOf = (known: Known): Record<string, readonly string[]> =>
  Object.fromEntries(goals.map((goal) => [goal.id, wordsOf(goal, known)]));
