// Text that is read from left to right: a class for each column, repetitions and blanks left out (CTC, Graves et al. 2006).
import { percent } from '../format.ts';
import {
  areShares,
  countedWords,
  gradeOf,
  type Kind,
  largest,
  type Names,
  type Output,
  widthOf,
} from './kind.ts';

export interface Text {
  /** Of each character: its class, and how sure it is. */
  characters: readonly { class: number; share: number }[];
}

const [leastColumns, leastClasses] = [4, 12];

const isColumns = (output: Output) =>
  output.dims.length === 3 && (output.dims[1] ?? 0) >= leastColumns && widthOf(output) >= leastClasses;

function bestOf(output: Output): number[] {
  const width = widthOf(output);
  return Array.from({ length: output.data.length / width }, (_, i) => largest(output.data, i * width, width));
}

/** The blank is the first class or the last: the one that more columns have. */
function blankOf(output: Output, best: readonly number[]): number {
  const last = widthOf(output) - 1;
  const count = (blank: number) => best.filter((each) => each === blank).length;
  return count(last) > count(0) ? last : 0;
}

/** How many characters must be put in, taken out or changed (Levenshtein). */
export function distance(a: readonly number[], b: readonly number[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, x] of a.entries()) {
    const next = [i + 1];
    for (const [j, y] of b.entries()) {
      next.push(Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (x === y ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

const codes = ({ characters }: Text) => characters.map((each) => each.class);

/** Where no name is known, numbers. */
export const spelled = ({ characters }: Text, names: Names): string =>
  characters.every((each) => names[each.class] !== undefined)
    ? characters.map((each) => names[each.class]).join('')
    : characters.map((each) => each.class).join(' ');

export const text: Kind<Text> = {
  id: 'text',
  title: 'text',
  guess({ outputs }) {
    const output = outputs.find(isColumns);
    if (!output) return undefined;
    const best = bestOf(output);
    const blank = blankOf(output, best);
    const share = best.filter((each) => each === blank).length / best.length;
    const isShared = areShares(output.data, 0, widthOf(output));
    return {
      sure: share > 0.25 ? (isShared ? 0.9 : 0.7) : 0.35,
      because: `there are ${widthOf(output)} numbers for each of ${output.dims[1]} columns, and most columns are blank`,
    };
  },
  read({ outputs }) {
    const output = outputs.find(isColumns);
    if (!output) return undefined;
    const width = widthOf(output);
    const best = bestOf(output);
    const blank = blankOf(output, best);
    const characters = best.flatMap((each, i) =>
      each === blank || each === best[i - 1]
        ? []
        : [{ class: each, share: output.data[i * width + each] as number }],
    );
    return { characters };
  },
  compare({ float, quantized }, names) {
    const changed = distance(codes(float), codes(quantized));
    return {
      size: changed / Math.max(1, float.characters.length),
      same: changed === 0,
      words: changed ? `“${spelled(float, names)}” became “${spelled(quantized, names)}”` : 'The same text',
    };
  },
  judge(pairs) {
    const found = pairs.map(({ float, quantized }) => ({
      of: float.characters.length,
      changed: distance(codes(float), codes(quantized)),
    }));
    const same = found.filter(({ changed }) => changed === 0).length;
    const all = found.reduce((sum, { of }) => sum + of, 0);
    const changed = found.reduce((sum, each) => sum + each.changed, 0);
    const most = Math.max(...found.map((each) => each.changed));
    return {
      grade: all === 0 ? 'unknown' : gradeOf(1 - changed / all),
      words: `${countedWords(same, pairs.length, 'text')} ${changed} of ${all} characters changed (${percent(changed / Math.max(1, all))}).`,
      worst: most ? `The worst text has ${most} changed characters.` : 'No text has a changed character.',
      short: `${same} of ${pairs.length} texts`,
      figure: { name: 'texts that are the same', value: same / pairs.length },
    };
  },
  View({ answer, names }) {
    return <p class="read-text">{answer.characters.length ? spelled(answer, names) : '(no text)'}</p>;
  },
};
