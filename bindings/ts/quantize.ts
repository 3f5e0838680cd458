import type { Engine } from './engine/client.ts';
import type { Id, ModelDescription } from './engine/host.ts';
import type {
  Choices,
  ConfigIn,
  EngineReport,
  LayerError,
  LayerReport,
  Range,
  TrainingIn,
  TrainingProgress,
  Trial,
} from './engine/module.ts';
import { ZeropointError } from './errors.ts';
import { buffersOf, countOf, isSamples, KeptSamples, SampleReader, type Samples, take } from './feeds.ts';
import * as check from './options.ts';
import { provenanceKey, provenanceOf, SamplesHash } from './provenance.ts';
import type { Feeds } from './tensor.ts';

/** Where long work stands. `total` is 0 while it is not known. */
export interface Progress {
  /** `prepare`, `calibrate`, `place`, `measure`, ... */
  phase: string;
  /** Steps of the phase, or samples where it goes through samples. */
  done: number;
  total: number;
  /** While a model is trained (mode `qat`), and of the training that was. */
  training?: TrainingProgress;
}

export type QuantizeMode = 'auto' | 'static' | 'dynamic' | 'weight-only' | 'float16' | 'qat' | (string & {});
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
   * - `weight-only`: int8 weights per channel, or int4 or int2 in blocks; activations stay float
   * - `float16`: values as float16, weights and activations, as WebGPU computes: half the size and the memory. Layers that
   *   would overflow or lose much stay float32: by rules, and with `calibration` by what the samples show; the report says
   *   which, and why. Weights alone as float16, computed in float32: `weight-only` with `weights: 'float16'`
   * - `auto`: tries `static` with other observers and each repair, keeps what is best on a quarter of the samples that
   *   calibration does not see, and leaves a few layers in float where that is worth it; the report's `trials` say what
   *   was tried. Takes several times as long
   * - `qat`: as `static`, and then trained on the samples until its outputs are those of the float model again
   */
  mode?: QuantizeMode | undefined;
  /** The type of quantized activations (static only). Default: uint8. */
  activations?: 'uint8' | 'int8' | 'uint16' | 'int16' | undefined;
  /**
   * The type of quantized weights. Default: int8. Those of 4 and 2 bits are for `weight-only`, which has them in blocks,
   * and so is float16; 4 bits also for `static` and `qat`. There are no 3 bits: ONNX has no such type, and `MatMulNBits` does not take them.
   */
  weights?: 'int8' | 'uint8' | 'int4' | 'uint4' | 'int2' | 'uint2' | 'float16' | undefined;
  /** Weights: one scale for each output channel (default), or one for a whole tensor. */
  perChannel?: boolean | undefined;
  /** Activations: the zero point in the middle of the type. Default: false, wherever the range puts it. */
  symmetric?: boolean | undefined;
  /**
   * Weights: the zero point in the middle of the type. Default: false for unsigned types, whose zero point is stored
   * anyway, and for `weight-only` with 4 or 2 bits, where one for each block is worth its half (or quarter) byte; else true,
   * and in mode `dynamic`, since `ConvInteger` takes one zero point only.
   */
  symmetricWeights?: boolean | undefined;
  /** 7-bit weights, for runtimes and machines whose 8-bit products saturate. Default: false. */
  reduceRange?: boolean | undefined;
  /** Elements that share a scale in weights of 4 and 2 bits: 16, 32 (default), 64, 128 or 256. */
  blockSize?: number | undefined;
  /** What the model takes where its inputs are quantized (mode `float16`: float16). Default: float. */
  inputs?: 'float' | 'quantized' | undefined;
  /** What the model gives where its outputs are quantized (mode `float16`: float16). Default: float. */
  outputs?: 'float' | 'quantized' | undefined;
  /** How ranges are found from samples: see `choices()`. Default: min-max. */
  observer?: string | undefined;
  /** Quantize only these nodes, by name, and operators, by type. */
  include?: readonly string[] | undefined;
  /** Leave these nodes, by name, and operators, by type, as they are. Wins over `include`. */
  exclude?: readonly string[] | undefined;
  /**
   * Another precision for single nodes, by name: 8 or 16 bits or `float` for activations, 4 or 8 bits (`weight-only`:
   * or 2) or `float` for weights, which may be `float16` where activations are `float`.
   */
  precision?: Readonly<Record<string, { activations?: string; weights?: string }>> | undefined;
  /** Ranges by value name, used as they are instead of observed. */
  ranges?: Readonly<Record<string, Range>> | undefined;
  /**
   * Give those layers more than 8 bits whose quantization harms the outputs most: as few as a quality needs, or as many
   * as fit a size. Each gets what costs least: 16-bit activations where they are enough (a quality or drop), float
   * activations with float16 weights, or float. The report's layers say which; its `tradeoff` has the points between.
   * Needs samples. A runtime's name says the same as `runtime`.
   */
  target?: Target | string | undefined;
  /**
   * Where the file is to run: `onnxruntime` (default), `onnxruntime-web`, `webgpu`, `openvino`, `tensorrt`, `qnn` or
   * `zeropoint`; docs/RUNTIMES.md has what each takes. Options that nobody chose become what it takes, and those that it
   * does not take are an error; the report's warnings say what was changed, and which nodes of the file it does not take.
   */
  runtime?: string | undefined;
  /** Measure what quantizing each layer alone does to the outputs (targets do; `auto` for a few). Needs samples. */
  sensitivity?: boolean | undefined;
  /** Numbers that observers and repairs take, by name: see `choices()`. */
  parameters?: Readonly<Record<string, number>> | undefined;
  /**
   * Repairs of lost accuracy, by name. All but `hqq` need samples, which are then read more than once. By default those
   * that are worth their time for everyone: `smooth` and `bias-correction` where activations are calibrated, `gptq` for
   * weights of 4 or 2 bits if there are samples. Those that run by default are checked on samples held out and taken back
   * where they do not help; the report's `repairs` says so. `[]`: none.
   *
   * - `equalization`: channels between layers are scaled so that weights and activations round well, with 4-bit weights
   *   above all (after Nagel et al. 2019)
   * - `smooth`: SmoothQuant, for transformers: outlier channels of activations go into the weights (Xiao et al. 2023)
   * - `hqq`: weight-only: scales that suit the many weights rather than the outliers (Badri and Shaji 2023)
   * - `gptq`: rounding of one weight makes up for that of others (Frantar et al. 2022)
   * - `adaround`: learned rounding, layer by layer (Nagel et al. 2020)
   * - `bias-correction`: biases take back what the means of channels have shifted by (Nagel et al. 2019)
   */
  repairs?: readonly string[] | undefined;
  /** Mode `qat`: fewer bits than the types have, 2 to 8. Activations are clipped to so many integers of their type. */
  weightBits?: number | undefined;
  activationBits?: number | undefined;
  /** Mode `qat`: how it trains. */
  training?: TrainingOptions | undefined;
}

