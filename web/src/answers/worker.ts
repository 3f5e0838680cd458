// Reads and compares answers, away from the page's thread: a detector gives a million numbers.
import * as Comlink from 'comlink';
import { type Example, guessKind, Judge, type Judgement, kindOf, type Names } from './index.ts';

let judge: Judge | undefined;

const face = {
  /** The answer of one model. `kind` undefined: it is guessed. */
  read(example: Example, kind: string | undefined): { kind: string; answer: unknown } {
    const told = kind ?? guessKind(example).kind;
    return { kind: told, answer: kindOf(told).read(example) };
  },
  begin(names: Names, kind: string | undefined): void {
    judge = new Judge(names, kind);
  },
  add(float: Example, quantized: Example): void {
    judge?.add(float, quantized);
  },
  end(): Judgement | undefined {
    const judgement = judge?.judgement();
    judge = undefined;
    return judgement;
  },
};
export type JudgeFace = typeof face;
Comlink.expose(face);
