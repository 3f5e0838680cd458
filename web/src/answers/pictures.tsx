// Pictures: as large as the one that went in, or a whole number of times as large.
import { useMemo } from 'preact/hooks';
import { decibels, percent } from '../format.ts';
import {
  type AnswerViewProps,
  type Example,
  type Grade,
  type Kind,
  type Output,
  type Pixels,
  within,
} from './kind.ts';
import { Painting } from './painting.tsx';

export interface Picture {
  height: number;
  width: number;
  channels: number;
  /** 1 or 3 numbers for each pixel, as a screen shows them. */
  values: Uint8ClampedArray;
}

const leastSide = 16;

interface Plan {
  output: Output;
  channels: number;
  height: number;
  width: number;
  isFirst: boolean;
}

function planOf(output: Output): Plan | undefined {
  const [n, a = 0, b = 0, c = 0] = output.dims;
  if (output.dims.length !== 4 || n !== 1) return undefined;
  if ((a === 3 || a === 1) && b >= leastSide && c >= leastSide)
    return { output, channels: a, height: b, width: c, isFirst: true };
  if ((c === 3 || c === 1) && a >= leastSide && b >= leastSide)
    return { output, channels: c, height: a, width: b, isFirst: false };
  return undefined;
}

const found = ({ outputs }: Example) => outputs.map(planOf).find((plan) => plan !== undefined);

/** The range of a picture's numbers. */
function rangeOf(data: ArrayLike<number>): readonly [number, number] {
  if (within(data, -0.1, 1.1)) return [0, 1];
  if (within(data, -1.1, 1.1)) return [-1, 1];
  return [0, 255];
}

/** Whether a pixel's numbers are shares of a whole, as classes have them. */
function areShares({ output: { data }, channels, height, width, isFirst }: Plan): boolean {
  const [step, next] = isFirst ? [height * width, 1] : [1, channels];
  for (let i = 0; i < height * width; i += 97) {
    let sum = 0;
    for (let c = 0; c < channels; ++c) sum += data[i * next + c * step] as number;
    if (Math.abs(sum - 1) > 0.02) return false;
  }
  return true;
}

/** Of the largest possible change: peak signal to noise. */
const decibelsOf = (meanSquare: number) =>
  meanSquare === 0 ? Number.POSITIVE_INFINITY : -10 * Math.log10(meanSquare);

function difference(a: Picture, b: Picture) {
  let [sum, most] = [0, 0];
  a.values.forEach((value, i) => {
    const error = Math.abs(value - (b.values[i] ?? 0)) / 255;
    sum += error * error;
    most = Math.max(most, error);
  });
  return { meanSquare: sum / Math.max(1, a.values.length), most };
}

/** People hardly see 40 dB, and see 30 dB when they look for it. */
const gradeOfPeak = (decibels: number): Grade => (decibels >= 38 ? 'good' : decibels >= 28 ? 'fair' : 'poor');

export const pictures: Kind<Picture> = {
  id: 'pictures',
  title: 'pictures',
  isSeen: true,
  guess(example) {
    const plan = found(example);
    if (plan?.channels !== 3) return undefined;
    const { height, width, output } = plan;
    const [, a = 0, b = 0, c = 0] = example.input;
    const [inHeight, inWidth] = a <= 4 ? [b, c] : [a, b];
    const isMultiple =
      height % inHeight === 0 && width % inWidth === 0 && height / inHeight === width / inWidth;
    if (!isMultiple || areShares(plan) || !within(output.data, -64, 320)) return undefined;
    const scale = height / inHeight;
    return {
      sure: 0.9,
      because: `${output.name} has three numbers for each pixel, and is ${scale === 1 ? 'as large as the picture that goes in' : `${scale} times as large as it`}`,
    };
  },
  read(example) {
    const plan = found(example);
    if (!plan) return undefined;
    const { output, channels, height, width, isFirst } = plan;
    const [low, high] = rangeOf(output.data);
    const values = new Uint8ClampedArray(channels * height * width);
    for (let i = 0; i < height * width; ++i) {
      for (let c = 0; c < channels; ++c) {
        const value = output.data[isFirst ? c * height * width + i : i * channels + c] as number;
        values[i * channels + c] = (255 * (value - low)) / (high - low);
      }
    }
    return { height, width, channels, values };
  },
  compare({ float, quantized }) {
    const { meanSquare, most } = difference(float, quantized);
    return {
      size: Math.sqrt(meanSquare),
      same: decibelsOf(meanSquare) >= 38,
      words: `${decibels(decibelsOf(meanSquare))} (PSNR); a pixel changed by ${percent(most)} at most`,
    };
  },
  judge(pairs) {
    const all = pairs.map(({ float, quantized }) => difference(float, quantized));
    const mean = all.reduce((sum, { meanSquare }) => sum + meanSquare, 0) / all.length;
    const worst = decibelsOf(Math.max(...all.map(({ meanSquare }) => meanSquare)));
    return {
      grade: gradeOfPeak(worst),
      words: `The pictures agree by ${decibels(decibelsOf(mean))} (PSNR), by ${decibels(worst)} in the worst sample.`,
      worst: `A pixel changed by ${percent(Math.max(...all.map(({ most }) => most)))} of the whole range at most.`,
      short: `PSNR ${decibels(worst)}`,
      figure: { name: 'agreement of the pictures (PSNR)', value: worst },
    };
  },
  paint: pixelsOf,
  View: PictureView,
};

function pixelsOf({ width, height, channels, values }: Picture): Pixels {
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; ++i) {
    for (let c = 0; c < 3; ++c) data[4 * i + c] = values[i * channels + (channels === 1 ? 0 : c)] ?? 0;
  }
  return { width, height, data };
}

function PictureView({ answer, painted }: AnswerViewProps<Picture>) {
  const pixels = useMemo(() => pixelsOf(answer), [answer]);
  return (
    <span class="overlay">
      <Painting pixels={pixels} painted={painted} words={`A picture of ${answer.height} × ${answer.width}`} />
    </span>
  );
}