/**
 * Training needs no labels: by default the quantized model learns to answer as the float model does. Samples may bring
 * labels as further feeds, `target:` and the name of an output: class numbers (int64, one for each row), or values
 * shaped as the output.
 */
export interface TrainingOptions {
  /** How often each sample is seen. Default: 3; 0: not at all, only weightBits and activationBits take effect. */
  epochs?: number | undefined;
  /** The largest step; default: 0.001. */
  learningRate?: number | undefined;
  /** Samples of one step; default: 32. */
  batchSize?: number | undefined;
  /**
   * - `kl`: the float model's probabilities
   * - `mse`: its outputs, or the targets, where samples have them
   * - `cross-entropy`: class numbers that samples bring
   * - `auto` (default): as the targets say; without targets `kl` for rows of classes, else `mse`
   */
  loss?: 'auto' | 'kl' | 'mse' | 'cross-entropy' | undefined;
  optimizer?: 'adam' | 'sgd' | undefined;
  /**
   * How the learning rate goes on after the warm-up: down to nothing along a cosine (default), not at all, or in steps, to
   * a tenth at the half and a hundredth at three quarters.
   */
  schedule?: 'cosine' | 'constant' | 'step' | undefined;
  /** The part of all steps in which the learning rate rises; default: 0.05. */
  warmUp?: number | undefined;
  /** Of `sgd`; default: 0.9. */
  momentum?: number | undefined;
  /** Of weights, not of biases and scales; default: 0. */
  weightDecay?: number | undefined;
  /** The largest length of all gradients together; default: 1; 0: any. */
  clipNorm?: number | undefined;
  /** The part of the samples that is kept aside to choose the best epoch by; default: 0.1. */
  validation?: number | undefined;
  /**
   * - `learned` (default): by gradient descent, as the weights (LSQ, Esser et al. 2020)
   * - `moving-average`: those of activations follow the ranges that batches have, those of weights their largest values
   *   (Jacob et al. 2018)
   * - `fixed`: as calibrated
   */
  scales?: 'learned' | 'moving-average' | 'fixed' | undefined;
  /** Whether zero points of activations are learned (LSQ+, Bhalgat et al. 2020), or stay where they are (default). */
  zeroPoints?: 'learned' | 'fixed' | undefined;
  /**
   * Float values inside the model, by name, that are to be as in the float model too: the mean squared error of each,
   * relative to its power, is added to the loss.
   */
  intermediate?: readonly string[] | undefined;
  /**
   * Whether the model is trained block by block, from its inputs on: each block learns, with what the blocks before it
   * make, to give what the float model gives there (BRECQ, Li et al. 2021). Weights learn to which of the two integers
   * next to them they are rounded; their scales (unless `scales` is `fixed`) and biases are trained too. Made for few
   * samples: each one teaches a block by many numbers. `epochs` are those of each block. Another `loss` than `mse`,
   * `zeroPoints`, `intermediate`, `freeze` and checkpoints cannot be had with it. Default: false.
   */
  blocks?: boolean | undefined;
  /** Whether what comes before an operator without a gradient stays as it is; by default that is an error. */
  freeze?: boolean | undefined;
  /**
   * What samples, parameters and the values of a step may take, in bytes or as '500MB'; default: 2 GiB. A batch that
   * needs more goes in parts; where a single sample does, quantize() throws `out-of-memory`.
   */
  memoryLimit?: number | string | undefined;
  /** Gets the state of training after each epoch, for `resume`. Training waits for what it promises. */
  onCheckpoint?: ((checkpoint: Uint8Array<ArrayBuffer>) => void | Promise<void>) | undefined;
  /** Go on from a checkpoint of the same model, samples and settings: to the model that one run would have made. */
  resume?: Uint8Array | undefined;
  /** The same seed gives the same model; default: 1. */
  seed?: number | undefined;
  /** Ends training when it fires; the best so far is the result. (`signal` throws everything away.) */
  stop?: AbortSignal | undefined;
}

