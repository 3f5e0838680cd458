// A class for each pixel: one thing and its background, or several things.
import { useMemo } from 'preact/hooks';
import { percent } from '../format.ts';
import {
  type AnswerViewProps,
  areShares,
  type Example,
  gradeOf,
  type Kind,
  type Output,
  type Pixels,
  within,
  worse,
} from './kind.ts';
import { Painting } from './painting.tsx';

export interface Mask {
  height: number;
  width: number;
  /** 0 is the background, where there is one. */
  classes: Uint8Array;
  count: number;
  /** How much of each pixel belongs to the thing, 0...65535: where there is only one thing. */
  soft: Uint16Array | undefined;
}

const leastSide = 16;

interface Planes {
  output: Output;
  channels: number;
  height: number;
  width: number;
  /** Distance of a pixel's channels. */
  step: number;
}

function planesOf(output: Output): Planes | undefined {
  const [n, a = 0, b = 0, c = 0] = output.dims;
  if (output.dims.length === 3 && n === 1 && a >= leastSide && b >= leastSide) {
    return { output, channels: 1, height: a, width: b, step: a * b };
  }
  if (output.dims.length !== 4 || n !== 1) return undefined;
  if (b >= leastSide && c >= leastSide && a <= 256) {
    return { output, channels: a, height: b, width: c, step: b * c };
  }
  if (a >= leastSide && b >= leastSide && c <= 256) {
    return { output, channels: c, height: a, width: b, step: 1 };
  }
  return undefined;
}

const found = ({ outputs }: Example) => outputs.map(planesOf).find((planes) => planes !== undefined);

const isWhole = (data: ArrayLike<number>) => {
  for (let i = 0; i < Math.min(data.length, 4096); ++i) if (!Number.isInteger(data[i])) return false;
  return true;
};

/** Pixels that both have, and pixels that one of them has, of each class but the background. */
function overlap(a: Mask, b: Mask) {
  let [both, either, same] = [0, 0, 0];
  for (let i = 0; i < a.classes.length; ++i) {
    const [x, y] = [a.classes[i] as number, b.classes[i] ?? 0];
    if (x === y) same += 1;
    if (x === 0 && y === 0) continue;
    either += 1;
    if (x === y) both += 1;
  }
  return { both, either, same };
}

function softChange(a: Mask, b: Mask): number {
  let most = 0;
  const [one, other] = [a.soft ?? [], b.soft];
  for (let i = 0; i < one.length; ++i)
    most = Math.max(most, Math.abs((one[i] as number) - (other?.[i] ?? 0)));
  return most / 65535;
}

