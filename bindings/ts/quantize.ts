import type { Engine } from './engine/client.ts';
import { fedOf, type Id, type ModelDescription } from './engine/host.ts';
import type {
  Choices,
  ConfigIn,
  EngineReport,
  LayerError,
  LayerReport,
  Range,
  Trial,
} from './engine/module.ts';
import { ZeropointError } from './errors.ts';
import { countOf, isSamples, KeptSamples, SampleReader, type Samples } from './feeds.ts';
import * as check from './options.ts';

/** Where long work stands. `total` is 0 while it is not known. */
export interface Progress {
  /** `prepare`, `calibrate`, `place`, `measure`, ... */
  phase: string;
  /** Steps of the phase, or samples where it goes through samples. */
  done: number;
  total: number;
}

export type QuantizeMode = 'auto' | 'static' | 'dynamic' | 'weight-only' | 'float16' | (string & {});
export type ModelFormat = 'qdq' | 'qoperator';

/**
 * What mixed precision is to reach:
 *
 * - `sqnr`: a quality of the outputs, in dB
 * - `drop`: the share of right answers that may be lost, 0...1 (0.005: half a percent). Without `labels` an answer is
 *   right when it is the float model's; an answer is the largest element of a row of the first output that has any.
 *   Wants many samples: of 1,000 at most a good 900 are held out to count on
 * - `size`: bytes of weights, as a number or as in `'2.5MB'`
 */
export type Target = { sqnr: number } | { drop: number } | { size: number | string };

/** What is to be quantized, and how. */
export interface SchemeOptions {
  /**
   * - `static` (default): int8 weights and activations, with ranges from calibration; runs on integer kernels
   * - `dynamic`: int8 weights; activations are quantized in each run, with the range they then have
   * - `weight-only`: int8 weights per channel, or int4 in blocks; activations stay float
   * - `float16`: weights of half the size, hardly any error; everything is computed in float32
   * - `auto`: tries `static` with other observers and each repair, keeps what is best on a quarter of the samples that
   *   calibration does not see, and leaves a few layers in float where that is worth it; the report's `trials` say what
   *   was tried. Takes several times as long
   */
  mode?: QuantizeMode | undefined;
  /** The type of quantized activations (static only). Default: uint8. */
  activations?: 'uint8' | 'int8' | 'uint16' | 'int16' | undefined;
  /** The type of quantized weights. Default: int8; the 4-bit types are for weight-only. */
  weights?: 'int8' | 'uint8' | 'int4' | 'uint4' | undefined;
  /** Weights: one scale for each output channel (default), or one for a whole tensor. */
  perChannel?: boolean | undefined;
  /** Activations: the zero point in the middle of the type. Default: false, wherever the range puts it. */
  symmetric?: boolean | undefined;
  /** Weights: the zero point in the middle of the type. Default: true. */
  symmetricWeights?: boolean | undefined;
  /** 7-bit weights, for runtimes and machines whose 8-bit products saturate. Default: false. */
  reduceRange?: boolean | undefined;
  /** Elements that share a scale in 4-bit weights: 16, 32 (default), 64, 128 or 256. */
  blockSize?: number | undefined;
  /** What the model takes where its inputs are quantized. Default: float. */
  inputs?: 'float' | 'quantized' | undefined;
  /** What the model gives where its outputs are quantized. Default: float. */
  outputs?: 'float' | 'quantized' | undefined;
  /** How ranges are found from samples: see `choices()`. Default: min-max. */
  observer?: string | undefined;
  /** Quantize only these nodes, by name, and operators, by type. */
  include?: readonly string[] | undefined;
  /** Leave these nodes, by name, and operators, by type, as they are. Wins over `include`. */
  exclude?: readonly string[] | undefined;
  /**
   * Another precision for single nodes, by name: 8 or 16 bits or `float` for activations, 4 or 8 bits or `float` for
   * weights, which may be `float16` where activations are `float`.
   */
  precision?: Readonly<Record<string, { activations?: string; weights?: string }>> | undefined;
  /** Ranges by value name, used as they are instead of observed. */
  ranges?: Readonly<Record<string, Range>> | undefined;
  /**
   * Give those layers more than 8 bits whose quantization harms the outputs most: as few as a quality needs, or as many
   * as fit a size. Each gets what costs least: 16-bit activations where they are enough (a quality or drop), float
   * activations with float16 weights, or float. The report's layers say which; its `tradeoff` has the points between.
   * Needs samples.
   */
  target?: Target | undefined;
  /** Measure what quantizing each layer alone does to the outputs (`auto` and targets do). Needs samples. */
  sensitivity?: boolean | undefined;
  /** Numbers that observers and repairs take, by name: see `choices()`. */
  parameters?: Readonly<Record<string, number>> | undefined;
  /**
   * Repairs of lost accuracy, by name. All but `hqq` need samples, which are then read more than once. By default those
   * that are worth their time for everyone: `smooth` and `bias-correction` where activations are calibrated, `gptq` for
   * 4-bit blocks if there are samples. `[]`: none.
   *
   * - `equalization`: channels of neighbouring layers are scaled to fill their ranges (Nagel et al. 2019)
   * - `smooth`: SmoothQuant, for transformers: outlier channels of activations go into the weights (Xiao et al. 2023)
   * - `hqq`: weight-only: scales that suit the many weights rather than the outliers (Badri and Shaji 2023)
   * - `gptq`: rounding of one weight makes up for that of others, for 4-bit blocks (Frantar et al. 2022)
   * - `adaround`: learned rounding, layer by layer (Nagel et al. 2020)
   * - `bias-correction`: biases take back what the means of channels have shifted by (Nagel et al. 2019)
   */
  repairs?: readonly string[] | undefined;
}