export interface QuantizeOptions extends SchemeOptions {
  /**
   * Samples that show which values occur; `static` needs them, `float16` and repairs use them. Read one at a time, and not kept; repairs read them again,
   * or, where they can be read only once, the first 256 MB of them.
   */
  calibration?: Samples | undefined;
  /**
   * The right class of each sample, from 0, in the order of `calibration`. Searches (`auto`, targets, sensitivities) then
   * count right answers: see `Trial.accuracy`. In mode `qat` they are the targets of the first output.
   */
  labels?: readonly number[] | undefined;
  /**
   * How toBytes() writes the result: `qdq`, Q/DQ pairs, or `qoperator`, operators that take integers where there are such
   * (`QLinearConv`, `MatMulInteger`, `MatMulNBits`, ...) and Q/DQ elsewhere. By default what ONNX Runtime computes fastest:
   * operators for `dynamic` and for `weight-only` with 4 or 2 bits, Q/DQ for all others. Q/DQ has no type for 2 bits.
   */
  format?: ModelFormat | undefined;
  /**
   * The opset of ai.onnx that toBytes() writes, from 7 to 28. By default the lowest that can say the result, so that old
   * runtimes take it: see `QuantizeReport.opset`. One that is too low is an error which names a node that needs more.
   */
  opset?: number | undefined;
  /**
   * How many samples the report's per-layer errors are measured on afterwards: the first ones, at most 64 MB. Default
   * and most: 4; 0: no errors.
   */
  layerErrors?: number | undefined;
  /** Threads to calibrate with. By default what configure() said. */
  threads?: number | undefined;
  /** The work goes on when what it promises is fulfilled: a pause is a promise that is fulfilled later. */
  onProgress?: ((progress: Progress) => unknown) | undefined;
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
  /** The opset of ai.onnx that the file has. */
  opset: number;
  /** Bytes of the file, before and after. */
  sizeBefore: number;
  sizeAfter: number;
  /** What calibration found, by value name: for SchemeOptions.ranges of another run. */
  ranges: Record<string, Range>;
}

