// The Embind surface of bindings/*.cpp, as TypeScript sees it. Internal to engine/: the rest of the package
// goes through EngineHost.
import type { ErrorCode } from '../errors.ts';
import type { TensorType } from '../tensor.ts';

/** What every call answers: the engine never throws into JavaScript. */
export type Answer<T> =
  | { value: T; error?: undefined }
  | {
      value?: undefined;
      error: { code: ErrorCode; message: string; node: string; op: string; tensor: string; hint: string };
    };

/** An object of the engine's; it lives until it is deleted. */
export interface Handle {
  delete(): void;
}

/** A dimension: a number, a name, or '?' for one that is not known. */
export type Dim = number | string;

/** An input or output of a model: its name, element type and dimensions (numbers, names or `?`). */
export interface ValueInfo {
  name: string;
  type: TensorType;
  /** Null when not even the number of dimensions is known. */
  dims: readonly Dim[] | null;
}

export interface BufferHandle extends Handle {
  /** Valid until the engine's memory grows: fill it at once. */
  view(): Uint8Array;
}

/** A tensor on its way in: `bytes`, which are copied, for all types but strings. */
export interface FeedIn {
  name: string;
  type: string;
  dims: readonly number[];
  bytes?: Uint8Array;
  strings?: readonly string[];
}

/** A tensor on its way out. */
export type TensorOut = { name: string; dims: number[] } & (
  | { type: 'string'; strings: string[] }
  | { type: Exclude<TensorType, 'string'>; bytes: Uint8Array<ArrayBuffer> }
);

export interface Steps {
  done: number;
  total: number;
}

export interface ModelHandle extends Handle {
  /** `folded`: the file has operators of integers that Q/DQ pairs were folded into. */
  describe(): Answer<{
    inputs: ValueInfo[];
    optionalInputs: ValueInfo[];
    outputs: ValueInfo[];
    folded: boolean;
  }>;
}

/** How a model is written. */
export interface FileForm {
  format: string;
  /** 0: the lowest that can hold the model. */
  opset: number;
  /** Of the model's file: those of its weights are called after it. */
  name: string;
  /** Weights lie in files of their own, however small the model is. */
  externalData: boolean;
  /** The most bytes of such a file. 0: there are none, and what one file cannot hold is an error. */
  chunkSize: number;
}

export interface WrittenHandle extends Handle {
  opset(): number;
  /** The model's first. */
  files(): { name: string; size: number }[];
  /** Fills `to` with the bytes of a file from `from` on. */
  read(file: number, from: number, to: Uint8Array): Answer<undefined>;
}

/** What a model has in another file: a tensor that is there, the file, and from where on how many bytes. */
export interface PieceInfo {
  tensor: string;
  /** A path below the model's folder. */
  location: string;
  offset: number;
  bytes: number;
}

/** Pieces that stay in files; called by the engine while it works, in its thread. */
export interface WeightFiles {
  /** Fills `into`; says what is wrong. */
  read(piece: number, into: Uint8Array): string;
  /** Keeps bytes: the number of the piece that they are, -1 where there is no place for them, or what is wrong. */
  put(bytes: Uint8Array): number | string;
  /** The tensors that a program which was stopped had made of the piece, in this way; null: none. */
  noted(piece: number, how: string): NotedTensor[] | null;
  /** Notes them for the next one; says what is wrong. */
  note(piece: number, how: string, tensors: readonly NotedTensor[]): string;
  close(): void;
}

/** A tensor in a piece. */
export interface NotedTensor {
  type: string;
  dims: readonly number[];
  piece: number;
  bytes: number;
}

