// Sound: a number for each moment.
import { percent } from '../format.ts';
import type { Grade, Kind, Output } from './kind.ts';

export interface Waveform {
  /** Whole. */
  values: Float32Array;
}

const leastLength = 1600;

function isWave({ dims, data }: Output): boolean {
  if (data.length < leastLength || dims.at(-1) !== data.length) return false;
  let [sum, size, crossings] = [0, 0, 0];
  for (let i = 0; i < data.length; ++i) {
    const value = data[i] as number;
    sum += value;
    size += Math.abs(value);
    if (i > 0 && value < 0 !== (data[i - 1] as number) < 0) crossings += 1;
  }
  return Math.abs(sum) < 0.2 * size && crossings > data.length / 400 && crossings < data.length * 0.45;
}

function errorOf(float: Float32Array, quantized: Float32Array) {
  let [signal, noise, peak, most] = [0, 0, 0, 0];
  float.forEach((value, i) => {
    const error = Math.abs(value - (quantized[i] ?? 0));
    signal += value * value;
    noise += error * error;
    peak = Math.max(peak, Math.abs(value));
    most = Math.max(most, error);
  });
  return {
    relative: signal > 0 ? Math.sqrt(noise / signal) : noise > 0 ? 1 : 0,
    most: peak > 0 ? most / peak : 0,
  };
}

/** Noise of a hundredth is 40 dB below the sound, of a tenth 20 dB. */
const gradeOfNoise = (share: number): Grade => (share <= 0.02 ? 'good' : share <= 0.1 ? 'fair' : 'poor');

export const waveform: Kind<Waveform> = {
  id: 'waveform',
  title: 'sound',
  guess: ({ outputs }) => {
    const output = outputs.find(isWave);
    return output && { sure: 0.8, because: `${output.data.length} numbers swing around 0` };
  },
  read({ outputs }) {
    const output = outputs.find(
      ({ data, dims }) => data.length >= leastLength && dims.at(-1) === data.length,
    );
    return output && { values: Float32Array.from(output.data) };
  },
  compare({ float, quantized }) {
    const { relative } = errorOf(float.values, quantized.values);
    return {
      size: relative,
      same: relative <= 0.02,
      words: `Noise of ${percent(relative)} of the sound`,
    };
  },
  judge(pairs, changes) {
    const worst = Math.max(...changes.map(({ size }) => size));
    const mean = changes.reduce((sum, { size }) => sum + size, 0) / changes.length;
    const most = Math.max(
      ...pairs.map(({ float, quantized }) => errorOf(float.values, quantized.values).most),
    );
    return {
      grade: gradeOfNoise(worst),
      words: `The sound has noise of ${percent(mean)} of its strength, ${percent(worst)} in the worst sample.`,
      worst: `The largest error is ${percent(most)} of the loudest moment.`,
      short: `noise ${percent(worst)}`,
      figure: { name: 'noise', value: -worst },
    };
  },
  View({ answer: { values } }) {
    const columns = 160;
    const step = values.length / columns;
    const peak = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1;
    const path = Array.from({ length: columns }, (_, i) => {
      const part = values.subarray(Math.floor(i * step), Math.floor((i + 1) * step));
      const [least, most] = [Math.min(0, ...part), Math.max(0, ...part)];
      return `M${i} ${20 - (18 * most) / peak}V${20 - (18 * least) / peak}`;
    }).join('');
    return (
      <svg class="numbers wave" viewBox={`0 0 ${columns} 40`} role="img" aria-label="The sound over time">
        <path d={path} />
      </svg>
    );
  },
};