export const formats = ['qdq', 'qoperator'] as const;
const twoBitTypes = ['int2', 'uint2'];
/** Those that weight-only has in blocks. */
const blockTypes = ['int4', 'uint4', ...twoBitTypes];
const weightTypes = ['int8', 'uint8', ...blockTypes, 'float16'];
const activationTypes = ['uint8', 'int8', 'uint16', 'int16'];
const blockSizes = [16, 32, 64, 128, 256];

/** Those that files are written as. */
export const opsetCheck: check.Check = check.integer(7, 28);

const range: check.Check = (value) => {
  const { min, max } = (value ?? {}) as { min?: unknown; max?: unknown };
  return typeof min === 'number' && typeof max === 'number' && min <= max
    ? undefined
    : '{ min, max } is needed';
};

const weights: check.Check = (value) => {
  const wrong = check.oneOf(weightTypes)(value);
  return wrong && /^u?int3$/.test(String(value))
    ? `${wrong}: files have no place for 3 bits, which would take as much as 4`
    : wrong;
};

const precision: check.Check = (value) => {
  const wrong = check.recordOf(check.oneOf(['float', ...activationTypes, ...weightTypes]))(value);
  if (wrong) return wrong;
  const unknown = Object.keys(value as object).find((key) => key !== 'activations' && key !== 'weights');
  return unknown === undefined ? undefined : `'${unknown}' is neither activations nor weights`;
};

const bits: check.Check = check.integer(2, 8);
const atLeastZero: check.Check = (value) =>
  check.finite(value) ?? ((value as number) >= 0 ? undefined : `${value} is negative`);
const part: check.Check = (value) =>
  atLeastZero(value) ?? ((value as number) < 1 ? undefined : `${value} is not below 1`);

const trainingChecks: Record<string, check.Check> = {
  epochs: check.integer(0, 100000),
  learningRate: (value) =>
    check.finite(value) ?? ((value as number) > 0 ? undefined : `${value} is not above 0`),
  batchSize: check.integer(1, 65536),
  loss: check.oneOf(['auto', 'kl', 'mse', 'cross-entropy']),
  optimizer: check.oneOf(['adam', 'sgd']),
  schedule: check.oneOf(['cosine', 'constant', 'step']),
  warmUp: part,
  momentum: part,
  weightDecay: atLeastZero,
  clipNorm: atLeastZero,
  validation: part,
  scales: check.oneOf(['learned', 'moving-average', 'fixed']),
  zeroPoints: check.oneOf(['learned', 'fixed']),
  intermediate: check.listOf(check.string),
  blocks: check.boolean,
  freeze: check.boolean,
  memoryLimit: (value) => (bytesFrom(value) === undefined ? 'bytes are needed, as in 500MB' : undefined),
  onCheckpoint: check.func,
  resume: (value) => (value instanceof Uint8Array ? undefined : 'a Uint8Array is needed'),
  seed: check.integer(0, Number.MAX_SAFE_INTEGER),
  stop: check.signal,
};

