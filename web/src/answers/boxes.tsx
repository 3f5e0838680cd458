// Boxes around things, as detectors give them: raw, or after overlapping boxes were left out.
import { percent } from '../format.ts';
import {
  type AnswerViewProps,
  areShares,
  type Example,
  gradeOf,
  type Kind,
  type Names,
  type Output,
  widthOf,
  within,
  worse,
} from './kind.ts';

/** As shares of the picture, 0...1. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
  class: number;
  score: number;
}

export interface Boxes {
  boxes: readonly Box[];
}

/** The least score of a box that counts. */
const leastScore = 0.4;
/** Boxes of one class that overlap more are one. */
const mostOverlap = 0.45;
/** A box is found again where it overlaps as much. */
const isFoundAgain = 0.5;
const most = 300;

export function iou(a: Box, b: Box): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const area = (box: Box) => (box.right - box.left) * (box.bottom - box.top);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** Height and width of the picture that goes in. */
function sizeOf(input: readonly number[]): [number, number] {
  const [, a = 1, b = 1, c = 1] = input;
  return c <= 4 && a > 4 ? [a, b] : [b, c];
}

/** Rows of numbers: those of `count` boxes. */
interface Table {
  count: number;
  width: number;
  at(row: number, column: number): number;
}

function tableOf({ dims, data }: Output, isTransposed = false): Table {
  const [rows = 1, columns = 1] = dims.slice(-2);
  return isTransposed
    ? { count: columns, width: rows, at: (row, column) => data[column * columns + row] as number }
    : { count: rows, width: columns, at: (row, column) => data[row * columns + column] as number };
}