/** What a model's file says of itself. */
export interface ModelFacts {
  name: string;
  producer: string;
  producerVersion: string;
  description: string;
  /** How many operators it has, in branches too. */
  nodes: number;
  /** Whether something in it is quantized already. */
  quantized: boolean;
  /** Shapes and types that the file declares and its operators contradict: the operators count. */
  warnings: string[];
  /** Elements of all constants. */
  parameters: number;
  /** Bytes of all constants. */
  weightBytes: number;
  /** Of a model that was loaded: those of the file, some of which become several here. Else those that it has here. */
  operators: { op: string; count: number }[];
  /** As the file had them; the engine works with the newest form it knows. */
  opsets: { domain: string; version: number }[];
  /** The lowest opset of ai.onnx that can hold the model: see QuantizeOptions.opset. */
  lowestOpset: number;
  metadata: { key: string; value: string }[];
}

/** Where a run stands; with its outputs when it is finished. */
export interface RunState extends Steps {
  finished: boolean;
  outputs?: TensorOut[];
}

export interface SessionHandle extends Handle {
  /** Starts a run and works for about `milliseconds`. */
  begin(feeds: FeedIn[], milliseconds: number): Answer<RunState>;
  /** Goes on for about `milliseconds`. */
  advance(milliseconds: number): Answer<RunState>;
  steps(): Answer<StepInfo[]>;
  /** Warnings about feeds and outputs so far. */
  warnings(): Answer<string[]>;
  /** Bytes of the arena of the plan in use. */
  arenaBytes(): number;
}

/** One step of a plan: the node, and what its kernel computes with (`int8`, `float32`, `table`, ...). */
export interface StepInfo {
  node: string;
  op: string;
  kernel: string;
  /** What the last run spent on it. */
  milliseconds: number;
}

/** The smallest and the largest number that a value covers. */
export interface Range {
  min: number;
  max: number;
}

/** What makes a configuration: src/quant/quant.h, Config. */
export interface ConfigIn {
  /** What was chosen, by the names of the schema, with sizes in bytes; `training` holds the options of training. */
  options: Readonly<Record<string, unknown>>;
  /** Repairs that suit the configuration too, where none were chosen. */
  defaultRepairs: boolean;
  hasSamples: boolean;
  /** Nothing is quantized: the result is the model as it is prepared. */
  onlyPrepares: boolean;
  labels: readonly number[];
  /** Whether training makes checkpoints. */
  checkpoints: boolean;
  /** A checkpoint to go on from; the host makes a buffer of it. */
  resume: Uint8Array | BufferHandle | null;
}

/** How samples come to a quantization: src/quant/quant.h, Feeding. */
export interface FeedingIn {
  /** A sample that was given cannot be given again. */
  once: boolean;
  /** How many samples the errors of layers are measured on. */
  layerErrors: number;
}

/** Where training stands. */
export interface TrainingProgress {
  /** The epoch under way, from 1; 0 before the first step. */
  epoch: number;
  epochs: number;
  /** Steps taken, of all epochs. */
  step: number;
  steps: number;
  /** A running mean over the last steps. */
  loss: number;
  /** After the last epoch, on samples kept aside (or on all of them, where there are few). */
  validationLoss: number;
  /** Of the checkpoint that is kept. */
  bestLoss: number;
  /** Before the first step. */
  firstLoss: number;
  stepMilliseconds: number;
  remainingMilliseconds: number;
  /** The memory that training takes: samples, parameters and the values of a step. Known before the first step. */
  memoryBytes: number;
  /** The epoch after which there is a checkpoint; 0: there is none. */
  savedEpoch: number;
}

/** How far the ranges (largest magnitudes) of channels lie apart; channels that are always 0 do not count. */
export interface ChannelSpread {
  /** Of the largest range to the median one: 1 or more. */
  ratio: number;
  /** The channel that has the largest, from 0. */
  channel: number;
}

/** How values are distributed. Bin `i` holds `left + i * width` up to `left + (i + 1) * width`. */
export interface Histogram {
  left: number;
  /** 0: all values were 0. */
  width: number;
  /** Values in each bin: 64 bins at most. */
  counts: number[];
  /** Values that are exactly 0, which no bin holds. */
  zeros: number;
}

