// Listens to a sound with Silero's model of voice activity: a share for every 32 ms, and a memory that goes from one to the
// next.
import { type Feeds, type Session, Tensor } from 'zeropoint';
import { soundRate } from '../../samples/sound.ts';

/** Samples that go into the model at once. */
export const step = 512;
/** Seconds of them. */
export const stepSeconds = step / soundRate;

/** One run: what the model gets, and how sure it is that somebody speaks, 0...1. */
export interface Heard {
  feeds: Feeds;
  share: number;
  milliseconds: number;
}

/** The whole steps of a sound. */
export function* stepsOf(sound: Float32Array): Generator<Float32Array> {
  for (let at = 0; at + step <= sound.length; at += step) yield sound.slice(at, at + step);
}

/** Runs the model on steps of a sound, one after the other. */
export async function* heard(
  session: Session,
  steps: Iterable<Float32Array> | AsyncIterable<Float32Array>,
  signal?: AbortSignal,
): AsyncGenerator<Heard> {
  const none = () => new Tensor('float32', new Float32Array(2 * 64), [2, 1, 64]);
  let memory: Feeds = { h: none(), c: none() };
  const sr = new Tensor('int64', BigInt64Array.of(BigInt(soundRate)), []);
  for await (const values of steps) {
    const input = new Tensor('float32', values, [1, step]);
    const feeds = { input, sr, ...memory };
    const { output, hn, cn } = await session.run(feeds, signal ? { signal } : {});
    if (!output || !hn || !cn) throw new Error('this is not the model of the demo');
    memory = { h: hn, c: cn };
    yield { feeds, share: (output.data as Float32Array)[0] as number, milliseconds: session.lastRunMs };
  }
}

/** A stretch of speech, in seconds. */
export type Stretch = readonly [from: number, to: number];

/** Where somebody speaks: from a share of 0.5 on, until it has been below 0.35 for 0.1 s. */
export function stretches(shares: ArrayLike<number>): Stretch[] {
  const [begins, ends, patience] = [0.5, 0.35, 3];
  const found: Stretch[] = [];
  let from: number | undefined;
  let quiet = 0;
  for (let i = 0; i <= shares.length; ++i) {
    const share = i < shares.length ? (shares[i] as number) : 0;
    if (share >= begins) {
      from ??= i;
      quiet = 0;
    } else if (share < ends) {
      quiet += 1;
    }
    if (from !== undefined && (quiet > patience || i === shares.length)) {
      found.push([from * stepSeconds, (i - quiet + 1) * stepSeconds]);
      from = undefined;
    }
  }
  return found;
}

/** What a model heard in a sound. */
export interface Listened {
  /** Of every step: how sure the model is that somebody speaks; NaN: it did not hear that one. */
  shares: readonly number[];
  spoken: readonly Stretch[];
  /** Of a run. */
  milliseconds: number;
}

export const listenedOf = (shares: readonly number[], milliseconds: number): Listened => ({
  shares,
  spoken: stretches(shares.map((share) => share || 0)),
  milliseconds,
});
