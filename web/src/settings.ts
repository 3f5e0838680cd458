// What the user chose, and what it means for the engine.
import type { OptionRow, QuantizeOptions, Remedy, Schema, Target, TrialOptions } from 'zeropoint';

export interface Settings {
  mode: string;
  activations: 'uint8' | 'int8' | 'uint16' | 'int16';
  weights: 'int8' | 'uint8' | 'int4' | 'uint4' | 'float16';
  perChannel: boolean;
  symmetric: boolean;
  blockSize: number;
  observer: string;
  /** Names of choices().repairs; undefined: those that suit. */
  repairs: readonly string[] | undefined;
  /** 'auto': what suits the mode. */
  format: 'auto' | 'qdq' | 'qoperator';
  /** Where the file is to run: a name of choices().runtimes. */
  runtime: string;
  outputs: 'float' | 'quantized';
  /** Node names or operator types, separated by commas or lines. */
  exclude: string;
  /** What layers that are harmed get more bits for. */
  target: Target | undefined;
  /** A point of a trade-off curve, by its name. */
  picked: { what: string; options: TrialOptions } | undefined;
  /** How mode `qat` trains. */
  training?: TrainingSettings | undefined;
  /** Options that have no place of their own, by name: those under “Advanced”. */
  more: Readonly<Record<string, unknown>>;
}

export interface TrainingSettings {
  weightBits: number;
  activationBits: number;
  epochs: number;
  learningRate: number;
  /** One block of the model after the other. */
  blocks: boolean;
  /** Options of training that have no place of their own, by name. */
  more?: Readonly<Record<string, unknown>> | undefined;
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
  repairs: undefined,
  format: 'auto',
  runtime: 'onnxruntime',
  outputs: 'float',
  exclude: '',
  target: undefined,
  picked: undefined,
  more: {},
};

/** Options that have a place of their own: in settings-panel.tsx, and in training-panel.tsx. */
const placed = new Set([
  ...[
    'mode',
    'activations',
    'weights',
    'perChannel',
    'symmetric',
    'blockSize',
    'observer',
    'repairs',
    'format',
  ],
  ...['runtime', 'outputs', 'exclude', 'target', 'weightBits', 'activationBits', 'parameters', 'training'],
  ...['epochs', 'learningRate', 'blocks'],
]);

const hasNoPlace = ({ name, group }: OptionRow) => group === 'parameters' || !placed.has(name);

/** What “Advanced” has: the options of this mode that have no place of their own, and the numbers of what is chosen. */
export function advancedOf(schema: Schema, settings: Settings): OptionRow[] {
  const { mode, observer, repairs } = settings;
  const isRead = (owner = '') =>
    schema.observers.some(({ name }) => name === owner)
      ? isCalibrated(settings) && (mode === 'auto' || owner === observer)
      : schema.repairs.some(({ name }) => name === owner)
        ? mode === 'auto' || (repairs?.includes(owner) ?? true)
        : isCalibrated(settings);
  return schema.options.filter((option) => {
    const { group, modes, owner } = option;
    if (!hasNoPlace(option) || group === 'training') return false;
    return group === 'parameters' ? isRead(owner) : (modes?.includes(mode) ?? true);
  });
}

/** What “Advanced” has where a model is trained. */
export const advancedOfTraining = (schema: Schema): OptionRow[] =>
  schema.options.filter((option) => option.group === 'training' && hasNoPlace(option));

/** Modes to choose from: training begins at a result. */
export const modesOf = (schema: Schema): Schema['modes'] => {
  const trained = schema.options.find(({ kind }) => kind === 'options')?.modes ?? [];
  return schema.modes.filter(({ name }) => !trained.includes(name));
};

export const titleOf = (schema: Schema | undefined, option: string): string =>
  schema?.options.find(({ name }) => name === option)?.title ?? option;

/** What is chosen before the user chooses: with samples of the user's own, what is best on them. */
export const initial = (samples: { synthetic: boolean } | undefined): Settings =>
  samples && !samples.synthetic ? { ...defaults, mode: 'auto' } : defaults;

/** Modes whose activations are integers with ranges from samples. */
export const isCalibrated = ({ mode }: Settings): boolean =>
  mode === 'static' || mode === 'auto' || mode === 'qat';

/** What a repair of lost accuracy is called here. */
const repairTitle = (schema: Schema, repair: string): string =>
  schema.repairs.find(({ name }) => name === repair)?.title ?? repair;

/** What an option that helps is called here, within a sentence. */
export const named =
  (schema: Schema) =>
  ({ option, value }: Remedy): string => {
    const title = `“${titleOf(schema, option)}”`;
    if (option === 'repairs')
      return (value as string[]).map((repair) => `“${repairTitle(schema, repair)}”`).join(' and ');
    if (option === 'target') return `a target of ${(value as { sqnr: number }).sqnr} dB`;
    return typeof value === 'boolean' || Array.isArray(value) ? title : `${title} ${value}`;
  };

/** What a button says that sets it. */
export function actionOf(schema: Schema, { option, value }: Remedy): string {
  if (option === 'repairs')
    return (value as string[]).map((repair) => repairTitle(schema, repair)).join(', and ');
  if (option === 'target') return `Target of ${(value as { sqnr: number }).sqnr} dB`;
  if (option === 'exclude') return 'Leave this layer as it is';
  const title = titleOf(schema, option);
  return typeof value === 'boolean' ? title : `${title}: ${value}`;
}

