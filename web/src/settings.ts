// What the user chose, and what it means for the engine.
import type { QuantizeOptions } from 'zeropoint';

export interface Settings {
  mode: 'static' | 'dynamic' | 'weight-only';
  activations: 'uint8' | 'int8';
  weights: 'int8' | 'uint8' | 'int4' | 'uint4';
  perChannel: boolean;
  symmetric: boolean;
  blockSize: number;
  observer: string;
  format: 'qdq' | 'qoperator';
  outputs: 'float' | 'quantized';
  /** Node names or operator types, separated by commas or lines. */
  exclude: string;
}

export interface Goal {
  id: string;
  title: string;
  summary: string;
  settings: Partial<Settings>;
}

export const defaults: Settings = {
  mode: 'static',
  activations: 'uint8',
  weights: 'int8',
  perChannel: true,
  symmetric: false,
  blockSize: 32,
  observer: 'min-max',
  format: 'qdq',
  outputs: 'float',
  exclude: '',
};

export const goals: readonly Goal[] = [
  {
    id: 'fastest',
    title: 'Fastest',
    summary:
      'Integer weights and activations, on integer kernels. About a quarter of the size. Wants real samples.',
    settings: { mode: 'static', weights: 'int8' },
  },
  {
    id: 'smallest',
    title: 'Smallest',
    summary: 'Weights in 4 bits where layers allow it. Activations stay as they are; no samples needed.',
    settings: { mode: 'weight-only', weights: 'int4' },
  },
  {
    id: 'accurate',
    title: 'Most accurate',
    summary: 'Weights in 8 bits, one scale per channel. Activations stay as they are; no samples needed.',
    settings: { mode: 'weight-only', weights: 'int8' },
  },
];

export function goalOf(settings: Settings): string | undefined {
  return goals.find((goal) =>
    Object.entries(goal.settings).every(([key, value]) => settings[key as keyof Settings] === value),
  )?.id;
}

export const excluded = (settings: Settings): string[] =>
  settings.exclude
    .split(/[\n,]/)
    .map((name) => name.trim())
    .filter((name) => name !== '');

export function toOptions(settings: Settings): QuantizeOptions {
  const { mode, activations, weights, perChannel, symmetric, blockSize, observer, format, outputs } =
    settings;
  const fourBit = weights === 'int4' || weights === 'uint4';
  return {
    mode,
    weights: mode !== 'weight-only' && fourBit ? 'int8' : weights,
    perChannel,
    format,
    exclude: excluded(settings),
    ...(fourBit ? { blockSize } : {}),
    ...(mode === 'static' ? { activations, symmetric, observer, outputs } : {}),
  };
}

/** One line that tells two results apart. */
export function describe(settings: Settings): string {
  const parts: string[] = [settings.mode];
  if (settings.mode === 'static') parts.push(`${settings.activations} activations`);
  parts.push(`${settings.weights} weights`);
  if (!settings.perChannel) parts.push('per tensor');
  if (settings.mode === 'static' && settings.observer !== 'min-max') parts.push(settings.observer);
  if (settings.format !== 'qdq') parts.push('operator format');
  const left = excluded(settings).length;
  if (left) parts.push(`${left} left out`);
  return parts.join(', ');
}
