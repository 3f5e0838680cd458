import type { Client } from './engine/client.ts';
import type { EngineHost } from './engine/host.ts';
import type {
  ConfigIn,
  EngineReport,
  LayerError,
  LayerReport,
  QuantizerState,
  Range,
  Schema,
  TrainingProgress,
  Trial,
  ValueInfo,
} from './engine/module.ts';
import type { Id, ModelDescription } from './engine/run-host.ts';
import { ZeropointError } from './errors.ts';
import {
  type EstimateOptions,
  estimateChecks,
  estimateOf,
  noRoom,
  type QuantizeEstimate,
  sizesOf,
  usualSamples,
  type Work,
} from './estimate.ts';
import { buffersOf, countOf, isSamples, SampleReader, type Samples, take } from './feeds.ts';
import { bringInto, formOf } from './files.ts';
import { type Finding, withTexts, worded } from './findings.ts';
import * as check from './options.ts';
import { provenanceKey, provenanceOf, SamplesHash } from './provenance.ts';
import { byItself, checksOf, chosenOf, optionsOf } from './schema.ts';
import type { EngineTrainingOptions, FileOptions, SchemeOptions } from './scheme-options.ts';

/** Where long work stands. `total` is 0 while it is not known. */
export interface Progress {
  /** `prepare`, `calibrate`, `place`, `measure`, ... */
  phase: string;
  /** Steps of the phase, or samples if it goes through samples. */
  done: number;
  total: number;
  /** The state of training (mode `qat`), during it and after it. */
  training?: TrainingProgress;
}

/**
 * Training needs no labels: by default the quantized model learns to answer as the float model does. Samples may bring
 * labels as further feeds, `target:` and the name of an output: class numbers (int64, one for each row), or values
 * shaped as the output.
 */
export interface TrainingOptions extends EngineTrainingOptions {
  /** Gets the state of training after each epoch, for `resume`. Training waits for the promise that it returns. */
  onCheckpoint?: ((checkpoint: Uint8Array<ArrayBuffer>) => void | Promise<void>) | undefined;
  /** Continues from a checkpoint of the same model, samples and settings, to the same model that one run would make. */
  resume?: Uint8Array | undefined;
  /** Ends training when it fires; the best epoch so far is the result. (`signal` throws everything away.) */
  stop?: AbortSignal | undefined;
}

/** How a model is quantized, and from which samples. */
export interface QuantizeOptions extends SchemeOptions, FileOptions {
  /**
   * Samples that show which values occur; `static` needs them, `float16` and repairs use them. Read one at a time. The
   * engine keeps some of them for repairs, and asks again for the others: see Samples.
   */
  calibration?: Samples | undefined;
  /**
   * The right class of each sample, from 0, in the order of `calibration`. Searches (`auto`, targets, sensitivities) then
   * count right answers: see `Trial.accuracy`. In mode `qat` they are the targets of the first output.
   */
  labels?: readonly number[] | undefined;
  /**
   * How many samples the report's per-layer errors are measured on afterwards: the first ones, at most 64 MB. Default
   * and most: 4; 0: no errors.
   */
  layerErrors?: number | undefined;
  /** Threads to calibrate with. By default what configure() said. */
  threads?: number | undefined;
  /** The work continues when the promise that it returns is fulfilled: a pause is a promise that is fulfilled later. */
  onProgress?: ((progress: Progress) => unknown) | undefined;
  /** Stops the work; quantize() then throws a ZeropointError with the code `cancelled`. */
  signal?: AbortSignal | undefined;
}

