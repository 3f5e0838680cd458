// What callers feed, and series of it.
import { messageOf, ZeropointError } from './errors.ts';
import { type Feeds, type TakenTensor, takenFrom } from './tensor.ts';

/** Feeds that were taken: copies of the caller's that belong to the engine, as pairs that threads pass on. */
export type Taken = readonly (readonly [name: string, tensor: TakenTensor])[];

/**
 * Takes feeds as they are at this moment; what their owner does with the arrays afterwards does not matter. What the
 * engine could not make sense of is an error here.
 */
export function take(feeds: unknown): Taken {
  if (typeof feeds !== 'object' || feeds === null || Array.isArray(feeds)) {
    throw new ZeropointError('invalid-argument', 'feeds: an object with a tensor for each input is needed');
  }
  return Object.keys(feeds).map((name) => {
    try {
      return [name, takenFrom((feeds as Record<string, unknown>)[name])] as const;
    } catch (error) {
      throw new ZeropointError(
        'invalid-feed',
        `input '${name}': ${messageOf(error)}`,
        { tensor: name },
        { cause: error },
      );
    }
  });
}

/** The memory of taken feeds, to be moved to another thread. */
export const buffersOf = (taken: Taken): ArrayBuffer[] =>
  taken.flatMap(([, { data }]) => (Array.isArray(data) ? [] : [data.buffer as ArrayBuffer]));

/**
 * Samples: each is a tensor for every input, read one at a time, and taken as it is when it is read: a generator may fill
 * the same array again for the next one. Work that goes through them more than once reads an array again, or calls a
 * function for a new series; of a series that can be read only once it keeps the first 256 MB.
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

const iteratorOf = (series: Series): Iterator<Feeds> | AsyncIterator<Feeds> =>
  Symbol.asyncIterator in series ? series[Symbol.asyncIterator]() : series[Symbol.iterator]();

/** A series that gives its samples once: what it gave, and where it stands. */
interface Once {
  kept: KeptSamples;
  iterator: Iterator<Feeds> | AsyncIterator<Feeds>;
  ended: boolean;
}

/** Reads samples, as often as asked. close() it. */
export class SampleReader {
  readonly #samples: Samples;
  readonly #sweeps: number;
  #once: Once | undefined;

  /** `sweeps`: how many there will be at most. */
  constructor(samples: Samples, sweeps = 1) {
    this.#samples = samples;
    this.#sweeps = sweeps;
  }

  async *sweep(): AsyncGenerator<Feeds> {
    if (this.#once) {
      yield* this.#once.kept.samples;
      yield* this.#rest(this.#once);
      return;
    }
    const series: unknown = typeof this.#samples === 'function' ? this.#samples() : this.#samples;
    if (!isSeries(series)) {
      throw new ZeropointError(
        'invalid-argument',
        'samples: an Iterable or AsyncIterable of feeds is needed',
      );
    }
    const iterator = iteratorOf(series);
    // An iterator that is its own series gives it once.
    if ((iterator as unknown) === series && typeof this.#samples !== 'function') {
      const kept = new KeptSamples(this.#sweeps > 1 ? Number.POSITIVE_INFINITY : 0, 256 * 1024 * 1024);
      this.#once = { kept, iterator, ended: false };
      yield* this.#rest(this.#once);
      return;
    }
    let ended = false;
    try {
      for (;;) {
        const step = await iterator.next();
        if (step.done) {
          ended = true;
          return;
        }
        yield step.value;
      }
    } finally {
      if (!ended) await iterator.return?.();
    }
  }

  async *#rest(once: Once): AsyncGenerator<Feeds> {
    while (!once.ended) {
      let step: IteratorResult<Feeds>;
      try {
        step = await once.iterator.next();
      } catch (error) {
        once.ended = true;
        throw error;
      }
      if (step.done) {
        once.ended = true;
        return;
      }
      once.kept.offer(step.value);
      yield step.value;
    }
  }

  /** Nothing more will be read. */
  async close(): Promise<void> {
    if (!this.#once || this.#once.ended) return;
    this.#once.ended = true;
    await this.#once.iterator.return?.();
  }
}

/** The first few samples, copied. Bounded. */
export class KeptSamples {
  readonly samples: Feeds[] = [];
  readonly #most: number;
  readonly #mostBytes: number;
  #bytes = 0;

  constructor(most: number, mostBytes = 64 * 1024 * 1024) {
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  /** Keeps a sample if there is room; says whether it did. */
  offer(feeds: Feeds): boolean {
    if (this.samples.length >= this.#most) return false;
    const taken = take(feeds);
    const bytes = taken.reduce((sum, [, { data }]) => sum + bytesIn(data), 0);
    if (this.#bytes + bytes > this.#mostBytes) return false;
    this.#bytes += bytes;
    this.samples.push(Object.fromEntries(taken));
    return true;
  }
}

const bytesIn = (data: TakenTensor['data']) =>
  Array.isArray(data) ? data.reduce((sum, text) => sum + 2 * text.length, 0) : data.byteLength;