export interface QuantizeOptions extends SchemeOptions {
  /**
   * Samples that show which values occur; `static` needs them. Read one at a time, and not kept; repairs read them again,
   * or, where they can be read only once, the first 256 MB of them.
   */
  calibration?: Samples | undefined;
  /**
   * The right class of each sample, from 0, in the order of `calibration`. Searches (`auto`, targets, sensitivities) then
   * count right answers: see `Trial.accuracy`.
   */
  labels?: readonly number[] | undefined;
  /** How toBytes() writes the result: Q/DQ pairs (default), or operators that take integers where there are such. */
  format?: ModelFormat | undefined;
  /**
   * How many samples the report's per-layer errors are measured on afterwards: the first ones, at most 64 MB. Default
   * and most: 4; 0: no errors.
   */
  layerErrors?: number | undefined;
  /** Threads to calibrate with. By default what configure() said. */
  threads?: number | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the work; quantize() then throws a ZeropointError with the code `cancelled`. */
  signal?: AbortSignal | undefined;
}

/** A sentence about one layer: see LayerReport.findings. */
export interface Finding {
  node: string;
  op: string;
  text: string;
}

/** What was done to a model, layer by layer, and what it cost. */
export interface QuantizeReport extends EngineReport {
  /** The layers, in the order of the graph; `error` where it was measured. */
  layers: (LayerReport & { error?: LayerError })[];
  /** What is wrong, and what helps: the findings of all layers, those that lose most by themselves first. */
  findings: Finding[];
  /**
   * The trials that no other one beats in both bytes and quality, the smallest first. To pick another point than the one
   * that was kept: `model.quantize({ ...options, ...report.tradeoff[i].options })`.
   */
  tradeoff: Trial[];
  format: ModelFormat;
  /** Bytes of the file, before and after. */
  sizeBefore: number;
  sizeAfter: number;
  /** What calibration found, by value name: for SchemeOptions.ranges of another run. */
  ranges: Record<string, Range>;
}