/** How a model was quantized, layer by layer, and how much it lost. */
export interface QuantizeReport extends EngineReport {
  /** The layers, in the order of the graph; with `error` if it was measured. */
  layers: (LayerReport & { error?: LayerError })[];
  /** Faults, and options that help: the findings of all layers. Layers that lose most by themselves come first. */
  findings: Finding[];
  /**
   * The trials that no other trial beats in both bytes and quality, the smallest first. To choose another point than the
   * kept one: `model.quantize({ ...options, ...report.tradeoff[i].options })`.
   */
  tradeoff: Trial[];
  /** The opset of ai.onnx that the file has. */
  opset: number;
  /** Bytes of the file and of the files with its weights, before and after. */
  sizeBefore: number;
  sizeAfter: number;
  /** The files that toFiles() writes, under their names there. */
  files: readonly { name: string; size: number }[];
  /** The ranges that calibration found, by value name: for SchemeOptions.ranges of another run. */
  ranges: Record<string, Range>;
}

/** Options of training that the engine does not know: they are work for JavaScript. */
const ownOptions = {
  training: {
    onCheckpoint: check.func,
    resume: ((value) => (value instanceof Uint8Array ? undefined : 'a Uint8Array is needed')) as check.Check,
    stop: check.signal,
  },
};

export const schemeChecks = (schema: Schema): Record<string, check.Check> =>
  checksOf(schema, optionsOf(schema, 'scheme'), ownOptions);

/** How a file is written. */
export const fileChecks = (schema: Schema): Record<string, check.Check> =>
  checksOf(schema, optionsOf(schema, 'file'));

const quantizeChecks = (schema: Schema): Record<string, check.Check> => ({
  ...schemeChecks(schema),
  calibration: (value) => (isSamples(value) ? undefined : 'an Iterable or AsyncIterable of feeds is needed'),
  labels: check.listOf(check.integer(0, 2 ** 31 - 1)),
  ...fileChecks(schema),
  layerErrors: check.integer(0, 4),
  threads: check.integer(1, 64),
  onProgress: check.func,
  signal: check.signal,
});

/** Bytes of a model that an estimate, which prepares it once more, is worth its time for. */
const mayBeTooLarge = 2 ** 28;

/** How far an estimate of memory may be from the truth: see QuantizeEstimate. */
const estimateFactor = 2;
const leastOf = ({ usedBytes, peakBytes }: QuantizeEstimate) =>
  usedBytes + (peakBytes - usedBytes) / estimateFactor;
const mostOf = ({ usedBytes, peakBytes }: QuantizeEstimate) =>
  usedBytes + (peakBytes - usedBytes) * estimateFactor;

/** The memory and time that quantize() would take. */
export async function estimateQuantization(
  engine: Client,
  model: Id,
  { size, inputs }: { size: number; inputs: readonly ValueInfo[] },
  given: EstimateOptions,
): Promise<QuantizeEstimate> {
  const all = check.taken(given);
  const { schema } = engine;
  check.checkOptions(all, { ...schemeChecks(schema), ...estimateChecks });
  const { samples, dims, shapes, layerErrors = 4, threads, ...options } = all;
  const configOf = (scheme: SchemeOptions, hasSamples: boolean) =>
    configFrom(schema, scheme, { hasSamples, defaultRepairs: true });
  const needs =
    samples === undefined && (await engine.call('needsSamples', [model, configOf(options, false)]));
  return estimateOf(engine, model, {
    configOf,
    options,
    samples: samples ?? (needs ? usualSamples : 0),
    dims: sizesOf(inputs, dims, shapes),
    layerErrors,
    once: false,
    threads: Math.min(threads ?? engine.threads, engine.info.maxThreads),
    size,
  });
}

/** The engine's configuration, of options that were checked. */
export function configFrom(
  schema: Schema,
  options: QuantizeOptions,
  { hasSamples = false, defaultRepairs = false, onlyPrepares = false } = {},
): ConfigIn {
  return {
    options: chosenOf(schema, optionsOf(schema, 'scheme', 'file'), { ...options }),
    defaultRepairs,
    hasSamples,
    onlyPrepares,
    labels: options.labels ?? [],
    checkpoints: options.training?.onCheckpoint !== undefined,
    resume: options.training?.resume ?? null,
  };
}

