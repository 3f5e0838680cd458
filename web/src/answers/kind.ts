// What a model answers, as people think of it. Each kind of answer is a file in this folder, listed in index.ts.
import type { ComponentType } from 'preact';

/** One output of a run. */
export interface Output {
  name: string;
  dims: readonly number[];
  data: ArrayLike<number>;
}

/** What a model gave for one sample. */
export interface Example {
  outputs: readonly Output[];
  /** Dimensions of the first input, for answers that are places in it. */
  input: readonly number[];
}

/** What classes or characters are called, by their number, where that is known. */
export type Names = Readonly<Record<number, string>>;

export interface Guess {
  /** 0...1. */
  sure: number;
  /** The reason, after “because”. */
  because: string;
}

/** How one sample's answer changed. */
export interface Change {
  /** For an order: 0 is no change, and more is worse. */
  size: number;
  /** Whether the answer is the same for users. */
  same: boolean;
  words: string;
}

export type Grade = 'good' | 'fair' | 'poor' | 'unknown';

/** How the answers of all samples changed. */
export interface Verdict {
  grade: Grade;
  /** What stayed the same, in a sentence. */
  words: string;
  /** The worst error, in a sentence. */
  worst: string;
  /** The figure of `words`: for tables. */
  short: string;
  /** `short` as a number, for charts; undefined: there is none. */
  figure?: Figure;
}

/** A number of which more is better. Two with the same name can be compared. */
export interface Figure {
  name: string;
  value: number;
}

export interface Pair<A> {
  float: A;
  quantized: A;
}

export interface AnswerViewProps<A> {
  answer: A;
  /** The sample as the network sees it, where it is a picture. */
  picture: string | undefined;
  names: Names;
  /** The pixels of `paint`, as the address of a picture: for reports, which cannot draw. */
  painted?: string | undefined;
}

/** Red, green, blue and how much covers, 0...255, for each pixel. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

export interface Kind<A> {
  id: string;
  /** What the model answers with: 'boxes'. */
  title: string;
  /** Answers are seen: in the sample's picture, or as pictures. Two of them can lie over each other. */
  isSeen?: boolean;
  /** Whether outputs look like this kind; undefined: they cannot be. */
  guess(example: Example): Guess | undefined;
  /** Undefined: these outputs hold no such answer. */
  read(example: Example): A | undefined;
  compare(pair: Pair<A>, names: Names): Change;
  /** `changes`: those of the pairs, in their order. Never of nothing. */
  judge(pairs: readonly Pair<A>[], changes: readonly Change[]): Verdict;
  /** The pixels that the view draws, where it draws on a canvas. */
  paint?(answer: A): Pixels;
  View: ComponentType<AnswerViewProps<A>>;
}

// ---- what kinds share

/** Where the largest of `width` numbers from `at` on is, counted from `at`. */
export function largest(numbers: ArrayLike<number>, at: number, width: number): number {
  let best = 0;
  for (let i = 1; i < width; ++i) {
    if ((numbers[at + i] as number) > (numbers[at + best] as number)) best = i;
  }
  return best;
}

/** Whether numbers are shares of a whole: none is negative, and they sum to one. */
export function areShares(numbers: ArrayLike<number>, at: number, width: number): boolean {
  let sum = 0;
  for (let i = 0; i < width; ++i) {
    const value = numbers[at + i] as number;
    if (!(value >= -1e-4)) return false;
    sum += value;
  }
  return Math.abs(sum - 1) < 0.02;
}

export function within(numbers: ArrayLike<number>, least: number, most: number): boolean {
  for (let i = 0; i < numbers.length; ++i) {
    if (!((numbers[i] as number) >= least && (numbers[i] as number) <= most)) return false;
  }
  return true;
}

export const widthOf = ({ dims }: Output): number => dims.at(-1) ?? 1;

/** By the share of answers that stayed the same. */
export const gradeOf = (share: number): Grade => (share >= 0.98 ? 'good' : share >= 0.9 ? 'fair' : 'poor');

/** The lower of two. */
export function worse(a: Grade, b: Grade): Grade {
  const order: readonly Grade[] = ['unknown', 'poor', 'fair', 'good'];
  return order.indexOf(a) < order.indexOf(b) ? a : b;
}

/** “98 of 100 answers are the same.” */
export function countedWords(same: number, all: number, one: string, many = `${one}s`): string {
  if (all === 1) return same ? `The one ${one} is the same.` : `The one ${one} is another.`;
  if (same === all) return `All ${all} ${many} are the same.`;
  if (same === 0) return `None of ${all} ${many} is the same.`;
  return `${same} of ${all} ${many} ${same === 1 ? 'is' : 'are'} the same.`;
}