export const formats = ['qdq', 'qoperator'] as const;
const weightTypes = ['int8', 'uint8', 'int4', 'uint4'];
const activationTypes = ['uint8', 'int8', 'uint16', 'int16'];
const blockSizes = [16, 32, 64, 128, 256];

const range: check.Check = (value) => {
  const { min, max } = (value ?? {}) as { min?: unknown; max?: unknown };
  return typeof min === 'number' && typeof max === 'number' && min <= max
    ? undefined
    : '{ min, max } is needed';
};

const precision: check.Check = (value) => {
  const wrong = check.recordOf(check.oneOf(['float', 'float16', ...activationTypes, ...weightTypes]))(value);
  if (wrong) return wrong;
  const unknown = Object.keys(value as object).find((key) => key !== 'activations' && key !== 'weights');
  return unknown === undefined ? undefined : `'${unknown}' is neither activations nor weights`;
};

export const schemeChecks = (choices: Choices): Record<string, check.Check> => ({
  mode: check.oneOf(choices.modes),
  activations: check.oneOf(activationTypes),
  weights: check.oneOf(weightTypes),
  perChannel: check.boolean,
  symmetric: check.boolean,
  symmetricWeights: check.boolean,
  reduceRange: check.boolean,
  blockSize: (value) =>
    blockSizes.includes(value as number) ? undefined : `${value} is not one of ${blockSizes.join(', ')}`,
  inputs: check.oneOf(['float', 'quantized']),
  outputs: check.oneOf(['float', 'quantized']),
  observer: check.oneOf(choices.observers),
  include: check.listOf(check.string),
  exclude: check.listOf(check.string),
  precision: check.recordOf(precision),
  ranges: check.recordOf(range),
  parameters: check.recordOf(check.finite),
  repairs: check.listOf(check.oneOf(choices.repairs)),
  target: (value) => {
    try {
      targetFrom(value as Target);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  },
  sensitivity: check.boolean,
});

const quantizeChecks = (choices: Choices): Record<string, check.Check> => ({
  ...schemeChecks(choices),
  calibration: (value) => (isSamples(value) ? undefined : 'an Iterable or AsyncIterable of feeds is needed'),
  labels: check.listOf(check.integer(0, 2 ** 31 - 1)),
  format: check.oneOf(formats),
  layerErrors: check.integer(0, 4),
  threads: check.integer(1, 64),
  onProgress: check.func,
  signal: check.signal,
});

const units: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

/** Bytes of '2.5MB', '900 kB', '3MiB' or a number. */
export function bytesFrom(size: unknown): number | undefined {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b)?\s*$/i.exec(String(size));
  const unit = units[found?.[2]?.toUpperCase() ?? ''];
  const bytes = Number(found?.[1]) * (unit ?? Number.NaN);
  return bytes > 0 && Number.isFinite(bytes) ? bytes : undefined;
}

function targetFrom(target: Target | undefined): {
  targetSqnr: number;
  targetBytes: number;
  targetDrop: number;
} {
  const none = { targetSqnr: 0, targetBytes: 0, targetDrop: 0 };
  if (target === undefined) return none;
  const [[kind, value] = ['', undefined], ...more] = Object.entries(target ?? {});
  const positive = typeof value === 'number' && Number.isFinite(value) && value > 0;
  if (more.length === 0) {
    if (kind === 'sqnr' && positive) return { ...none, targetSqnr: value };
    if (kind === 'drop' && positive && value < 1) return { ...none, targetDrop: value };
    const bytes = kind === 'size' ? bytesFrom(value) : undefined;
    if (bytes !== undefined) return { ...none, targetBytes: bytes };
  }
  throw new TypeError("{ sqnr: 30 }, { drop: 0.005 } or { size: '2.5MB' } is needed");
}