export const masks: Kind<Mask> = {
  id: 'masks',
  title: 'masks',
  isSeen: true,
  guess(example) {
    const planes = found(example);
    if (!planes) return undefined;
    const { output, channels, height, width } = planes;
    const size = `${height} × ${width}`;
    if (/mask|seg/i.test(output.name)) return { sure: 0.9, because: `the output is called ${output.name}` };
    // Rows whose numbers are shares of a whole are no picture.
    if (output.dims.length === 3 && areShares(output.data, 0, width)) {
      return { sure: 0.1, because: `there are ${height} rows of ${width} numbers` };
    }
    if (channels === 1 && within(output.data, -1e-3, 1.001)) {
      return { sure: 0.85, because: `each of ${size} pixels gives a number between 0 and 1` };
    }
    if (channels === 1) {
      return { sure: isWhole(output.data) ? 0.8 : 0.4, because: `each of ${size} pixels gives a number` };
    }
    return {
      sure: channels === 3 ? 0.2 : 0.5,
      because: `each of ${size} pixels gives ${channels} numbers`,
    };
  },
  read(example) {
    const planes = found(example);
    if (!planes) return undefined;
    const { output, channels, height, width, step } = planes;
    const { data } = output;
    const classes = new Uint8Array(height * width);
    if (channels === 1) {
      if (isWhole(data) && !within(data, 0, 1)) {
        for (let i = 0; i < classes.length; ++i) classes[i] = data[i] as number;
        return { height, width, classes, count: 256, soft: undefined };
      }
      const areLogits = !within(data, -1e-3, 1.001);
      const soft = new Uint16Array(classes.length);
      for (let i = 0; i < classes.length; ++i) {
        const value = data[i] as number;
        const share = areLogits ? 1 / (1 + Math.exp(-value)) : value;
        soft[i] = Math.round(65535 * Math.min(1, Math.max(0, share)));
        classes[i] = share > 0.5 ? 1 : 0;
      }
      return { height, width, classes, count: 2, soft };
    }
    const pixelStep = step === 1 ? channels : 1;
    for (let i = 0; i < classes.length; ++i) {
      let best = 0;
      for (let c = 1; c < channels; ++c) {
        const at = i * pixelStep;
        if ((data[at + c * step] as number) > (data[at + best * step] as number)) best = c;
      }
      classes[i] = best;
    }
    return { height, width, classes, count: channels, soft: undefined };
  },
  compare({ float, quantized }) {
    const { both, either, same } = overlap(float, quantized);
    const iou = either ? both / either : 1;
    return {
      size: 1 - iou,
      same: iou >= 0.98,
      words: `Overlap ${percent(iou)}; ${percent(1 - same / float.classes.length, 2)} of the pixels changed`,
    };
  },
  judge(pairs, changes) {
    let [both, either, same, all, soft] = [0, 0, 0, 0, 0];
    for (const { float, quantized } of pairs) {
      const each = overlap(float, quantized);
      both += each.both;
      either += each.either;
      same += each.same;
      all += float.classes.length;
      soft = Math.max(soft, softChange(float, quantized));
    }
    const worst = 1 - Math.max(...changes.map(({ size }) => size));
    if (either === 0) {
      return {
        grade: 'unknown',
        words: 'Neither model marks anything in these samples.',
        worst: `The largest change of a pixel's share is ${percent(soft)}.`,
        short: 'nothing marked',
      };
    }
    const iou = both / either;
    return {
      grade: worse(iou >= 0.95 ? 'good' : worse('fair', gradeOf(iou + 0.08)), worst >= 0.8 ? 'good' : 'fair'),
      words: `The masks overlap by ${percent(iou)} (IoU). ${percent(same / all, 2)} of the pixels are the same.`,
      worst: `The worst mask overlaps by ${percent(worst)}${soft ? `; the largest change of a pixel's share is ${percent(soft)}` : ''}.`,
      short: `IoU ${percent(iou)}`,
      figure: { name: 'overlap of the masks (IoU)', value: iou },
    };
  },
  paint: pixelsOf,
  View: MaskView,
};

/** What a pixel of each class has: a colour of its own, half transparent. The background has none. */
const colours = new Uint32Array(
  Uint8ClampedArray.from({ length: 4 * 256 }, (_, at) => {
    const each = at >> 2;
    return each > 0 ? (colour((each * 137 + 150) % 360)[at & 3] as number) : 0;
  }).buffer,
);

function pixelsOf({ width, height, classes }: Mask): Pixels {
  const pixels = new Uint32Array(width * height);
  for (let i = 0; i < pixels.length; ++i) pixels[i] = colours[classes[i] as number] as number;
  return { width, height, data: new Uint8ClampedArray(pixels.buffer) };
}

function shareMarked(classes: Uint8Array): number {
  let marked = 0;
  for (let i = 0; i < classes.length; ++i) if ((classes[i] as number) > 0) ++marked;
  return marked / classes.length;
}

function MaskView({ answer, picture, painted }: AnswerViewProps<Mask>) {
  const pixels = useMemo(() => pixelsOf(answer), [answer]);
  const share = useMemo(() => shareMarked(answer.classes), [answer]);
  const words = `A mask of ${answer.height} × ${answer.width}: ${percent(share)} marked`;
  return (
    <span class="overlay">
      {picture && <img src={picture} alt="" />}
      <Painting pixels={pixels} painted={painted} words={words} class={picture ? 'over' : ''} />
    </span>
  );
}

function colour(hue: number): [number, number, number, number] {
  const channel = (shift: number) => {
    const at = (shift + hue / 60) % 6;
    return Math.round(255 * (1 - Math.max(0, Math.min(at, 4 - at, 1)) * 0.8));
  };
  return [channel(5), channel(3), channel(1), 140];
}
