// The words for what the engine finds out about layers. Findings are data: each door names the options that help in its
// own way.
import type { EngineFinding, EngineRemedy, OptionRow, Schema, Unworded } from './engine/module.ts';
import { fromText } from './schema.ts';

/** An option that helps, and its value; for a list, the entries to add to it. */
export interface Remedy {
  /** A name of SchemeOptions. */
  option: string;
  value: unknown;
}

/** A fault of a layer, and the options that help. */
export interface Finding {
  node: string;
  op: string;
  /** The layer's output, by its name in the float model. */
  output: string;
  /** The fault: `unequal-weights`, `poor-weights`, `cut-off`, `unequal-values`, `outliers`, ... */
  code: string;
  /** The measured numbers, by name. */
  numbers: Readonly<Record<string, number>>;
  /** Options that help: choose one. */
  remedies: readonly Remedy[];
  /** The finding as a sentence, with the command line's names of options. */
  text: string;
}

/** Two or three digits that matter. */
function few(x: number): string {
  const size = Math.abs(x);
  const unit = 10 ** (size >= 10 || size === 0 ? 0 : size >= 1 ? 1 : size >= 0.1 ? 2 : 3);
  return String((Math.sign(x) * Math.round(size * unit)) / unit);
}

const percent = (share: number) => `${few(100 * share)} %`;

/** The sentence of each code. `r`: the names of the remedies, in their order; `v`: their values. */
const sentences: Record<
  string,
  (n: Record<string, number>, op: string, r: readonly string[], v: readonly string[]) => string
> = {
  'unequal-weights': ({ channel, ratio = 0, depthwise }, op, r) =>
    `channel ${channel} of this ${depthwise ? 'depthwise ' : ''}${op} spans ${few(ratio)} times the median range, ` +
    `and all channels share one scale: use a scale for each channel (${r[0]}), or ${r[1]}`,
  'poor-weights': ({ sqnr = 0, bits = 8 }, _, r) =>
    `rounding leaves the weights ${few(sqnr)} dB, less than ${bits} bits usually leave, because a few large weights set the scale of all: ${
      bits === 8
        ? `${r[0]} leaves layers like this in float if they matter, ${r[1]} leaves this one`
        : r.length === 3
          ? `use ${r[0]}, or ${r[1]} if there are no samples, or ${r[2]}`
          : `use ${r[0]}, or ${r[1]}`
    }`,
  'cut-off': ({ share = 0, min = 0, max = 0 }, _, r) =>
    `${percent(share)} of this value lies outside the calibrated range of ${few(min)} to ${few(max)} and is cut off: ` +
    `calibrate with more samples like these, or with ${r[0]}`,
  'unequal-values': ({ channel, ratio = 0, left = 0, steps = 0 }, _, r) =>
    `channel ${channel} of this value spans ${few(ratio)} times the median channel, which has ${few(left)} of ` +
    `${few(steps)} steps left: use ${r[0]}, or ${r[1]} in a transformer`,
  outliers: ({ left = 0, steps = 0 }, _, r, v) =>
    `a few outliers stretch the range, so that half of the values share ${few(left)} of ${few(steps)} steps: use ${r[0]} or ` +
    `${v[1]}, or ${r[2]}`,
  'beyond-float16': ({ count }, _, r) =>
    `${count} ${count === 1 ? 'element of this value is' : 'elements of this value are'} beyond the largest number of float16 (65504): ` +
    `calibrate with samples like these, or ${r[0]} this layer`,
  'shifted-means': ({ share = 0 }, _, r) =>
    `${percent(share)} of the error here is a shift of channel means, which a bias can correct: use ${r[0]}`,
};

const textOf = (value: unknown): string =>
  Array.isArray(value)
    ? value.join(',')
    : typeof value === 'object' && value !== null
      ? Object.entries(value)
          .map(([kind, goal]) => `${kind}=${goal}`)
          .join(',')
      : String(value);

/** A flag of the command line: `--block-size`. */
export const flagOf = ({ name, flag }: Pick<OptionRow, 'name' | 'flag'>): string =>
  `--${flag || name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** A remedy in the words of the command line. */
const asFlag =
  (schema: Schema) =>
  ({ option, value }: Remedy): string => {
    const row = schema.options.find(({ name }) => name === option);
    if (!row) return option;
    const flag = flagOf(row);
    if (option === 'exclude') return flag; // the sentence says whom
    if (row.kind !== 'flag') return `${flag} ${textOf(value)}`;
    return row.flagSets !== undefined && row.flagSets !== String(value) ? `leave out ${flag}` : flag;
  };

/**
 * A finding as a sentence. `named` says what a remedy is called, as in “--repair equalization”; for `exclude`, it names the
 * option alone.
 */
export function wordsOf(
  { code, numbers, op, remedies }: Pick<Finding, 'code' | 'numbers' | 'op' | 'remedies'>,
  named: (remedy: Remedy) => string,
): string {
  const names = remedies.map(named);
  const say = sentences[code];
  return (
    say?.(
      numbers,
      op.replace(/^.*\./, ''),
      names,
      remedies.map(({ value }) => textOf(value)),
    ) ?? `${code}: ${names.join(', or ')}`
  );
}

interface Layer {
  node: string;
  op: string;
  output: string;
}

/** The findings of a layer, with their words. */
export function worded(schema: Schema, layer: Layer, findings: readonly EngineFinding[]): Finding[] {
  const { node, op, output } = layer;
  const remedy = ({ option, value }: EngineRemedy): Remedy => {
    const row = schema.options.find(({ name }) => name === option);
    return { option, value: value === '' ? [node] : row ? fromText(row, value) : value };
  };
  return findings.map(({ code, numbers, remedies }) => {
    const finding = { node, op, output, code, numbers, remedies: remedies.map(remedy) };
    return { ...finding, text: wordsOf(finding, asFlag(schema)) };
  });
}

/** A layer's report whose findings are sentences. */
export const withTexts = <T extends Layer & { findings: string[] }>(
  schema: Schema,
  layer: Unworded<T>,
): T => {
  const { findings } = layer as { findings: EngineFinding[] };
  const texts = worded(schema, layer as unknown as Layer, findings).map(({ text }) => text);
  return { ...layer, findings: texts } as unknown as T;
};