/** The engine's configuration. Names that are operators of the model are taken as such, all others as nodes. */
export function configFrom(
  options: SchemeOptions,
  operators: readonly string[],
  { hasSamples = false, defaultRepairs = false } = {},
): ConfigIn {
  const isOperator = (name: string) => operators.some((op) => op === name || op === `ai.onnx.${name}`);
  const include = options.include ?? [];
  const exclude = options.exclude ?? [];
  const type = (name: string) => name.replace(/^ai\.onnx\./, '');
  return {
    mode: options.mode ?? 'static',
    activations: options.activations ?? 'uint8',
    weights: options.weights ?? 'int8',
    perChannel: options.perChannel ?? true,
    symmetricWeights: options.symmetricWeights ?? true,
    symmetricActivations: options.symmetric ?? false,
    reduceRange: options.reduceRange ?? false,
    blockSize: options.blockSize ?? 32,
    quantizedInputs: options.inputs === 'quantized',
    quantizedOutputs: options.outputs === 'quantized',
    observer: options.observer ?? 'min-max',
    format: 'qdq',
    includeNodes: include.filter((name) => !isOperator(name)),
    excludeNodes: exclude.filter((name) => !isOperator(name)),
    includeOps: include.filter(isOperator).map(type),
    excludeOps: exclude.filter(isOperator).map(type),
    repairs: options.repairs ?? [],
    defaultRepairs: defaultRepairs && options.repairs === undefined,
    hasSamples,
    ...targetFrom(options.target),
    labels: [],
    sensitivity: options.sensitivity ?? false,
    precision: Object.fromEntries(
      Object.entries(options.precision ?? {}).map(([node, own]) => [
        node,
        { activations: own.activations ?? 'uint8', weights: own.weights ?? 'int8' },
      ]),
    ),
    ranges: options.ranges ?? {},
    options: options.parameters ?? {},
  };
}

/** Whether these options make quantize() ask for samples. */
export async function needsSamples(engine: Engine, model: Id, options: SchemeOptions): Promise<boolean> {
  check.checkOptions(options, schemeChecks(await engine.call('choices', [])));
  const facts = await engine.call('inspectModel', [model]);
  const config = configFrom(
    options,
    facts.operators.map(({ op }) => op),
    { defaultRepairs: true },
  );
  const { id: job, sweeps } = await engine.call('createQuantizer', [model, config, 1]);
  engine.release(job);
  return sweeps > 0;
}