interface Found {
  boxes: Table;
  /** Where the four numbers begin. */
  first: number;
  /** Class and score of a box. */
  told(row: number): { class: number; score: number };
  /** Whether several boxes may be around one thing. */
  isRaw: boolean;
  because: string;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The likeliest class of a row, whose numbers start at `first`. `background`: the class that is none. */
function likeliest(
  table: Table,
  row: number,
  first: number,
  background: number | undefined,
  score: (value: number) => number,
): { class: number; score: number } {
  let [best, most] = [-1, Number.NEGATIVE_INFINITY];
  for (let c = 0; c < table.width - first; ++c) {
    const value = table.at(row, first + c);
    if (c !== background && value > most) [best, most] = [c, value];
  }
  return { class: best, score: score(most) };
}

/** Boxes in one output, scores in another. */
function inTwo(outputs: readonly Output[]): Found | undefined {
  const boxes = outputs.find((output) => widthOf(output) === 4 && output.data.length >= 4);
  const count = boxes && boxes.data.length / 4;
  const scores = outputs.find(
    (output) =>
      output !== boxes &&
      output.data.length >= (count ?? 0) &&
      output.data.length % (count || 1) === 0 &&
      (/score|conf|prob|logit|cls/i.test(output.name) || widthOf(output) !== 4) &&
      (output.dims.at(-1) === count || output.dims.at(-2) === count),
  );
  if (!boxes || !scores || !count) return undefined;
  const width = scores.data.length / count;
  const classes = outputs.find(
    (output) => output !== boxes && output !== scores && output.data.length === count,
  );
  const table: Table = {
    count,
    width,
    at: (row, column) => scores.data[row * width + column] as number,
  };
  const areSummed = width > 1 && areShares(scores.data, 0, width);
  // The background is the first class or the last one: the class of most rows.
  let background: number | undefined;
  if (areSummed) {
    let balance = 0;
    for (let row = 0; row < count; ++row) balance += table.at(row, 0) - table.at(row, width - 1);
    background = balance >= 0 ? 0 : width - 1;
  }
  const score = within(scores.data, -1e-3, 1.001) ? (x: number) => x : sigmoid;
  return {
    boxes: { count, width: 4, at: (row, column) => boxes.data[4 * row + column] as number },
    first: 0,
    told: (row) =>
      width === 1
        ? { class: Number(classes?.data[row] ?? 0), score: score(table.at(row, 0)) }
        : likeliest(table, row, 0, background, score),
    isRaw: classes === undefined,
    because: `${boxes.name} has four numbers for each of ${count} places, and ${scores.name} their scores`,
  };
}

/** Everything in one output: four numbers, perhaps a score, and one for each class. */
function inOne(outputs: readonly Output[]): Found | undefined {
  const output = outputs.find(({ dims }) => dims.length === 3 && dims[0] === 1);
  if (!output) return undefined;
  const [, a = 0, b = 0] = output.dims;
  // A transposed table, whose boxes have no score of their own.
  if (a >= 5 && a <= 300 && b >= 8 * a && b >= 100) {
    const table = tableOf(output, true);
    const score = score01(table, 4) ? (x: number) => x : sigmoid;
    return {
      boxes: table,
      first: 0,
      told: (row) => likeliest(table, row, 4, undefined, score),
      isRaw: true,
      because: `there are ${a} numbers for each of ${b} places: a box, and ${a - 4} scores`,
    };
  }
  if (b >= 6 && b <= 300 && a >= 4 * b && a >= 100) {
    const table = tableOf(output);
    const score = score01(table, 4) ? (x: number) => x : sigmoid;
    return {
      boxes: table,
      first: 0,
      told: (row) => {
        const best = likeliest(table, row, 5, undefined, score);
        return { ...best, score: best.score * score(table.at(row, 4)) };
      },
      isRaw: true,
      because: `there are ${b} numbers for each of ${a} places: a box, a score, and ${b - 5} classes`,
    };
  }
  return undefined;
}

/**
 * Tells boxes from other tables with as many numbers. Boxes have widths and heights, or corners in the picture: hardly one is
 * negative. Rows of shares are the classes of a text's columns.
 */
function areLikeBoxes(table: Table, outputs: readonly Output[]): boolean {
  if (outputs.some((output) => output.dims.length === 3 && areShares(output.data, 0, widthOf(output))))
    return false;
  let negative = 0;
  for (let row = 0; row < table.count; ++row) if (table.at(row, 2) < 0 || table.at(row, 3) < 0) ++negative;
  return negative <= 0.05 * table.count;
}

/** Whether a table's scores, from a column on, are shares already. */
function score01(table: Table, first: number): boolean {
  for (let row = 0; row < table.count; ++row) {
    for (let column = first; column < table.width; ++column) {
      const value = table.at(row, column);
      if (value < -1e-3 || value > 1.001) return false;
    }
  }
  return true;
}

const found = ({ outputs }: Example) => inTwo(outputs) ?? inOne(outputs);

/** Boxes without those that overlap a likelier box of their class, the likeliest first. */
function distinct(boxes: readonly Box[]): Box[] {
  const kept: Box[] = [];
  for (const box of [...boxes].sort((a, b) => b.score - a.score)) {
    if (kept.length === most) break;
    if (kept.every((other) => other.class !== box.class || iou(other, box) < mostOverlap)) kept.push(box);
  }
  return kept;
}

/** For each box the same box of the other model, the likeliest first; undefined: it is lost. */
export function matched(float: readonly Box[], quantized: readonly Box[]): (Box | undefined)[] {
  const left = new Set(quantized);
  return float.map((box) => {
    let best: Box | undefined;
    for (const other of left) {
      if (other.class === box.class && iou(box, other) > (best ? iou(box, best) : 0)) best = other;
    }
    if (!best || iou(box, best) < isFoundAgain) return undefined;
    left.delete(best);
    return best;
  });
}

function comparison(float: Boxes, quantized: Boxes) {
  const pairs = matched(float.boxes, quantized.boxes).map(
    (other, i) => [float.boxes[i] as Box, other] as const,
  );
  const again = pairs.filter((pair): pair is readonly [Box, Box] => pair[1] !== undefined);
  const overlaps = again.map(([a, b]) => iou(a, b));
  return {
    again: again.length,
    lost: pairs.length - again.length,
    added: quantized.boxes.length - again.length,
    overlaps,
    shift: Math.max(0, ...again.map(([a, b]) => Math.abs(a.score - b.score))),
    surest: Math.max(0, ...pairs.filter(([, other]) => !other).map(([box]) => box.score)),
  };
}

const counted = (count: number) => `${count} ${count === 1 ? 'box' : 'boxes'}`;

export const boxes: Kind<Boxes> = {
  id: 'boxes',
  title: 'boxes',
  isSeen: true,
  guess({ outputs }) {
    const two = inTwo(outputs);
    if (two) return { sure: 0.95, because: two.because };
    const one = inOne(outputs);
    return one && areLikeBoxes(one.boxes, outputs) ? { sure: 0.9, because: one.because } : undefined;
  },
  read(example) {
    const tables = found(example);
    if (!tables) return undefined;
    const { boxes: table, first, told, isRaw } = tables;
    const sure: { row: number; class: number; score: number }[] = [];
    for (let row = 0; row < table.count; ++row) {
      const each = told(row);
      if (each.score >= leastScore) sure.push({ row, ...each });
    }
    // Corners, or the middle with width and height; in pixels, or in shares.
    const numbers = sure.map(({ row }) => [0, 1, 2, 3].map((i) => table.at(row, first + i)));
    const areCorners = numbers.every(([a = 0, b = 0, c = 0, d = 0]) => c >= a && d >= b);
    const [height, width] = numbers.flat().every((value) => Math.abs(value) <= 2)
      ? [1, 1]
      : sizeOf(example.input);
    const all = sure.map(({ class: index, score }, i): Box => {
      const [a = 0, b = 0, c = 0, d = 0] = numbers[i] ?? [];
      const [left, top, right, bottom] = areCorners
        ? [a, b, c, d]
        : [a - c / 2, b - d / 2, a + c / 2, b + d / 2];
      return {
        left: left / width,
        top: top / height,
        right: right / width,
        bottom: bottom / height,
        class: index,
        score,
      };
    });
    return { boxes: isRaw ? distinct(all) : all.slice(0, most) };
  },
  compare({ float, quantized }) {
    const { again, lost, added, overlaps, shift } = comparison(float, quantized);
    const least = Math.min(1, ...overlaps);
    const all = again + lost + added;
    const parts = [...(lost ? [`${counted(lost)} lost`] : []), ...(added ? [`${counted(added)} more`] : [])];
    return {
      size: (lost + added) / Math.max(1, all) + (1 - least) / 2 + shift / 4,
      same: lost + added === 0,
      words: parts.length
        ? parts.join(', ')
        : all
          ? `The same ${counted(again)}; the least overlap is ${percent(least)}`
          : 'No box in either',
    };
  },
  judge(pairs) {
    const all = pairs.map(({ float, quantized }) => comparison(float, quantized));
    const sum = (of: (each: (typeof all)[number]) => number) =>
      all.reduce((total, each) => total + of(each), 0);
    const [again, lost, added] = [
      sum(({ again }) => again),
      sum(({ lost }) => lost),
      sum(({ added }) => added),
    ];
    if (again + lost + added === 0) {
      return {
        grade: 'unknown',
        words: 'Neither model finds a box in these samples.',
        worst: 'Give samples with something to find, or check how they are prepared.',
        short: 'no boxes',
      };
    }
    const overlaps = all.flatMap((each) => each.overlaps);
    const mean = overlaps.reduce((a, b) => a + b, 0) / Math.max(1, overlaps.length);
    const shift = Math.max(...all.map((each) => each.shift));
    const surest = Math.max(...all.map((each) => each.surest));
    return {
      grade: worse(gradeOf(again / (again + lost + added)), shift >= 0.2 || mean < 0.9 ? 'fair' : 'good'),
      words: `${again} of ${counted(again + lost)} ${again === 1 ? 'is' : 'are'} found again${
        added ? `, and ${counted(added)} more` : ''
      }. ${overlaps.length ? `They overlap by ${percent(mean)} on average (IoU).` : ''}`.trim(),
      worst: lost
        ? `The surest box that is lost scored ${percent(surest)}; the largest change of a score is ${percent(shift)}.`
        : `The least overlap is ${percent(Math.min(1, ...overlaps))}; the largest change of a score is ${percent(shift)}.`,
      short: `${again} of ${counted(again + lost)}`,
      figure: { name: 'boxes that are found again', value: again / Math.max(1, again + lost) },
    };
  },
  View: BoxesView,
};

function BoxesView({ answer, picture, names }: AnswerViewProps<Boxes>) {
  const called = (names: Names, { class: index, score }: Box) =>
    `${names[index] ?? (index ? `class ${index}` : '')} ${percent(score, 0)}`.trim();
  return (
    <span class="overlay">
      {picture ? <img src={picture} alt="" /> : <span class="blank" />}
      <svg
        class="over"
        viewBox="0 0 100 100"
        preserveAspectRatio="none"
        role="img"
        aria-label={`${counted(answer.boxes.length)}${
          answer.boxes.length
            ? `: ${answer.boxes
                .slice(0, 6)
                .map((box) => called(names, box))
                .join(', ')}`
            : ''
        }`}
      >
        {answer.boxes.map((box, i) => (
          <rect
            key={i}
            x={100 * box.left}
            y={100 * box.top}
            width={100 * (box.right - box.left)}
            height={100 * (box.bottom - box.top)}
            style={{ stroke: `hsl(${(box.class * 137 + 150) % 360} 90% 55%)` }}
          >
            <title>{called(names, box)}</title>
          </rect>
        ))}
      </svg>
    </span>
  );
}
