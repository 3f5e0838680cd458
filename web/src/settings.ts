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
  /** Where the file runs: a name of choices().runtimes. */
  runtime: string;
  outputs: 'float' | 'quantized';
  /** Node names or operator types, separated by commas or lines. */
  exclude: string;
  /** The target for which harmed layers get more bits. */
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

/**
 * The fields of “Advanced”: the options of this mode that have no place of their own, and the numbers of chosen observers and
 * repairs.
 */
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

/** The settings before the user chooses: with samples of the user's own, mode `auto`, which finds the best on them. */
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

/** The settings with options that take less memory: ErrorDetails.instead. */
export function withInstead(settings: Settings, { mode, weights, repairs }: QuantizeOptions): Settings {
  return {
    ...settings,
    // A search finds repairs itself.
    mode: mode ?? (settings.mode === 'auto' ? 'static' : settings.mode),
    weights: (weights as Settings['weights'] | undefined) ?? settings.weights,
    repairs: repairs ?? settings.repairs,
    ...(mode && { target: undefined }),
    picked: undefined,
  };
}

/** Kinds of targets, with a value to start from. */
export const targets: Readonly<
  Record<string, { title: string; short: string; unit: string; start: number | string }>
> = {
  sqnr: { title: 'the outputs agree by this many dB', short: 'reaching dB', unit: 'dB', start: 30 },
  drop: {
    title: 'at most this share of answers is lost',
    short: 'answers lost at most',
    unit: 'share, 0.01 is 1 %',
    start: 0.01,
  },
  size: { title: 'the weights fill this size', short: 'filling', unit: 'as in 2.5MB', start: '2.5MB' },
};

/** Goals are named for what they do: their effect is measured, and depends on the model. */
export const goals: readonly Goal[] = [
  {
    id: 'auto',
    title: '8-bit integers, the best of several tries',
    summary:
      'Weights and activations become integers. Several ways to win accuracy back are tried on held-out samples, and the best is kept. Needs real samples, and the most time.',
    settings: { mode: 'auto', weights: 'int8' },
  },
  {
    id: 'integers',
    title: '8-bit integers',
    summary:
      'Weights and activations become integers, in one go. The model runs on integer kernels. Needs samples.',
    settings: { mode: 'static', weights: 'int8' },
  },
  {
    id: 'float16',
    title: '16-bit floats',
    summary:
      'Weights and activations become floats of half the size. They keep 11 bits of each number. Needs no samples.',
    settings: { mode: 'float16' },
  },
  {
    id: 'weights8',
    title: '8-bit weights',
    summary:
      'Only weights become integers, with a scale for each channel. Activations stay floats. Needs no samples.',
    settings: { mode: 'weight-only', weights: 'int8' },
  },
  {
    id: 'weights4',
    title: '4-bit weights',
    summary:
      'Weights have 4 bits where a layer allows it, in blocks that share a scale. Activations stay floats. Needs no samples.',
    settings: { mode: 'weight-only', weights: 'int4' },
  },
];

export function goalOf(settings: Settings): string | undefined {
  return goals.find((goal) =>
    Object.entries(goal.settings).every(([key, value]) => settings[key as keyof Settings] === value),
  )?.id;
}

const base = (name: string) => name.replace(/\.onnx$/i, '');

/** What a file of these settings is called. */
export const fileNameOf = (model: string, settings: Settings): string =>
  `${base(model)}.${kindOf(settings)}.onnx`;

/** What a model of these settings is called by. */
export function kindOf(settings: Settings): string {
  if (settings.mode === 'qat' && settings.training) {
    return `w${settings.training.weightBits}a${settings.training.activationBits}`;
  }
  if (isCalibrated(settings)) return 'int8';
  return settings.mode === 'float16' ? 'float16' : settings.weights;
}