/** Quantizes a model of the engine's. The caller owns the model that is answered. */
export async function quantizeModel(
  engine: Engine,
  model: Id,
  sizeBefore: number,
  options: QuantizeOptions,
): Promise<{ model: ModelDescription; report: QuantizeReport }> {
  check.checkOptions(options, quantizeChecks(await engine.call('choices', [])));
  const { signal, onProgress, calibration } = options;
  const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
  const facts = await engine.call('inspectModel', [model]);
  const config = configFrom(
    options,
    facts.operators.map(({ op }) => op),
    { hasSamples: calibration !== undefined, defaultRepairs: true },
  );
  const format = options.format ?? 'qdq';

  const { id: job, sweeps } = await engine.call('createQuantizer', [
    model,
    { ...config, labels: options.labels ?? [] },
    threads,
  ]);
  const reader = new SampleReader(calibration ?? [], sweeps);
  try {
    if (sweeps > 0 && calibration === undefined) {
      throw new ZeropointError('invalid-argument', `calibration: mode '${config.mode}' needs samples`, {
        hint: 'pass samples like those the model will see, or use the modes dynamic or weight-only',
      });
    }
    const expected = calibration === undefined ? 0 : countOf(calibration);
    const kept = new KeptSamples(options.layerErrors ?? 4);
    const advance = (milliseconds: number) => engine.call('advanceQuantizer', [job, milliseconds]);

    for (let sweep = 0; ; sweep += 1) {
      const state = await engine.drive(
        advance,
        ({ idle }) => idle,
        signal,
        ({ phase, done, total }) => onProgress?.({ phase, done, total }),
      );
      if (state.finished) break;
      let samples = 0;
      for await (const feeds of reader.sweep()) {
        await engine.call('beginSample', [job, fedOf(feeds)]);
        if (sweep === 0) kept.offer(feeds);
        const after = await engine.drive(
          advance,
          ({ idle }) => idle,
          signal,
          ({ phase, done, total }) => {
            const fraction = total > 0 ? Math.min(done / total, 1) : 0;
            onProgress?.({ phase, done: samples + fraction, total: expected });
          },
        );
        samples += 1;
        if (after.enough) break;
      }
      if (samples === 0) {
        throw new ZeropointError('invalid-argument', 'calibration: there is not one sample');
      }
      await engine.call('endSamples', [job]);
    }
    if (sweeps === 0 && calibration !== undefined && kept.samples.length === 0) {
      for await (const feeds of reader.sweep()) {
        if (!kept.offer(feeds)) break;
      }
    }

    const { model: quantized, report, ranges } = await engine.call('quantizerResult', [job]);
    try {
      const errors = await measureLayers(engine, model, quantized.id, kept, threads, options);
      const sizeAfter = await engine.call('sizeOfModel', [quantized.id, format]);
      const layers = report.layers.map((layer) => {
        const error = errors.get(layer.output);
        return error ? { ...layer, error, findings: [...layer.findings, ...error.findings] } : layer;
      });
      return {
        model: quantized,
        report: {
          ...report,
          layers,
          findings: findingsOf(layers),
          tradeoff: tradeoffOf(report.trials),
          format,
          sizeBefore,
          sizeAfter,
          ranges,
        },
      };
    } catch (error) {
      engine.release(quantized.id);
      throw error;
    }
  } finally {
    engine.release(job);
    await reader.close();
  }
}

function findingsOf(layers: QuantizeReport['layers']): Finding[] {
  const own = ({ weight, error }: QuantizeReport['layers'][number]) =>
    Math.min(
      ...[weight?.sqnr, error?.ownSqnr].map((sqnr) =>
        sqnr === undefined || Number.isNaN(sqnr) ? Infinity : sqnr,
      ),
    );
  return layers
    .filter(({ findings }) => findings.length > 0)
    .sort((a, b) => (own(a) < own(b) ? -1 : own(a) > own(b) ? 1 : 0))
    .flatMap(({ node, op, findings }) => findings.map((text) => ({ node, op, text })));
}

function tradeoffOf(trials: readonly Trial[]): Trial[] {
  const better = (a: Trial, b: Trial) =>
    a.weightBytes <= b.weightBytes && a.sqnr >= b.sqnr && (a.weightBytes < b.weightBytes || a.sqnr > b.sqnr);
  return trials
    .filter((trial) => !Number.isNaN(trial.sqnr) && !trials.some((other) => better(other, trial)))
    .sort((a, b) => a.weightBytes - b.weightBytes);
}

async function measureLayers(
  engine: Engine,
  reference: Id,
  quantized: Id,
  kept: KeptSamples,
  threads: number,
  { signal, onProgress }: QuantizeOptions,
): Promise<Map<string, LayerError>> {
  const samples = kept.samples;
  if (samples.length === 0) return new Map();
  const job = await engine.call('createLayerErrors', [reference, quantized, threads]);
  try {
    for (const [index, feeds] of samples.entries()) {
      await engine.call('beginComparison', [job, fedOf(feeds)]);
      await engine.drive(
        (milliseconds) => engine.call('advanceComparison', [job, milliseconds]),
        ({ finished }) => finished,
        signal,
        ({ done, total }) =>
          onProgress?.({
            phase: 'measure',
            done: index + (total > 0 ? Math.min(done / total, 1) : 0),
            total: samples.length,
          }),
      );
    }
    const errors = await engine.call('layerErrors', [job]);
    return new Map(errors.map((error) => [error.output, error]));
  } finally {
    engine.release(job);
  }
}