/** A weight that was quantized. */
export interface WeightReport {
  name: string;
  type: TensorType | 'int2' | 'uint2';
  granularity: 'tensor' | 'channel' | 'block';
  elements: number;
  /** How many scales. */
  scales: number;
  /** 0: no blocks. */
  blockSize: number;
  /** Of the float weight. */
  min: number;
  max: number;
  /** Of the dequantized weight against the float one, in dB. NaN: not measured; Infinity: exact. */
  sqnr: number;
  /** Of output channels. Null: not measured, or there are none. */
  spread: ChannelSpread | null;
}

/** A value that was quantized on its way into a layer or out of it. */
export interface ActivationReport {
  /** Its name in the float model. */
  value: string;
  /** Of the layer; else its output. */
  input: boolean;
  type: TensorType;
  /** The range it covers. */
  min: number;
  max: number;
  /** 0: not known yet, or found at run time. */
  scale: number;
  zeroPoint: number;
  /** Found at run time. */
  dynamic: boolean;
}

/** A value for an option that helps. */
export interface EngineRemedy {
  /** Its name in the schema. */
  option: string;
  /** As the command line takes it; empty: the layer that the finding is about. */
  value: string;
}

/** What is wrong with a layer, as data: findings.ts has the words. */
export interface EngineFinding {
  code: string;
  numbers: Record<string, number>;
  remedies: EngineRemedy[];
}

/** How one layer was quantized, and why. */
export interface LayerReport {
  node: string;
  /** `Conv` or `com.microsoft.Gelu`. */
  op: string;
  /** The name of its first output. */
  output: string;
  quantized: boolean;
  /** One sentence in plain words. */
  why: string;
  /**
   * Faults of this layer and options that help, a sentence each, with the command line's names of options:
   * "channel 17 of this depthwise Conv spans 40 times the median range, ...: use a scale for each channel". They are
   * about its weight and, if errors were measured, about its output. Empty: it has no faults.
   */
  findings: string[];
  weight: WeightReport | null;
  activations: ActivationReport[];
  /** Multiply-accumulates of one run; 0: none, or shapes unknown. */
  macs: number;
  /** Of the model's, 0...1. */
  macsShare: number;
  /** The error of the model's outputs when this layer alone is quantized, if it was measured. */
  sensitivity?: { sqnr: number; cosine: number };
}

/** A layer's report, or one of layers, as the engine gives it: findings are data. */
export type Unworded<T> = T extends { findings: string[] }
  ? { [K in keyof Omit<T, 'findings'>]: Unworded<T[K]> } & { findings: EngineFinding[] }
  : T extends { layers: (infer L)[] }
    ? Omit<T, 'layers'> & { layers: Unworded<L>[] }
    : T;

/** A way of quantizing that a search (mode `auto`, or a target) tried. */
export interface Trial {
  /** In plain words. */
  what: string;
  /** Signal to noise of the model's outputs in dB, over samples that calibration has not seen. */
  sqnr: number;
  /** The smallest of any output. */
  cosine: number;
  /**
   * With labels, the share of right answers that it loses against the float model; else the share of answers that differ
   * from the float model's. An answer is the largest element of a row. NaN: no output has rows of two or more.
   */
  drop: number;
  /** Share of right answers; the float model's is `accuracy + drop`. NaN: no labels. */
  accuracy: number;
  weightBytes: number;
  /** Layers with weights whose activations it leaves in float. */
  floatLayers: number;
  /** Layers whose activations have 16 bits. They cost no bytes; like float ones they run on float kernels here. */
  wideLayers: number;
  /** It was the best so far. The last one kept is the result. */
  kept: boolean;
  /** The options that make it again: `model.quantize({ ...yourOptions, ...trial.options })`. */
  options: TrialOptions;
}

/** SchemeOptions that take a caller's options to those of a trial. */
export interface TrialOptions {
  mode: string;
  observer: string;
  repairs: string[];
  parameters: Record<string, number>;
  exclude: string[];
  precision: Record<string, { activations: string; weights: string }>;
  target: undefined;
  sensitivity: boolean;
}