/** How two settings differ, option by option, in the words of the engine. */
export function differences(schema: Schema | undefined, a: Settings, b: Settings): string[] {
  const [before, after] = [flat(toOptions(a)), flat(toOptions(b))];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const said = (value: unknown) =>
    value === undefined || (Array.isArray(value) && value.length === 0) ? 'by itself' : textOf(value);
  return names
    .filter((name) => said(before[name]) !== said(after[name]))
    .map((name) => `${titleOf(schema, name)}: ${said(before[name])} → ${said(after[name])}`);
}

const flat = ({ training, ...options }: QuantizeOptions): Record<string, unknown> => ({
  ...options,
  ...training,
});

const textOf = (value: unknown): string =>
  Array.isArray(value) ? value.join(', ') : typeof value === 'object' ? JSON.stringify(value) : String(value);

export const excluded = (settings: Settings): string[] =>
  settings.exclude
    .split(/[\n,]/)
    .map((name) => name.trim())
    .filter((name) => name !== '');

/** Weights that other modes than weight-only do not have here. */
export const isOnlyForWeights = ({ weights }: Settings): boolean => weights !== 'int8' && weights !== 'uint8';

/**
 * Nobody chose an option that is as the page has it from the start: a runtime may change it, and a recipe need not say it. The
 * page starts from the engine's defaults.
 */
export function toOptions(settings: Settings): QuantizeOptions {
  const chosen = Object.entries(optionsOf(settings)).filter(
    ([name, value]) =>
      name === 'mode' ||
      !(
        value === undefined ||
        value === defaults[name as keyof Settings] ||
        (name === 'exclude' && value.length === 0)
      ),
  );
  const { runtime } = settings;
  return { ...Object.fromEntries(chosen), ...(runtime !== defaults.runtime && { runtime }) };
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

/** What a mode does, where nothing else is said. */
const modeWords: Readonly<Record<string, (settings: Settings) => string>> = {
  auto: () => '8-bit integers, the best of several tries',
  static: () => '8-bit integers',
  dynamic: () => '8-bit integers, ranges found in each run',
  float16: () => '16-bit floats',
  'weight-only': ({ weights }) =>
    weights.startsWith('int') ? `${weights.slice(3)}-bit weights` : `${weights} weights`,
  qat: () => 'trained',
};

/** One line that tells two results apart. */
export function describe(settings: Settings): string {
  const parts: string[] = [modeWords[settings.mode]?.(settings) ?? settings.mode];
  if (isCalibrated(settings) && settings.activations !== defaults.activations) {
    parts.push(`${settings.activations} activations`);
  }
  if (settings.mode === 'qat' && settings.training) {
    const { weightBits, activationBits, epochs, blocks } = settings.training;
    parts.push(
      `${weightBits}-bit weights, ${activationBits}-bit values, ${epochs} epochs${blocks ? ' of each block' : ''}`,
    );
  } else if (isCalibrated(settings) && settings.weights !== defaults.weights) {
    parts.push(`${settings.weights} weights`);
  }
  if (!settings.perChannel) parts.push('per tensor');
  if (settings.mode === 'static' && settings.observer !== 'min-max') parts.push(settings.observer);
  if (settings.mode !== 'auto' && settings.mode !== 'qat') parts.push(...(settings.repairs ?? []));
  if (settings.format !== 'auto') parts.push(settings.format === 'qdq' ? 'Q/DQ format' : 'operator format');
  if (settings.runtime !== defaults.runtime) parts.push(`for ${settings.runtime}`);
  const left = excluded(settings).length;
  if (left) parts.push(`${left} left out`);
  const { precision, ...more } = settings.more;
  if (precision) parts.push(`${Object.keys(precision).length} of their own precision`);
  parts.push(...Object.keys(more));
  if (settings.picked) parts.push(settings.picked.what);
  else if (settings.target && isCalibrated(settings)) {
    parts.push(...Object.entries(settings.target).map(([kind, value]) => `${targets[kind]?.short} ${value}`));
  }
  return parts.join(', ');
}
