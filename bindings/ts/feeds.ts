// Series of samples that callers pass, and what is kept of them.
import { ZeropointError } from './errors.ts';
import type { Feeds, TensorLike } from './tensor.ts';

/**
 * Samples: each is a tensor for every input. Read once, one at a time, and not kept. Observers that need two sweeps
 * need something that can be read twice: an array, or a function that gives a new series each time.
 */
export type Samples = Iterable<Feeds> | AsyncIterable<Feeds> | (() => Iterable<Feeds> | AsyncIterable<Feeds>);

type Series = Iterable<Feeds> | AsyncIterable<Feeds>;

const isSeries = (value: unknown): value is Series =>
  typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value);

export const isSamples = (value: unknown): value is Samples => isSeries(value) || typeof value === 'function';

/** How many samples there are, if that can be known; 0 otherwise. */
export function countOf(samples: Samples): number {
  if (Array.isArray(samples)) return samples.length;
  const { size } = samples as { size?: unknown };
  return typeof size === 'number' ? size : 0;
}

/** Reads samples, as often as they can be read. */
export class SampleReader {
  readonly #samples: Samples;
  #first: unknown;

  constructor(samples: Samples) {
    this.#samples = samples;
  }

  async *sweep(): AsyncGenerator<Feeds> {
    const series: unknown = typeof this.#samples === 'function' ? this.#samples() : this.#samples;
    if (!isSeries(series)) {
      throw new ZeropointError(
        'invalid-argument',
        'samples: an Iterable or AsyncIterable of feeds is needed',
      );
    }
    const iterator: unknown =
      Symbol.asyncIterator in series ? series[Symbol.asyncIterator]() : series[Symbol.iterator]();
    if (this.#first !== undefined && iterator === this.#first) {
      throw new ZeropointError(
        'invalid-argument',
        'the samples are needed twice, and can be read only once',
        {
          hint: 'pass an array, or a function that gives the samples anew each time it is called',
        },
      );
    }
    this.#first ??= iterator;
    const { next } = iterator as AsyncIterator<Feeds>;
    let ended = false;
    try {
      for (;;) {
        const step = await next.call(iterator as AsyncIterator<Feeds>);
        if (step.done) {
          ended = true;
          return;
        }
        yield step.value;
      }
    } finally {
      if (!ended) await (iterator as AsyncIterator<Feeds>).return?.();
    }
  }
}

/** The first few samples, copied: for what is measured after calibration. Bounded. */
export class KeptSamples {
  static readonly mostBytes = 64 * 1024 * 1024;
  readonly samples: Feeds[] = [];
  readonly #most: number;
  #bytes = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Keeps a sample if there is room; says whether it did. */
  offer(feeds: Feeds): boolean {
    if (this.samples.length >= this.#most) return false;
    const bytes = Object.values(feeds).reduce((sum, { data }) => sum + bytesIn(data), 0);
    if (this.#bytes + bytes > KeptSamples.mostBytes) return false;
    this.#bytes += bytes;
    // Copied: a generator may fill the same array again for the next sample.
    const copy = Object.entries(feeds).map(([name, { type, data, dims }]): [string, TensorLike] => [
      name,
      { type, data: data.slice() as TensorLike['data'], dims },
    ]);
    this.samples.push(Object.fromEntries(copy));
    return true;
  }
}

const bytesIn = (data: TensorLike['data']) =>
  Array.isArray(data) ? data.reduce((sum, text) => sum + 2 * text.length, 0) : data.byteLength;
