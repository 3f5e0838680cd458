// Samples as the page's work takes them.
import {
  concreteDims,
  type Feeds,
  type ImageOptions,
  type Model,
  syntheticSamples,
  type ValueInfo,
  ZeropointError,
} from 'zeropoint';
import type { Names } from '../answers/kind.ts';
import type { Demo } from '../demos/demo.ts';
import type { Labels } from './labels.ts';
import { pictureOf } from './picture.ts';
import type { Entry } from './prepare.ts';

export interface SampleSet {
  /** What is shown beside it. */
  label: string;
  synthetic: boolean;
  /** How many samples, if known. */
  count: number | undefined;
  /** The right class of each sample, in their order, where that is known. */
  labels?: (() => Promise<readonly number[]>) | undefined;
  /** What right answers are counted on. */
  test?: LabelledSamples | undefined;
  /** The same for the same samples, and for no others; undefined: cannot be told. */
  identity: string | undefined;
  /** How images were prepared. */
  image?: ImageOptions | undefined;
  /** What classes are called. */
  names?: (() => Promise<Names>) | undefined;
  feeds(limit?: number): AsyncIterable<Feeds>;
  /** A sample as the network sees it, where it is a picture. */
  picture?(index: number): Promise<Blob | undefined>;
  /** What a sample is called. */
  nameOf(index: number): string;
}

/** Samples with the right class of each. */
export interface LabelledSamples {
  /** What they are, in words. */
  what: string;
  labels(): Promise<readonly number[]>;
  feeds(): AsyncIterable<Feeds>;
}

export const counted = (count: number, what: string, many = `${what}s`): string =>
  `${count} ${count === 1 ? what : many}`;

/** Names of the dimensions that the model leaves open, with the sizes that are usual for them. */
export function openDims(inputs: readonly ValueInfo[]): Record<string, number> {
  const names: Record<string, number> = {};
  if (inputs.some(({ dims }) => dims === null)) return names;
  const sizes = concreteDims(inputs);
  for (const { name, dims } of inputs) {
    dims?.forEach((dim, axis) => {
      if (typeof dim === 'string' && dim !== '?') names[dim] ??= sizes.get(name)?.[axis] ?? 1;
    });
  }
  return names;
}

export function syntheticSet(model: Model, dims: Record<string, number>, count = 8): SampleSet {
  return {
    label: `${count} made-up samples`,
    synthetic: true,
    count,
    identity: JSON.stringify(['synthetic', count, dims]),
    async *feeds(limit = count) {
      yield* syntheticSamples(model.inputs, { count: Math.min(limit, count), dims });
    },
    nameOf: (index) => `made-up sample ${index + 1}`,
  };
}

/**
 * Samples of a series as the network sees them. Each is made once: otherwise a later one would bring all samples before it again.
 */
function picturesOf(series: () => AsyncIterable<Feeds>, image: ImageOptions) {
  let made: Promise<Blob | undefined>[] = [];
  let rest: AsyncIterator<Feeds> | undefined;
  const next = async () => {
    try {
      rest ??= series()[Symbol.asyncIterator]();
      const { value } = (await rest.next()) as { value: Feeds | undefined };
      const [tensor] = Object.values(value ?? {});
      return tensor && (await pictureOf(tensor as Parameters<typeof pictureOf>[0], image));
    } catch (error) {
      [made, rest] = [[], undefined]; // who comes later tries again
      throw error;
    }
  };
  return (index: number): Promise<Blob | undefined> => {
    const before = made;
    while (before.length <= index) before.push(next());
    return before[index] as Promise<Blob | undefined>;
  };
}

export function demoSet(demo: Demo, model: Model): SampleSet {
  const { image } = demo;
  return {
    label: demo.samplesLabel,
    synthetic: false,
    count: demo.sampleCount,
    identity: JSON.stringify(['demo', demo.id]),
    labels: demo.labels,
    test: demo.test?.(model),
    names: demo.names,
    image,
    feeds: (limit = demo.sampleCount) => demo.samples(model, Math.min(limit, demo.sampleCount)),
    ...(image && { picture: picturesOf(() => demo.samples(model, demo.sampleCount), image) }),
    nameOf: (index) => `sample ${index + 1}`,
  };
}

/** What is in files that were prepared; undefined: nothing that fits. */
export function fileSet(
  entries: readonly Entry[],
  image: ImageOptions,
  labels?: Labels | undefined,
): SampleSet | undefined {
  const good = entries.filter(({ error }) => !error);
  const owners = good.flatMap((entry) => Array.from({ length: entry.count }, () => entry));
  const count = owners.length;
  if (count === 0) return undefined;
  async function* feedsOf(wanted: (index: number) => boolean) {
    let index = 0;
    for (const entry of good) {
      const first = index;
      index += entry.count;
      if (!Array.from({ length: entry.count }, (_, i) => first + i).some(wanted)) continue;
      for (const [i, sample] of (await entry.samples()).entries()) {
        if (wanted(first + i)) yield sample as Feeds;
      }
    }
  }
  const set: SampleSet = {
    label: `${counted(count, 'sample')} from ${counted(good.length, 'file')}`,
    synthetic: false,
    count,
    image,
    identity: good.every(({ digest }) => digest !== undefined)
      ? JSON.stringify(['files', image, good.map(({ digest }) => digest)])
      : undefined,
    feeds: (limit = count) => feedsOf((index) => index < limit),
    picture: async (index) => {
      const entry = owners[index];
      return entry?.count === 1 ? entry.picture : undefined;
    },
    nameOf: (index) => owners[index]?.file.name ?? `sample ${index + 1}`,
  };
  if (!labels) return set;
  const { of, names } = labels;
  const known = of.flatMap((label, index) => (label === undefined ? [] : [{ label, index }]));
  const isKnown = new Set(known.map(({ index }) => index));
  const told = async () => known.map(({ label }) => label);
  return {
    ...set,
    names: async () => names,
    ...(known.length === count && { labels: told }),
    ...(known.length > 0 && {
      test: {
        what:
          known.length === count ? 'your samples' : `the ${known.length} of your samples that have a label`,
        labels: told,
        feeds: () => feedsOf((index) => isKnown.has(index)),
      },
    }),
  };
}

export const asError = (error: unknown): ZeropointError =>
  error instanceof ZeropointError
    ? error
    : new ZeropointError(
        'internal',
        error instanceof Error ? error.message : String(error),
        {},
        { cause: error },
      );
