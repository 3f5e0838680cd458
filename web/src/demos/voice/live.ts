// What both models hear in the microphone while somebody speaks: the last seconds, again and again.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Model } from 'zeropoint';
import { useStream } from '../../parts/capture.tsx';
import { asError } from '../../samples/sample-set.ts';
import { heard, type Listened, listenedOf, step, stepSeconds } from './listen.ts';
import { listenTo } from './microphone.ts';

/** Steps that are shown at once: ten seconds. */
const latest = Math.round(10 / stepSeconds);
/** Steps that wait for a model at most: five seconds. A model that is planned anew catches up with them. */
const patience = Math.round(5 / stepSeconds);

type Piece = Float32Array<ArrayBuffer>;

/** Steps that wait for one model, and what it heard in those before. */
class Ear {
  /** Of each of the last steps, by its number modulo `latest`. */
  #shares = new Array<number>(latest).fill(Number.NaN);
  #waiting: [number: number, piece: Piece][] = [];
  #wake: (() => void) | undefined;
  #isOver = false;
  #milliseconds = 0;
  /** The number of the step that was given last. */
  #at = 0;

  push(number: number, piece: Piece): void {
    this.#shares[number % latest] = Number.NaN;
    this.#waiting.push([number, piece]);
    if (this.#waiting.length > patience) this.#waiting.shift();
    this.#wake?.();
  }

  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  async *pieces(): AsyncGenerator<Piece> {
    while (!this.#isOver) {
      const next = this.#waiting.shift();
      if (next) {
        this.#at = next[0];
        yield next[1];
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** Of the step that was given last. */
  hears(share: number, milliseconds: number): void {
    this.#shares[this.#at % latest] = share;
    this.#milliseconds = milliseconds;
  }

  /** What it heard in the steps before `number`. */
  upTo(number: number): Listened {
    const shares = Array.from({ length: latest }, (_, i) => {
      const at = number - latest + i;
      return at < 0 ? Number.NaN : (this.#shares[at % latest] as number);
    });
    return listenedOf(shares, this.#milliseconds);
  }
}

/** What the microphone gave. */
interface Tape {
  /** All that is kept, and how many steps there were in all. */
  pieces: Piece[];
  count: number;
  ears: Set<Ear>;
}

function useEar(model: Model | undefined, tape: Tape | undefined, onProblem: (words: string) => void) {
  const ear = useRef<Ear | undefined>(undefined);
  useEffect(() => {
    if (!model || !tape) return;
    const mine = new Ear();
    ear.current = mine;
    const leaving = new AbortController();
    const { signal } = leaving;
    const run = async () => {
      const session = await model.createSession();
      try {
        tape.ears.add(mine);
        if (signal.aborted) return;
        for await (const { share, milliseconds } of heard(session, mine.pieces(), signal)) {
          mine.hears(share, milliseconds);
        }
      } finally {
        tape.ears.delete(mine);
        await session.dispose();
      }
    };
    run().catch((error: unknown) => {
      if (!signal.aborted) onProblem(asError(error).message);
    });
    return () => {
      ear.current = undefined;
      leaving.abort();
      mine.end();
    };
  }, [model, tape]);
  return ear;
}

export interface Live {
  /** Undefined: nobody listens. */
  now: { values: Piece; original: Listened | undefined; quantized: Listened | undefined } | undefined;
  isOn: boolean;
  /** Why there is no sound, in words; empty: nothing is wrong. */
  problem: string;
  start: () => void;
  stop: () => void;
}

/** `onEnd` gets what was heard, the last `longest` seconds of it. */
export function useLive(
  original: Model,
  quantized: Model | undefined,
  longest: number,
  onEnd: (values: Piece) => void,
): Live {
  const { stream, problem, setProblem, open, close } = useStream('microphone', {
    audio: { channelCount: 1 },
  });
  const [tape, setTape] = useState<Tape | undefined>();
  const [now, setNow] = useState<Live['now']>();
  const before = useEar(original, tape, setProblem);
  const after = useEar(quantized, tape, setProblem);

  useEffect(() => {
    if (!stream) return;
    const tape: Tape = { pieces: [], count: 0, ears: new Set() };
    const most = Math.round(longest / stepSeconds);
    setTape(tape);
    let [isOver, end] = [false, () => {}];
    listenTo(stream, step, (piece) => {
      tape.pieces.push(piece);
      if (tape.pieces.length > most) tape.pieces.shift();
      for (const ear of tape.ears) ear.push(tape.count, piece);
      tape.count += 1;
    }).then(
      (found) => {
        end = found;
        if (isOver) end();
      },
      () => {
        setProblem('This browser does not let the page listen live here. Record a sound instead.');
        close();
      },
    );
    const show = () => {
      const values = new Float32Array(latest * step);
      const last = tape.pieces.slice(-latest);
      for (const [i, piece] of last.entries()) values.set(piece, (latest - last.length + i) * step);
      const { count } = tape;
      setNow({ values, original: before.current?.upTo(count), quantized: after.current?.upTo(count) });
    };
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const timer = setInterval(show, isCalm ? 1000 : 80);
    show();
    const [track] = stream.getAudioTracks();
    const lost = () => {
      setProblem('The microphone is gone.');
      close();
    };
    track?.addEventListener('ended', lost);
    return () => {
      isOver = true;
      end();
      clearInterval(timer);
      track?.removeEventListener('ended', lost);
      setTape(undefined);
      setNow(undefined);
      if (tape.pieces.length === 0) return;
      const values = new Float32Array(tape.pieces.length * step);
      for (const [i, piece] of tape.pieces.entries()) values.set(piece, i * step);
      onEnd(values);
    };
  }, [stream]);

  return { now, isOn: stream !== undefined, problem, start: () => void open(), stop: close };
}
