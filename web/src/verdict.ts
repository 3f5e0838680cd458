// What became of a model, in words. Good is said only of answers that were compared on real samples.

import { kindOf } from './answers/index.ts';
import { type Figure, type Grade, worse } from './answers/kind.ts';
import { bytes, percent, sizeChange, times } from './format.ts';
import type { Run } from './work.ts';

export interface Summary {
  grade: Grade;
  /** “3.60× smaller, 2.00× faster.” */
  change: string;
  /** What became of the answers, and of the right ones. */
  answers: readonly string[];
  /** For a table. */
  short: string;
  /** `short` as a number, where it is one. */
  figure?: Figure | undefined;
}

export const isUntouched = ({ report }: Pick<Run, 'report'>): boolean => report.layersQuantized === 0;

/** Lost right answers beyond these shares are no longer good, or poor. */
const [fewLost, manyLost] = [0.01, 0.05];

export function summaryOf(
  run: Pick<Run, 'report' | 'comparison' | 'latency' | 'accuracy' | 'judgement' | 'synthetic'>,
): Summary {
  const { report, comparison, latency, accuracy, judgement, synthetic } = run;
  if (isUntouched(run)) {
    return {
      grade: 'poor',
      change: 'Nothing was quantized: this is the original.',
      answers: ['The list of layers gives the reasons. Other settings may quantize more.'],
      short: 'nothing quantized',
    };
  }
  const { sizeBefore, sizeAfter } = report;
  const speedup = latency.original / latency.quantized;
  const speed =
    latency.runs === 0
      ? ''
      : Math.abs(speedup - 1) < 0.03
        ? ', as fast as before'
        : speedup > 1
          ? `, ${times(speedup)} faster`
          : `, ${times(1 / speedup)} slower`;
  const change = `${bytes(sizeBefore)} became ${bytes(sizeAfter)}: ${sizeChange(sizeBefore, sizeAfter)}${speed}.`;
  if (!comparison) {
    return {
      grade: 'unknown',
      change,
      answers: [
        'The models were not run: both together need more memory than the engine can have. Try the result where it will be used.',
      ],
      short: 'not compared',
    };
  }
  if (synthetic) {
    return {
      grade: 'unknown',
      change,
      answers: [
        'The samples are made up. Size and speed are real; the answers to real inputs are not known.',
      ],
      short: 'made-up samples',
    };
  }
  const verdict = judgement?.verdict;
  let grade: Grade = verdict?.grade ?? 'unknown';
  const answers = verdict ? [verdict.words, verdict.worst] : ['The answers could not be compared.'];
  let short = verdict?.short ?? 'not compared';
  let figure = verdict?.figure;
  if (accuracy) {
    const lost = accuracy.original - accuracy.quantized;
    answers.unshift(
      `Right answers: ${percent(accuracy.quantized)}, the original ${percent(accuracy.original)}, of ${accuracy.of}.`,
    );
    short = `${percent(accuracy.quantized)} right`;
    figure = { name: 'right answers', value: accuracy.quantized };
    // Known right answers count more than the original's answers.
    const byRight: Grade = lost <= fewLost ? 'good' : lost <= manyLost ? 'fair' : 'poor';
    grade = grade === 'unknown' ? byRight : worse(byRight, grade === 'poor' ? 'fair' : grade);
  }
  return { grade, change, answers, short, figure };
}

/** What the answers are, and why that is thought. */
export function kindWords({ judgement }: Pick<Run, 'judgement'>): string {
  if (!judgement) return '';
  return `The answers are taken for ${kindOf(judgement.kind).title}, because ${judgement.because}.`;
}