/** Whether these options make quantize() ask for samples. */
export async function needsSamples(engine: Client, model: Id, given: SchemeOptions): Promise<boolean> {
  const options = check.taken(given);
  const { schema } = engine;
  check.checkOptions(options, schemeChecks(schema));
  return engine.call('needsSamples', [model, configFrom(schema, options, { defaultRepairs: true })]);
}

/**
 * Quantizes a model of the engine's. The caller owns the model that is answered. `simplified`: nothing is quantized, and
 * the file says that it was made by this.
 */
export async function quantizeModel(
  engine: Client,
  model: Id,
  { size: sizeBefore, inputs }: { size: number; inputs: readonly ValueInfo[] },
  given: QuantizeOptions,
  source?: Promise<string | undefined>,
  simplified?: Readonly<Record<string, unknown>>,
): Promise<{ model: ModelDescription; report: QuantizeReport }> {
  const options = check.taken(given, ['calibration']); // whose samples are taken one by one
  const { schema } = engine;
  check.checkOptions(options, quantizeChecks(schema));
  const { calibration, layerErrors = 4 } = options;
  const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
  const config = configFrom(schema, options, {
    hasSamples: calibration !== undefined,
    defaultRepairs: true,
    onlyPrepares: simplified !== undefined,
  });
  const reader = new SampleReader(calibration ?? []);
  const feeding = { once: reader.once, layerErrors };
  const work: Work = {
    configOf: (scheme, hasSamples) =>
      configFrom(schema, { ...options, ...scheme }, { hasSamples, defaultRepairs: true }),
    options,
    samples: calibration === undefined ? 0 : countOf(calibration) || usualSamples,
    dims: {},
    layerErrors,
    once: reader.once,
    threads,
    size: sizeBefore,
  };
  if (sizeBefore >= mayBeTooLarge) {
    // What is known to be in vain is not begun; what may just fit is tried.
    const estimate = await estimateOf(engine, model, {
      ...work,
      dims: sizesOf(inputs, undefined, undefined),
    });
    if (leastOf(estimate) > estimate.limitBytes) throw noRoom(estimate);
  }
  const { id: job, sweeps } = await engine.call('createQuantizer', [model, config, threads, feeding]);
  let jobIsOver = false;
  const endJob = () => {
    if (!jobIsOver) engine.release(job);
    jobIsOver = true;
  };
  try {
    if (sweeps > 0 && calibration === undefined) {
      throw new ZeropointError(
        'invalid-argument',
        `calibration: mode '${options.mode ?? byItself(schema, 'mode')}' needs samples`,
        {
          hint: 'pass samples like the data that the model will see, or use mode dynamic or weight-only',
        },
      );
    }
    const hashed = await feedJob(engine, { job, sweeps, threads, inputs }, options, reader, work);
    const result = await engine.call('quantizerResult', [job]);
    try {
      const made = await provenanceOf(
        simplified ?? options,
        result.report,
        result.report.format,
        source,
        hashed,
      );
      await engine.call('addMetadata', [result.model.id, provenanceKey, made]);
      return { model: result.model, report: await reportOf(engine, result, options, sizeBefore) };
    } catch (error) {
      engine.release(result.model.id);
      throw error;
    }
  } catch (error) {
    if (!(error instanceof ZeropointError) || error.code !== 'out-of-memory' || engine.ended) throw error;
    endJob(); // with all that it holds
    const estimate = await estimateOf(engine, model, work).catch(() => undefined);
    // A limit that somebody set may be smaller, and has been said.
    throw estimate && mostOf(estimate) > estimate.limitBytes ? noRoom(estimate, error) : error;
  } finally {
    endJob();
    await reader.close();
  }
}