/** The settings with an option that helps. `repairsRun`: the repairs that ran, where nobody chose any. */
export function withRemedy(
  settings: Settings,
  { option, value }: Remedy,
  repairsRun: readonly string[],
): Settings {
  // A search finds repairs and observers itself.
  const mode =
    settings.mode === 'auto' && ['repairs', 'observer'].includes(option) ? 'static' : settings.mode;
  const next = { ...settings, mode, picked: undefined };
  if (option === 'repairs')
    return { ...next, repairs: [...new Set([...(settings.repairs ?? repairsRun), ...(value as string[])])] };
  if (option === 'exclude')
    return { ...next, exclude: [...new Set([...excluded(settings), ...(value as string[])])].join(', ') };
  if (placed.has(option)) return { ...next, [option]: value };
  return { ...next, more: { ...settings.more, [option]: value } };
}

/** Kinds of targets, with a value to start from. */
export const targets: Readonly<
  Record<string, { title: string; short: string; unit: string; start: number | string }>
> = {
  sqnr: { title: 'the outputs agree by so many dB', short: 'reaching dB', unit: 'dB', start: 30 },
  drop: {
    title: 'so few answers are lost',
    short: 'answers lost at most',
    unit: 'share, 0.01 is 1 %',
    start: 0.01,
  },
  size: { title: 'the weights fill a size', short: 'filling', unit: 'as in 2.5MB', start: '2.5MB' },
};

export const goals: readonly Goal[] = [
  {
    id: 'fastest',
    title: 'Fastest',
    summary:
      'Weights and activations are integers, on integer kernels. A quarter of the size. Needs real samples.',
    settings: { mode: 'static', weights: 'int8' },
  },
  {
    id: 'auto',
    title: 'Fast and accurate',
    summary: 'Tries several ways to win accuracy back, and keeps the best. Takes longer. Needs real samples.',
    settings: { mode: 'auto', weights: 'int8' },
  },
  {
    id: 'smallest',
    title: 'Smallest',
    summary: 'Weights have 4 bits where a layer allows it. Activations stay as they are. Needs no samples.',
    settings: { mode: 'weight-only', weights: 'int4' },
  },
  {
    id: 'accurate',
    title: 'Most accurate',
    summary:
      'Weights have 8 bits, and a scale for each channel. Activations stay as they are. Needs no samples.',
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

/** Weights that other modes than weight-only do not have here. */
export const isOnlyForWeights = ({ weights }: Settings): boolean => weights !== 'int8' && weights !== 'uint8';

/** What is as the page has it from the start, nobody chose: a runtime may change it. */
export function toOptions(settings: Settings): QuantizeOptions {
  const options = optionsOf(settings);
  if (settings.runtime === defaults.runtime) return options;
  const chosen = Object.entries(options).filter(
    ([name, value]) => name === 'mode' || value !== defaults[name as keyof Settings],
  );
  return { ...Object.fromEntries(chosen), runtime: settings.runtime };
}

function optionsOf(settings: Settings): QuantizeOptions {
  const { mode, activations, weights, perChannel, symmetric, blockSize, observer, outputs, repairs } =
    settings;
  const format = settings.format === 'auto' ? undefined : settings.format;
  const fourBit = weights === 'int4' || weights === 'uint4';
  const { weightBits, activationBits, more: moreTraining, ...training } = settings.training ?? {};
  if (mode === 'qat') {
    return {
      mode,
      weights: weightBits !== undefined && weightBits <= 4 ? 'int4' : 'int8',
      perChannel,
      format,
      exclude: excluded(settings),
      observer,
      activations,
      symmetric,
      outputs,
      weightBits,
      activationBits,
      training: { ...training, ...moreTraining },
      ...settings.more,
    };
  }
  return {
    mode,
    weights: mode !== 'weight-only' && isOnlyForWeights(settings) ? 'int8' : weights,
    perChannel,
    format,
    exclude: excluded(settings),
    ...(fourBit ? { blockSize } : {}),
    ...(mode === 'auto' || repairs === undefined ? {} : { repairs: [...repairs] }),
    ...(mode === 'static' ? { observer } : {}),
    ...(isCalibrated(settings) ? { activations, symmetric, outputs, target: settings.target } : {}),
    ...settings.more,
    ...settings.picked?.options,
  };
}

/** One line that tells two results apart. */
export function describe(settings: Settings): string {
  const parts: string[] = [settings.mode];
  if (isCalibrated(settings)) parts.push(`${settings.activations} activations`);
  if (settings.mode === 'qat' && settings.training) {
    const { weightBits, activationBits, epochs, blocks } = settings.training;
    parts.push(
      `${weightBits}-bit weights, ${activationBits}-bit values, ${epochs} epochs${blocks ? ' of each block' : ''}`,
    );
  } else if (settings.mode !== 'float16') {
    parts.push(`${settings.weights} weights`);
  }
  if (!settings.perChannel) parts.push('per tensor');
  if (settings.mode === 'static' && settings.observer !== 'min-max') parts.push(settings.observer);
  if (settings.mode !== 'auto' && settings.mode !== 'qat') parts.push(...(settings.repairs ?? []));
  if (settings.format !== 'auto') parts.push(settings.format === 'qdq' ? 'Q/DQ format' : 'operator format');
  if (settings.runtime !== defaults.runtime) parts.push(`for ${settings.runtime}`);
  const left = excluded(settings).length;
  if (left) parts.push(`${left} left out`);
  parts.push(...Object.keys(settings.more));
  if (settings.picked) parts.push(settings.picked.what);
  else if (settings.target && isCalibrated(settings)) {
    parts.push(...Object.entries(settings.target).map(([kind, value]) => `${targets[kind]?.short} ${value}`));
  }
  return parts.join(', ');
}
