// Feeds of callers, and series of them.
import type { ValueInfo } from './engine/module.ts';
import { cancelled, messageOf, ZeropointError } from './errors.ts';
import { type Feeds, type TakenTensor, takenFrom } from './tensor.ts';

/** Feeds that were taken: copies of the caller's that belong to the engine, as pairs that threads pass on. */
export type Taken = readonly (readonly [name: string, tensor: TakenTensor])[];

/** A tensor of one element for an input that is a scalar: ONNX Runtime takes it too. */
function fitting(tensor: TakenTensor, input: ValueInfo | undefined): TakenTensor {
  const { dims } = tensor;
  return input?.dims?.length === 0 && dims.length === 1 && dims[0] === 1 ? { ...tensor, dims: [] } : tensor;
}

/**
 * Takes feeds as they are at this moment; what their owner does with the arrays afterwards does not matter. What the
 * engine could not make sense of is an error here.
 */
export function take(feeds: unknown, inputs: readonly ValueInfo[]): Taken {
  if (typeof feeds !== 'object' || feeds === null || Array.isArray(feeds)) {
    throw new ZeropointError('invalid-argument', 'feeds: an object with a tensor for each input is needed');
  }
  return Object.keys(feeds).map((name) => {
    try {
      const tensor = takenFrom((feeds as Record<string, unknown>)[name]);
      const input = inputs.find((value) => value.name === name);
      return [name, fitting(tensor, input)] as const;
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
 * the same array again for the next one. Work that goes through them more than once keeps up to 256 of them, and 256 MB,
 * spread over the series. What it wants of the others it reads again, from an array or from a new series that a function
 * gives; of a series that can be read only once it keeps 256 MB, however many those are.
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

/** Reads samples by number. close() it. */
export class SampleReader {
  readonly #samples: Samples;
  #iterator: Iterator<Feeds> | AsyncIterator<Feeds> | undefined;
  /** The number of the sample that the iterator gives next. */
  #next = 0;
  /** There is nothing to close: nothing was read yet, or the series is over. */
  #ended = true;
  /** The series was left while it owed an answer. */
  #silent = false;
  /** A sample that was read cannot be read again: an iterator that is its own series. */
  readonly once: boolean;

  constructor(samples: Samples) {
    this.#samples = samples;
    this.once = typeof samples !== 'function' && (iteratorOf(samples) as unknown) === samples;
  }

  /**
   * The sample with this number, from 0, whatever it is; undefined: there are not so many. Throws when the signal fires,
   * whether the series answers or not.
   */
  async read(number: number, signal?: AbortSignal): Promise<{ feeds: Feeds } | undefined> {
    if (!signal) return this.#read(number);
    let stop = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => {
        this.#silent = true;
        reject(cancelled(signal));
      };
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    try {
      return await Promise.race([this.#read(number), stopped]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #read(number: number): Promise<{ feeds: Feeds } | undefined> {
    if (!this.#iterator || number < this.#next) {
      await this.close();
      const series: unknown = typeof this.#samples === 'function' ? this.#samples() : this.#samples;
      if (!isSeries(series)) {
        throw new ZeropointError(
          'invalid-argument',
          'samples: an Iterable or AsyncIterable of feeds is needed',
        );
      }
      this.#iterator = iteratorOf(series);
      this.#next = 0;
      this.#ended = false;
    }
    while (!this.#ended) {
      this.#ended = true; // where it throws
      const step = await this.#iterator.next();
      if (step.done) break;
      this.#ended = false;
      this.#next += 1;
      if (this.#next > number) return { feeds: step.value };
    }
    return undefined;
  }

  /** Nothing more of the series will be read. */
  async close(): Promise<void> {
    if (this.#ended && !this.#silent) return;
    this.#ended = true;
    const closing = this.#iterator?.return?.();
    // One that does not answer will not say that it is closed either.
    if (this.#silent) void Promise.resolve(closing).catch(() => {});
    else await closing;
  }
}
