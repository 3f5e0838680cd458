// Numbers whose meaning is not known.
import { percent } from '../format.ts';
import type { Kind } from './kind.ts';

export interface Numbers {
  outputs: readonly { name: string; values: Float32Array }[];
}

function errorOf(float: Numbers, quantized: Numbers) {
  let [signal, noise, most] = [0, 0, 0];
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let where = '';
  float.outputs.forEach(({ name, values }, k) => {
    const others = quantized.outputs[k]?.values;
    values.forEach((value, i) => {
      const error = Math.abs(value - (others?.[i] ?? 0));
      signal += value * value;
      noise += error * error;
      low = Math.min(low, value);
      high = Math.max(high, value);
      if (error > most) [most, where] = [error, name];
    });
  });
  return { relative: signal > 0 ? Math.sqrt(noise / signal) : noise > 0 ? 1 : 0, most, low, high, where };
}

const few = (value: number) => String(Number(value.toPrecision(3)));

export const tensor: Kind<Numbers> = {
  id: 'tensor',
  title: 'numbers',
  guess: () => ({ sure: 0.1, because: 'its numbers have no form that this page knows' }),
  read: ({ outputs }) => ({
    outputs: outputs.map(({ name, data }) => ({ name, values: Float32Array.from(data) })),
  }),
  compare({ float, quantized }) {
    const { relative, most } = errorOf(float, quantized);
    return {
      size: relative,
      same: most === 0,
      words: `Off by ${percent(relative)}; the largest error is ${few(most)}`,
    };
  },
  judge(pairs) {
    const errors = pairs.map(({ float, quantized }) => errorOf(float, quantized));
    const mean = errors.reduce((sum, { relative }) => sum + relative, 0) / errors.length;
    const worst = errors.reduce((a, b) => (b.most > a.most ? b : a));
    const relative = Math.max(...errors.map((each) => each.relative));
    return {
      grade: relative <= 0.03 ? 'good' : relative <= 0.15 ? 'fair' : 'poor',
      words: `The numbers are off by ${percent(mean)} (root mean square), ${percent(relative)} in the worst sample.`,
      worst: worst.most
        ? `The largest error is ${few(worst.most)}, in ${worst.where}, whose values go from ${few(worst.low)} to ${few(worst.high)}.`
        : 'There is no error.',
      short: `off by ${percent(mean)}`,
      figure: { name: 'error of the numbers', value: -mean },
    };
  },
  View({ answer }) {
    return (
      <ul class="tensors">
        {answer.outputs.slice(0, 4).map(({ name, values }) => (
          <li key={name}>
            <span class="name">{name}</span>{' '}
            <code>
              {Array.from(values.slice(0, 6), few).join(', ')}
              {values.length > 6 && ` … (${values.length})`}
            </code>
          </li>
        ))}
      </ul>
    );
  },
};