/** src/quant/report.h: Report. */
export interface EngineReport {
  mode: string;
  /** The form that toBytes() writes by default: as chosen, or as suits the mode. */
  format: 'qdq' | 'qoperator';
  layers: LayerReport[];
  warnings: string[];
  /** The effect of each repair and of training, a sentence each. */
  repairs: string[];
  /** The names of the repairs that ran. */
  repairsRun: string[];
  /** The tries of a search, in order; of mode `auto` and targets. */
  trials: Trial[];
  layersQuantized: number;
  /** Of all constants, scales included. */
  weightBytesBefore: number;
  weightBytesAfter: number;
  macs: number;
  macsQuantized: number;
  /** How many samples calibration saw. */
  samples: number;
}

/** The same, with the errors of the outputs of layers, if they were measured. */
export interface MeasuredReport extends EngineReport {
  layers: (LayerReport & { error?: LayerError })[];
}

export interface QuantizerState extends Steps {
  phase: string;
  /** That the phase has begun with. */
  samples: number;
  /** A sample is under way: `done` and `total` are of it. */
  running: boolean;
  /** How many samples there are; 0: not known. */
  expected: number;
  finished: boolean;
  /** It waits for measure(). */
  measures: boolean;
  /** The number, from 0, of the sample that it waits for; -1: it waits for none. */
  wanted: number;
  /** How often it went through all samples that it wanted. */
  sweep: number;
  training?: TrainingProgress;
}

/** What a report comes down to: src/quant/conclusions.h. */
export interface Conclusions {
  /** The layers, by index: those that lose most by themselves first. */
  order: number[];
  /** The trials, by index, that no other one beats in both bytes and quality: the smallest first. */
  tradeoff: number[];
  /** A sentence where outputs are no longer the float model's answers. */
  losses: string[];
}

export interface QuantizerHandle extends Handle {
  advance(milliseconds: number): Answer<boolean>;
  state(): QuantizerState;
  /** How often it may go through the samples; 0: it needs none. */
  sweeps(): number;
  /** Gives the sample that it waits for. */
  beginSample(feeds: FeedIn[]): Answer<undefined>;
  /** There is no such sample. */
  endSamples(): Answer<undefined>;
  /** Starts to measure the errors of layers. */
  measure(): Answer<undefined>;
  stop(): void;
  checkpoint(): Uint8Array<ArrayBuffer> | null;
  result(): Answer<ModelHandle>;
  report(): Answer<Unworded<MeasuredReport>>;
  conclusions(): Answer<Conclusions>;
  ranges(): Answer<Record<string, Range>>;
}

/** How one output of two models agrees over all samples. */
export interface OutputAgreement {
  output: string;
  /** Signal to quantization noise, in dB. Infinity: equal. */
  sqnr: number;
  cosine: number;
  /** The largest absolute difference. */
  maxAbs: number;
  /**
   * Share of rows (along the last dimension) whose largest element is the same, 0...1; for integer outputs, of equal
   * elements. NaN: the output has one element a row.
   */
  top1: number;
  rows: number;
  /**
   * Samples in which the output has other dimensions in the two models (a length that a layer computes). The other figures
   * leave them out, and are NaN if there is no other sample.
   */
  otherShapes: number;
}

export interface ComparisonResult {
  samples: number;
  /** Medians of a run, in milliseconds. */
  referenceMs: number;
  candidateMs: number;
  outputs: OutputAgreement[];
  /** In the order of the graph; empty where they were not asked for. */
  layers: Unworded<LayerError>[];
}

