// The kinds of answers that the page knows. Add a file and list it here.
import type { TensorLike } from 'zeropoint';
import { boxes } from './boxes.tsx';
import { classes } from './classes.tsx';
import { embeddings } from './embeddings.tsx';
import type { Change, Example, Grade, Guess, Kind, Names, Output, Pair, Pixels, Verdict } from './kind.ts';
import { masks } from './masks.tsx';
import { pictures } from './pictures.tsx';
import { tensor } from './tensor.tsx';
import { text } from './text.tsx';
import { waveform } from './waveform.tsx';

// biome-ignore lint/suspicious/noExplicitAny: each kind has answers of its own, which only it reads
type AnyKind = Kind<any>;

export const kinds: readonly AnyKind[] = [
  classes,
  boxes,
  masks,
  pictures,
  text,
  waveform,
  embeddings,
  tensor,
];

export const kindOf = (id: string): AnyKind => kinds.find((kind) => kind.id === id) ?? tensor;

/** The kind that outputs look most like. */
export function guessKind(example: Example): Guess & { kind: string } {
  return kinds
    .flatMap((kind) => {
      const guess = kind.guess(example);
      return guess && kind.read(example) !== undefined ? [{ ...guess, kind: kind.id }] : [];
    })
    .reduce((best, each) => (each.sure > best.sure ? each : best));
}

/** One sample: what both models answered, and how far apart they are. */
export interface SampleAnswers extends Pair<unknown> {
  change: Change;
}

/** How the answers of a quantized model differ from those of its original. */
export interface Judgement {
  kind: string;
  /** Why it is this kind. */
  because: string;
  verdict: Verdict;
  /** In the order of the samples. */
  samples: readonly SampleAnswers[];
  names: Names;
}

/** Numbers of a tensor, whatever its type. */
export function numbersOf({ type, data }: TensorLike): ArrayLike<number> {
  if (type === 'float16') return Float32Array.from(data as ArrayLike<number>, halfToNumber);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  if (type === 'string') return new Float32Array(0);
  return data as ArrayLike<number>;
}

function halfToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export function exampleOf(outputs: Readonly<Record<string, TensorLike>>, input: readonly number[]): Example {
  return {
    input,
    outputs: Object.entries(outputs).map(
      ([name, tensor]): Output => ({ name, dims: tensor.dims, data: numbersOf(tensor) }),
    ),
  };
}

/** Compares answers, one sample after the other. */
export class Judge {
  readonly #names: Names;
  #kind: (Guess & { kind: string }) | undefined;
  readonly #samples: SampleAnswers[] = [];

  /** `kind`: the user's choice; undefined: the first sample tells. */
  constructor(names: Names = {}, kind?: string) {
    this.#names = names;
    if (kind !== undefined) this.#kind = { kind, sure: 1, because: 'you said so' };
  }

  add(float: Example, quantized: Example): void {
    this.#kind ??= guessKind(float);
    const kind = kindOf(this.#kind.kind);
    const answers = { float: kind.read(float), quantized: kind.read(quantized) };
    if (answers.float === undefined || answers.quantized === undefined) return;
    this.#samples.push({ ...answers, change: kind.compare(answers, this.#names) });
  }

  /** Undefined: there was no sample with an answer of this kind. */
  judgement(): Judgement | undefined {
    if (!this.#kind || this.#samples.length === 0) return undefined;
    const changes = this.#samples.map(({ change }) => change);
    const { kind, because } = this.#kind;
    return {
      kind,
      because,
      verdict: kindOf(kind).judge(this.#samples, changes),
      samples: this.#samples,
      names: this.#names,
    };
  }
}

export type { Example, Grade, Names, Pixels, Verdict };
