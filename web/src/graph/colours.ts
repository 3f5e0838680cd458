// What the colour of an operator says: its type, how much its weights take, how long it runs, how far its output is off.
import type { QuantizeReport, StepInfo } from 'zeropoint';
import { bytes, milliseconds, percent, relativeError } from '../format.ts';
import { type Rgb, rgbOf, themeColour } from '../theme.ts';
import type { layerOf, PlannedLayer } from './layers.ts';
import { type GraphPicture, weightBytes } from './picture.ts';

/** What is known of a model beside its graph. */
export interface Known {
  /** What quantization would do, or did, to each layer. */
  layers: ReturnType<typeof layerOf>;
  times: readonly StepInfo[] | undefined;
}

/** Of each operator; undefined: not known. */
export interface Paint {
  fills: readonly (string | undefined)[];
  /** What the colours mean, in words. */
  legend: readonly { fill: string | undefined; words: string }[];
  /** What an operator's colour stands for, in words. */
  says: readonly string[];
}

export interface Colouring {
  id: string;
  title: string;
  paint(picture: GraphPicture, known: Known): Paint;
}

const css = ([r, g, b]: Rgb) =>
  `#${[r, g, b].map((c) => Math.round(c).toString(16).padStart(2, '0')).join('')}`;

/** Between two colours of the theme: which are looked up once, for thousands of operators. */
function between(from: string, to: string): (share: number) => string {
  const [a, b] = [rgbOf(themeColour(from)), rgbOf(themeColour(to))];
  return (share) =>
    css([0, 1, 2].map((i) => (a[i] ?? 0) + share * ((b[i] ?? 0) - (a[i] ?? 0))) as unknown as Rgb);
}

/** Hues that are far apart; what is left over has the colour of paper. */
const hues = [165, 265, 35, 205, 330, 95, 5, 60];

/** As HSL, written as #rrggbb: dark in the light theme, and the other way round, so that people can read text on it. */
function hueColour(hue: number): string {
  const isDark = (rgbOf(themeColour('--card'))[0] ?? 0) < 128;
  const [saturation, lightness] = isDark ? [0.35, 0.3] : [0.6, 0.86];
  const channel = (n: number) => {
    const k = (n + hue / 30) % 12;
    const a = saturation * Math.min(lightness, 1 - lightness);
    return 255 * (lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)));
  };
  return css([channel(0), channel(8), channel(4)]);
}

const byType: Colouring = {
  id: 'type',
  title: 'type',
  paint({ nodes }) {
    const counts = new Map<string, number>();
    for (const { op } of nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
    const order = [...counts].sort((a, b) => b[1] - a[1]);
    const fills = new Map(order.slice(0, hues.length).map(([op], i) => [op, hueColour(hues[i] ?? 0)]));
    const rest = order.slice(hues.length);
    return {
      fills: nodes.map(({ op }) => fills.get(op)),
      legend: [
        ...order
          .slice(0, hues.length)
          .map(([op, count]) => ({ fill: fills.get(op), words: `${op} ${count}` })),
        ...(rest.length ? [{ fill: undefined, words: `${rest.length} other types` }] : []),
      ],
      says: nodes.map(() => ''),
    };
  },
};

/** From little to much. A square root shows the small ones too. */
function scaled(
  values: readonly (number | undefined)[],
  words: (value: number) => string,
  to: string,
  missing: string,
): Paint {
  const known = values.filter((value) => value !== undefined);
  const most = Math.max(0, ...known);
  const colour = between('--card', to);
  const fill = (share: number) => colour(0.08 + 0.72 * Math.sqrt(share));
  return {
    fills: values.map((value) => (value === undefined ? undefined : fill(most ? value / most : 0))),
    legend: known.length
      ? [
          { fill: fill(0), words: words(0) },
          { fill: fill(0.25), words: words(most / 4) },
          { fill: fill(1), words: words(most) },
          ...(known.length < values.length ? [{ fill: undefined, words: missing }] : []),
        ]
      : [{ fill: undefined, words: missing }],
    says: values.map((value) => (value === undefined ? missing : words(value))),
  };
}

const bySize: Colouring = {
  id: 'size',
  title: 'size of weights',
  paint: ({ nodes, tensors }) =>
    scaled(
      nodes.map((node) => weightBytes(node, tensors) || undefined),
      bytes,
      '--accent',
      'no weights',
    ),
};

const byTime: Colouring = {
  id: 'time',
  title: 'time here',
  paint({ nodes }, { times = [], layers }) {
    const spent = new Map<string, number>();
    for (const { node, milliseconds } of times) spent.set(node, (spent.get(node) ?? 0) + milliseconds);
    return scaled(
      nodes.map((node) => spent.get(layers(node)?.node ?? node.name)),
      milliseconds,
      '--accent',
      'has no step of its own',
    );
  },
};

type Measured = PlannedLayer & Pick<QuantizeReport['layers'][number], 'error'>;

const byError: Colouring = {
  id: 'error',
  title: 'error',
  paint: ({ nodes }, { layers }) =>
    scaled(
      nodes.map((node) => {
        const error = (layers(node) as Measured | undefined)?.error;
        return error && !Number.isNaN(error.sqnr) ? relativeError(error.sqnr) : undefined;
      }),
      (share) => percent(share, share < 0.1 ? 2 : 0),
      '--poor',
      'not measured',
    ),
};

export const colourings: readonly Colouring[] = [byType, bySize, byTime, byError];
