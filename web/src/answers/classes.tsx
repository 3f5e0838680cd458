// One of several classes: for the whole sample, or for each of its places.
import { percent } from '../format.ts';
import {
  areShares,
  countedWords,
  type Example,
  gradeOf,
  type Kind,
  largest,
  type Names,
  type Output,
  widthOf,
  within,
  worse,
} from './kind.ts';

export interface Classes {
  /** Of each row: its class, and the shares of the likeliest classes, the largest first. */
  rows: readonly { best: number; top: readonly { class: number; share: number }[] }[];
}

/** Rows beyond this are not looked at. */
const mostRows = 2048;
const shown = 3;

/** A change of a share that is worth a look even where the class stays. */
const muchShare = 0.2;

const nameOf = (names: Names, index: number) => names[index] ?? `class ${index}`;

/** A number between 0 and 1 for each sample, which says yes or no. */
const saysYes = ({ data }: Output) => data.length > 0 && data.length <= 16 && within(data, 0, 1);

/**
 * The first output with rows, unless an output with a column of yes and no comes before it: then outputs after that one hold what
 * the network remembers. Else any output that says yes or no.
 */
function outputOf({ outputs }: Example): Output | undefined {
  return (
    outputs.find((output) =>
      widthOf(output) > 1 ? output.dims.length <= 3 : output.dims.length === 2 && saysYes(output),
    ) ?? outputs.find(saysYes)
  );
}

function rowOf(data: ArrayLike<number>, at: number, width: number): Classes['rows'][number] {
  if (width === 1) {
    const yes = data[at] as number;
    const top = [
      { class: 1, share: yes },
      { class: 0, share: 1 - yes },
    ];
    return { best: yes >= 0.5 ? 1 : 0, top: yes >= 0.5 ? top : top.reverse() };
  }
  const best = largest(data, at, width);
  let shares = Array.from({ length: width }, (_, i) => data[at + i] as number);
  if (!areShares(data, at, width)) {
    const most = shares[best] as number;
    shares = shares.map((value) => Math.exp(value - most));
    const sum = shares.reduce((a, b) => a + b, 0);
    shares = shares.map((value) => value / sum);
  }
  const order = shares.map((share, index) => ({ class: index, share }));
  order.sort((a, b) => b.share - a.share);
  return { best, top: order.slice(0, shown) };
}

/** The share of one class. A class that is not among the likeliest has less than the least of them. */
const shareOf = ({ top }: Classes['rows'][number], index: number) =>
  top.find((each) => each.class === index)?.share ?? Math.min(0, top.at(-1)?.share ?? 0);

const shift = (a: Classes['rows'][number], b: Classes['rows'][number]) =>
  Math.abs(shareOf(a, a.best) - shareOf(b, a.best));

export const classes: Kind<Classes> = {
  id: 'classes',
  title: 'classes',
  guess(example) {
    const output = outputOf(example);
    if (!output) return undefined;
    const width = widthOf(output);
    if (width === 1) return { sure: 0.5, because: 'each sample gives one number between 0 and 1' };
    const each = output.dims.length === 3 ? `each of ${output.dims[1]} places` : 'each sample';
    if (areShares(output.data, 0, width)) {
      return {
        sure: output.dims.length === 3 ? 0.6 : 0.95,
        because: `the ${width} numbers for ${each} are shares that sum to 1`,
      };
    }
    if (output.dims.length > 2) return { sure: 0.3, because: `there are ${width} numbers for ${each}` };
    if (/prob|logit|class|score|softmax/i.test(output.name)) {
      return { sure: 0.8, because: `the output is called ${output.name}` };
    }
    const isUsual = [10, 100, 1000, 1001].includes(width) || width < 64;
    return { sure: isUsual ? 0.7 : 0.3, because: `there are ${width} numbers for each sample` };
  },
  read(example) {
    const output = outputOf(example);
    if (!output) return undefined;
    const width = widthOf(output);
    const count = Math.min(output.data.length / width, mostRows);
    return { rows: Array.from({ length: count }, (_, row) => rowOf(output.data, row * width, width)) };
  },
  compare({ float, quantized }, names) {
    const pairs = float.rows.flatMap((row, i) => {
      const other = quantized.rows[i];
      return other ? [{ row, other, shift: shift(row, other) }] : [];
    });
    const changed = pairs.filter(({ row, other }) => row.best !== other.best);
    const size = Math.max(0, ...pairs.map((pair) => pair.shift));
    const [first] = changed;
    return {
      size: changed.length / Math.max(1, float.rows.length) + size / 2,
      same: changed.length === 0 && float.rows.length === quantized.rows.length,
      words:
        first && float.rows.length === 1
          ? `${nameOf(names, first.row.best)} became ${nameOf(names, first.other.best)}`
          : changed.length
            ? `${changed.length} of ${float.rows.length} answers changed`
            : `The same; its share moved by ${percent(size)} at most`,
    };
  },
  judge(pairs) {
    let [all, same, most] = [0, 0, 0];
    for (const { float, quantized } of pairs) {
      float.rows.forEach((row, i) => {
        const other = quantized.rows[i];
        all += 1;
        if (!other) return;
        if (row.best === other.best) same += 1;
        most = Math.max(most, shift(row, other));
      });
    }
    return {
      grade: worse(gradeOf(same / all), most >= muchShare ? 'fair' : 'good'),
      words: countedWords(same, all, 'answer'),
      worst: `The largest change of a share is ${percent(most)}.`,
      short: `${same} of ${all} answers`,
      figure: { name: 'answers that are the same', value: same / all },
    };
  },
  View({ answer, names }) {
    const [row] = answer.rows;
    if (!row) return null;
    if (answer.rows.length > 1) {
      return <p>{answer.rows.map(({ best }) => nameOf(names, best)).join(', ')}</p>;
    }
    return (
      <ul class="shares">
        {row.top.map(({ class: index, share }) => (
          <li key={index}>
            <span class="name">{nameOf(names, index)}</span>
            <span class="share">{percent(share)}</span>
            <span class="meter" aria-hidden="true">
              <span style={{ width: `${100 * share}%` }} />
            </span>
          </li>
        ))}
      </ul>
    );
  },
};