const training: check.Check = (value) => {
  try {
    check.checkOptions(value, trainingChecks);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
};

const runtimeNames = (choices: Choices) => check.oneOf(choices.runtimes.map(({ name }) => name));

export const schemeChecks = (choices: Choices): Record<string, check.Check> => ({
  mode: check.oneOf(choices.modes),
  activations: check.oneOf(activationTypes),
  weights,
  perChannel: check.boolean,
  symmetric: check.boolean,
  symmetricWeights: check.boolean,
  reduceRange: check.boolean,
  blockSize: (value) =>
    blockSizes.includes(value as number) ? undefined : `${value} is not one of ${blockSizes.join(', ')}`,
  inputs: check.oneOf(['float', 'quantized']),
  outputs: check.oneOf(['float', 'quantized']),
  observer: check.oneOf(choices.observers),
  runtime: runtimeNames(choices),
  include: check.listOf(check.string),
  exclude: check.listOf(check.string),
  precision: check.recordOf(precision),
  ranges: check.recordOf(range),
  parameters: check.recordOf(check.finite),
  repairs: check.listOf(check.oneOf(choices.repairs)),
  target: (value) => {
    if (typeof value === 'string') return runtimeNames(choices)(value);
    try {
      targetFrom(value as Target);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  },
  sensitivity: check.boolean,
  weightBits: bits,
  activationBits: bits,
  training,
});

const quantizeChecks = (choices: Choices): Record<string, check.Check> => ({
  ...schemeChecks(choices),
  calibration: (value) => (isSamples(value) ? undefined : 'an Iterable or AsyncIterable of feeds is needed'),
  labels: check.listOf(check.integer(0, 2 ** 31 - 1)),
  format: check.oneOf(formats),
  opset: opsetCheck,
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

function targetFrom(target: Target | string | undefined): {
  targetSqnr: number;
  targetBytes: number;
  targetDrop: number;
} {
  const none = { targetSqnr: 0, targetBytes: 0, targetDrop: 0 };
  if (target === undefined || typeof target === 'string') return none;
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

const targetPrefix = 'target:';

/** What the model itself is fed. */
const withoutTargets = (feeds: Feeds): Feeds =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => !name.startsWith(targetPrefix)));

const trainingFrom = ({ training = {}, weightBits = 0, activationBits = 0 }: SchemeOptions): TrainingIn => ({
  epochs: training.epochs ?? 3,
  learningRate: training.learningRate ?? 1e-3,
  batchSize: training.batchSize ?? 32,
  loss: training.loss ?? 'auto',
  optimizer: training.optimizer ?? 'adam',
  schedule: training.schedule ?? 'cosine',
  warmUp: training.warmUp ?? 0.05,
  momentum: training.momentum ?? 0.9,
  weightDecay: training.weightDecay ?? 0,
  clipNorm: training.clipNorm ?? 1,
  validation: training.validation ?? 0.1,
  scales: training.scales ?? 'learned',
  learnZeroPoints: training.zeroPoints === 'learned',
  intermediate: training.intermediate ?? [],
  blocks: training.blocks ?? false,
  freeze: training.freeze ?? false,
  seed: training.seed ?? 1,
  weightBits,
  activationBits,
  memoryLimit: bytesFrom(training.memoryLimit ?? 2 ** 31) ?? 2 ** 31,
  checkpoints: training.onCheckpoint !== undefined,
  resume: training.resume ?? null,
});

/** The engine's configuration. Names that are operators of the model are taken as such, all others as nodes. */
export function configFrom(
  options: SchemeOptions & { format?: ModelFormat | undefined },
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
    symmetricWeights:
      options.symmetricWeights ??
      !(
        (options.weights?.startsWith('u') && options.mode !== 'dynamic') ||
        (options.mode === 'weight-only' && blockTypes.includes(options.weights ?? ''))
      ),
    symmetricActivations: options.symmetric ?? false,
    reduceRange: options.reduceRange ?? false,
    blockSize: options.blockSize ?? 32,
    quantizedInputs: options.inputs === 'quantized',
    quantizedOutputs: options.outputs === 'quantized',
    observer: options.observer ?? 'min-max',
    format: options.format ?? '',
    runtime: options.runtime ?? (typeof options.target === 'string' ? options.target : 'onnxruntime'),
    chosen: Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [name])),
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
    training: trainingFrom(options),
  };
}