/** The error of one layer's output, over all samples. */
export interface LayerError {
  node: string;
  op: string;
  output: string;
  /** The value compared is one that the quantized model holds as integers. */
  quantized: boolean;
  /** Of the quantized model's value against the float one, in dB: errors accumulated up to here. */
  sqnr: number;
  /** Of rounding the float value itself to its integers, in dB. Infinity: not rounded. */
  ownSqnr: number;
  cosine: number;
  maxAbs: number;
  /** Share of float values outside the covered range, 0...1. */
  saturated: number;
  /** The number of these values. */
  outside: number;
  /** Of the float values. */
  histogram: Histogram;
  /** The range that the integers cover; values outside are cut off. Null: the value is not rounded. */
  clip: Range | null;
  /** Of the float values' channels. Null: they are not the channels of a product. */
  spread: ChannelSpread | null;
  /** Share of the error's energy that is a shift of each channel's mean, 0...1: a bias could correct it. */
  shifted: number;
  /** Faults of this value and options that help, a sentence each. */
  findings: string[];
}

export interface FormingHandle extends Handle {
  /** Works for about `milliseconds`; true when finished. */
  advance(milliseconds: number): Answer<boolean>;
  /** Layers, while it is under way. */
  progress(): Steps;
}

export interface ComparisonHandle extends Handle {
  begin(feeds: FeedIn[]): Answer<undefined>;
  /** Works for about `milliseconds`; true when finished. */
  advance(milliseconds: number): Answer<boolean>;
  /** Of the sample under way. */
  progress(): Steps;
  result(): Answer<ComparisonResult>;
}

/** Something registered in the engine. */
export interface Described {
  name: string;
  /** A few words. */
  title: string;
  /** What it does, in a sentence. */
  sentence: string;
}

/** A row of the table of everything that can be set: src/quant/options.h, Option. */
export interface OptionRow extends Described {
  /** `parameters`: a number that an observer or a repair takes. */
  group: 'scheme' | 'training' | 'file' | 'parameters';
  kind:
    | 'flag'
    | 'integer'
    | 'number'
    | 'bytes'
    | 'choice'
    | 'names'
    | 'target'
    | 'precision'
    | 'ranges'
    | 'parameters'
    | 'options';
  /** What holds where nobody chose. */
  default?: boolean | number | string | readonly string[];
  /** The same in words, where it is no one value. */
  fallback?: string;
  choices?: readonly string[];
  /** What an error says beside the choices. */
  refused?: string;
  /** The choices are what is registered: there may be others tomorrow. */
  open?: boolean;
  min?: number;
  max?: number;
  /** `min` itself is too small. */
  above?: boolean;
  /** `max` itself is too large. */
  below?: boolean;
  /** The command line's flag where it is not the name with hyphens. */
  flag?: string;
  /** The value that this flag sets, as text, where it takes none. */
  flagSets?: string;
  /** The modes that it does something in. */
  modes?: readonly string[];
  /** Of `parameters`: the observer, repair or stage that takes it. */
  owner?: string;
}

/** Everything that can be set, and what there is to choose from, as registered in the engine. */
export interface Schema {
  modes: readonly Described[];
  observers: readonly Described[];
  repairs: readonly Described[];
  /** Where files can run: what each takes, in words, and what files for it were checked with. */
  runtimes: readonly { name: string; title: string; checked: string; takes: string[] }[];
  options: readonly OptionRow[];
}

/** The choices of options, as registered in the engine: their names, and in `schema` everything about them. */
export interface Choices {
  modes: string[];
  observers: string[];
  repairs: string[];
  runtimes: Schema['runtimes'];
  /** The numbers that observers and repairs take: SchemeOptions.parameters. */
  options: { name: string; owner: string; default: number; min: number; max: number }[];
  schema: Schema;
}

/** What a module that only runs models has (`zeropoint/run`). */
export interface RunModule {
  allocate(bytes: number): Answer<BufferHandle>;
  externalPieces(model: BufferHandle): Answer<PieceInfo[]>;
  /** `weights`: what externalPieces() said, in its order, or files that it stays in. */
  readModel(model: BufferHandle, weights: readonly BufferHandle[] | WeightFiles): Answer<ModelHandle>;
  createSession(model: ModelHandle, options: { threads: number; integer: boolean }): Answer<SessionHandle>;
  info(): { instructionSet: string; relaxedDot: string; fusedMultiplyAdd: boolean };
  memory(): EngineMemory;
  /** Emscripten's, in the builds with threads. */
  PThread?: PThreads;
}