/** Gives the job the samples that it asks for, until it is done. Answers their hash; the last shapes go into `work`. */
async function feedJob(
  engine: Client,
  {
    job,
    sweeps,
    threads,
    inputs,
  }: { job: Id; sweeps: number; threads: number; inputs: readonly ValueInfo[] },
  options: QuantizeOptions,
  reader: SampleReader,
  work: Work,
): Promise<SamplesHash> {
  const hashed = new SamplesHash();
  const run = driver(engine, job, options);
  for (;;) {
    const state = await run();
    if (state.finished) return hashed;
    if (state.measures) {
      await engine.call('measureLayers', [job, threads]);
      continue;
    }
    const sample = await reader.read(state.wanted, options.signal);
    if (!sample) {
      if (sweeps > 0 && state.wanted === 0) {
        throw new ZeropointError('invalid-argument', 'calibration: there is no sample');
      }
      await engine.call('endSamples', [job]);
      continue;
    }
    const taken = take(sample.feeds, inputs);
    work.dims = Object.fromEntries(taken.map(([name, { dims }]) => [name, dims]));
    if (sweeps > 0 && state.sweep === 0) hashed.add(taken);
    await engine.call('beginSample', [job, taken], buffersOf(taken));
  }
}

/** The engine's report in words, with the sizes of the file. */
async function reportOf(
  engine: Client,
  { model, report, conclusions, ranges }: QuantizerResult,
  options: QuantizeOptions,
  sizeBefore: number,
): Promise<QuantizeReport> {
  const { schema } = engine;
  const target = typeof options.target === 'string' ? options.target : byItself(schema, 'runtime');
  const { onProgress, signal } = options;
  await bringInto(engine, model.id, report.format, signal, (steps) =>
    onProgress?.({ phase: 'write', ...steps }),
  );
  const { files, opset, broken } = await engine.call('measureModel', [
    model.id,
    formOf(report.format, options),
    options.runtime ?? target,
  ]);
  const findings = report.layers.map((layer) => worded(schema, layer, layer.findings));
  return {
    ...report,
    warnings: [...report.warnings, ...broken, ...conclusions.losses],
    layers: report.layers.map(({ error, ...layer }) => ({
      ...withTexts<LayerReport>(schema, layer),
      ...(error && { error: withTexts<LayerError>(schema, error) }),
    })),
    findings: conclusions.order.flatMap((layer) => findings[layer] ?? []),
    tradeoff: conclusions.tradeoff.flatMap((trial) => report.trials[trial] ?? []),
    opset,
    sizeBefore,
    sizeAfter: files.reduce((sum, { size }) => sum + size, 0),
    files,
    ranges,
  };
}

/** Drives the job until there is something to do for its caller, and tells of its progress. */
function driver(engine: Client, job: Id, options: QuantizeOptions): () => Promise<Driven> {
  const { calibration, onProgress, signal } = options;
  const { stop, onCheckpoint } = options.training ?? {};
  const given = calibration === undefined ? 0 : countOf(calibration);
  let savedEpoch = 0;
  const advance = async (milliseconds: number) => {
    if (stop?.aborted) await engine.call('stopQuantizer', [job]);
    return engine.call('advanceQuantizer', [job, milliseconds]);
  };
  const tell = async ({ training, ...state }: Driven) => {
    if (onCheckpoint && training && training.savedEpoch !== savedEpoch) {
      const checkpoint = await engine.call('checkpointOf', [job]);
      if (checkpoint) await onCheckpoint(checkpoint);
      savedEpoch = training.savedEpoch;
    }
    const { phase, done, total, samples, running, wanted, expected } = state;
    if (!running && wanted < 0) {
      await onProgress?.({ phase, done, total, ...(training && { training }) });
    } else {
      const part = running ? (total > 0 ? Math.min(done / total, 1) : 0) - 1 : 0;
      await onProgress?.({ phase, done: samples + part, total: expected || given });
    }
  };
  return () => engine.drive(advance, ({ idle }) => idle, signal, tell);
}

type Driven = QuantizerState & { idle: boolean };
type QuantizerResult = ReturnType<EngineHost['quantizerResult']>;