/** Whether these options make quantize() ask for samples. */
export async function needsSamples(engine: Engine, model: Id, given: SchemeOptions): Promise<boolean> {
  const options = check.taken(given);
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
  given: QuantizeOptions,
  source?: Promise<string | undefined>,
): Promise<{ model: ModelDescription; report: QuantizeReport }> {
  const options = check.taken(given, ['calibration']); // whose samples are taken one by one
  check.checkOptions(options, quantizeChecks(await engine.call('choices', [])));
  const { signal, onProgress, calibration } = options;
  const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
  const facts = await engine.call('inspectModel', [model]);
  const config = configFrom(
    options,
    facts.operators.map(({ op }) => op),
    { hasSamples: calibration !== undefined, defaultRepairs: true },
  );
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
    const hashed = new SamplesHash();
    const kept = new KeptSamples(options.layerErrors ?? 4);
    const { stop, onCheckpoint } = options.training ?? {};
    let savedEpoch = 0;
    const saveCheckpoint = async (now: TrainingProgress | undefined) => {
      if (!onCheckpoint || !now || now.savedEpoch === savedEpoch) return;
      const checkpoint = await engine.call('checkpointOf', [job]);
      if (checkpoint) await onCheckpoint(checkpoint);
      savedEpoch = now.savedEpoch;
    };
    const advance = async (milliseconds: number) => {
      if (stop?.aborted) await engine.call('stopQuantizer', [job]);
      return engine.call('advanceQuantizer', [job, milliseconds]);
    };

    for (let sweep = 0; ; sweep += 1) {
      const state = await engine.drive(
        advance,
        ({ idle }) => idle,
        signal,
        async ({ phase, done, total, training }) => {
          await saveCheckpoint(training);
          await onProgress?.({ phase, done, total, ...(training && { training }) });
        },
      );
      if (state.finished) break;
      let samples = 0;
      for await (const feeds of reader.sweep()) {
        const taken = take(feeds);
        if (sweep === 0) kept.offer(withoutTargets(feeds));
        if (sweep === 0) hashed.add(taken);
        await engine.call('beginSample', [job, taken], buffersOf(taken));
        const after = await engine.drive(
          advance,
          ({ idle }) => idle,
          signal,
          ({ phase, done, total }) => {
            const fraction = total > 0 ? Math.min(done / total, 1) : 0;
            return onProgress?.({ phase, done: samples + fraction, total: expected });
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
        if (!kept.offer(withoutTargets(feeds))) break;
      }
    }

    const { model: quantized, report, ranges } = await engine.call('quantizerResult', [job]);
    const { format } = report;
    try {
      const errors = await measureLayers(engine, model, quantized.id, kept, threads, options);
      const made = await provenanceOf(options, report, format, source, hashed);
      await engine.call('addMetadata', [quantized.id, provenanceKey, made]);
      const { size: sizeAfter, opset } = await engine.call('measureModel', [
        quantized.id,
        format,
        options.opset ?? 0,
      ]);
      const broken = await engine.call('brokenRules', [quantized.id, format, config.runtime, opset]);
      const layers = report.layers.map((layer) => {
        const error = errors.get(layer.output);
        return error ? { ...layer, error, findings: [...layer.findings, ...error.findings] } : layer;
      });
      return {
        model: quantized,
        report: {
          ...report,
          warnings: [...report.warnings, ...broken, ...lossesOf([...errors.values()], quantized.outputs)],
          layers,
          findings: findingsOf(layers),
          tradeoff: tradeoffOf(report.trials),
          opset,
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

/** Outputs that agree less with the float model's are no longer the same answers: about 14 dB. */
const poorCosine = 0.98;

/** A sentence when the outputs are lost, with the layer where that begins. `errors`: in the order of the graph. */
function lossesOf(errors: readonly LayerError[], outputs: ModelDescription['outputs']): string[] {
  const isPoor = ({ cosine }: LayerError) => cosine < poorCosine;
  const [worst] = errors
    .filter((error) => isPoor(error) && outputs.some(({ name }) => name === error.output))
    .sort((a, b) => a.cosine - b.cosine);
  const first = errors.find(isPoor);
  if (!worst || !first) return [];
  return [
    `output '${worst.output}' has lost what the float model says: their cosine on the samples is ` +
      `${worst.cosine.toFixed(3)} (${worst.sqnr.toFixed(1)} dB). The first layer whose result is that far off is ` +
      `'${first.node}' (${first.op}): a target (sqnr: 20) or mode auto keeps such layers in float, or exclude it and ` +
      'the layers before it',
  ];
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
      const taken = take(feeds);
      await engine.call('beginComparison', [job, taken], buffersOf(taken));
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