export interface EngineModule extends RunModule {
  inspectModel(model: ModelHandle): Answer<ModelFacts>;
  requireSupported(model: ModelHandle): Answer<undefined>;
  /**
   * The model with the dimensions fixed that have these names, and all of the inputs that have these shapes. `fold`: nodes that
   * follow from them alone become constants.
   */
  bindDims(
    model: ModelHandle,
    dims: Readonly<Record<string, number>>,
    shapes: Readonly<Record<string, readonly number[]>>,
    fold: boolean,
  ): Answer<ModelHandle>;
  /** What brings the model into a format, a few layers at a time: writeModel() and measureModel() find it then. */
  createForming(model: ModelHandle, format: string): Answer<FormingHandle>;
  writeModel(model: ModelHandle, form: FileForm): Answer<WrittenHandle>;
  /** What writeModel() would write: its files, its opset, and what of it this runtime does not take, in sentences. */
  measureModel(
    model: ModelHandle,
    form: FileForm,
    runtime: string,
  ): Answer<{ files: { name: string; size: number }[]; opset: number; broken: string[] }>;
  addMetadata(model: ModelHandle, key: string, value: string): Answer<undefined>;
  planOf(model: ModelHandle, config: ConfigIn, measureWeights: boolean): Answer<Unworded<EngineReport>>;
  createQuantizer(
    model: ModelHandle,
    config: ConfigIn,
    threads: number,
    feeding: FeedingIn,
  ): Answer<QuantizerHandle>;
  needsSamples(model: ModelHandle, config: ConfigIn): Answer<boolean>;
  /** What this machine does in a millisecond, measured for about so many. */
  measureSpeed(milliseconds: number, threads: number): Answer<SpeedOut>;
  estimateOf(
    model: ModelHandle,
    config: ConfigIn,
    expected: ExpectedIn,
    speed: SpeedOut,
  ): Answer<EstimateOut>;
  /** `layers`: compare the outputs of layers too. */
  createComparison(
    reference: ModelHandle,
    candidate: ModelHandle,
    threads: number,
    layers: boolean,
  ): Answer<ComparisonHandle>;
  /** Schema, as JSON. */
  schema(): Answer<string>;
}

/** src/quant/quant.h: Expected. */
export interface ExpectedIn {
  samples: number;
  layerErrors: number;
  /** A sample that was given cannot be given again. */
  once: boolean;
  /** Dimensions of a sample, by the name of the input. */
  dims: Readonly<Record<string, readonly number[]>>;
}

/** src/quant/quant.h: Speed. */
export interface SpeedOut {
  macs: number;
  touched: number;
}

/** src/quant/quant.h: Estimate. Bytes are beside what the model takes as it was read. */
export interface EstimateOut {
  phases: { name: string; bytes: number; milliseconds: number }[];
  weightBytesBefore: number;
  weightBytesAfter: number;
  /** Bytes that the file gains for nodes, their names, and the record of how it was made. */
  nodeBytes: number;
  /** False: some values' sizes do not follow from the shapes of samples, and count nothing. */
  whole: boolean;
}

/**
 * Bytes of WebAssembly memory: what is reserved (it only grows), what is allocated in it, and what it can have at most.
 */
export interface EngineMemory {
  reserved: number;
  used: number;
  limit: number;
}

/** The part of Emscripten's thread library that starts workers ahead. */
export interface PThreads {
  unusedWorkers: unknown[];
  runningWorkers: unknown[];
  allocateUnusedWorker(): void;
  loadWasmModuleToWorker(worker: unknown): Promise<unknown>;
}
