import type { Engine } from './engine/client.ts';
import type { Id, ModelDescription } from './engine/host.ts';
import type {
  ConfigIn,
  EngineReport,
  LayerError,
  LayerReport,
  Range,
  Schema,
  TrainingProgress,
  Trial,
  Unworded,
} from './engine/module.ts';
import { ZeropointError } from './errors.ts';
import { buffersOf, countOf, isSamples, KeptSamples, SampleReader, type Samples, take } from './feeds.ts';
import { type Finding, withTexts, worded } from './findings.ts';
import * as check from './options.ts';
import { provenanceKey, provenanceOf, SamplesHash } from './provenance.ts';
import { byItself, checksOf, chosenOf, optionsOf } from './schema.ts';
import type { EngineTrainingOptions, FileOptions, SchemeOptions } from './scheme-options.ts';
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

/**
 * Training needs no labels: by default the quantized model learns to answer as the float model does. Samples may bring
 * labels as further feeds, `target:` and the name of an output: class numbers (int64, one for each row), or values
 * shaped as the output.
 */
export interface TrainingOptions extends EngineTrainingOptions {
  /** Gets the state of training after each epoch, for `resume`. Training waits for what it promises. */
  onCheckpoint?: ((checkpoint: Uint8Array<ArrayBuffer>) => void | Promise<void>) | undefined;
  /** Go on from a checkpoint of the same model, samples and settings: to the model that one run would have made. */
  resume?: Uint8Array | undefined;
  /** Ends training when it fires; the best so far is the result. (`signal` throws everything away.) */
  stop?: AbortSignal | undefined;
}

/** How a model is quantized, and from what. */
export interface QuantizeOptions extends SchemeOptions, FileOptions {
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

const targetPrefix = 'target:';

/** What the model itself is fed. */
const withoutTargets = (feeds: Feeds): Feeds =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => !name.startsWith(targetPrefix)));

/** The engine's configuration, of options that were checked. */
export function configFrom(
  schema: Schema,
  options: QuantizeOptions,
  { hasSamples = false, defaultRepairs = false } = {},
): ConfigIn {
  return {
    options: chosenOf(schema, optionsOf(schema, 'scheme', 'file'), { ...options }),
    defaultRepairs,
    hasSamples,
    labels: options.labels ?? [],
    checkpoints: options.training?.onCheckpoint !== undefined,
    resume: options.training?.resume ?? null,
  };
}

/** Whether these options make quantize() ask for samples. */
export async function needsSamples(engine: Engine, model: Id, given: SchemeOptions): Promise<boolean> {
  const options = check.taken(given);
  const { schema } = engine;
  check.checkOptions(options, schemeChecks(schema));
  const config = configFrom(schema, options, { defaultRepairs: true });
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
  const { schema } = engine;
  check.checkOptions(options, quantizeChecks(schema));
  const { signal, onProgress, calibration } = options;
  const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
  const config = configFrom(schema, options, {
    hasSamples: calibration !== undefined,
    defaultRepairs: true,
  });
  const { id: job, sweeps } = await engine.call('createQuantizer', [model, config, threads]);
  const reader = new SampleReader(calibration ?? [], sweeps);
  try {
    if (sweeps > 0 && calibration === undefined) {
      throw new ZeropointError(
        'invalid-argument',
        `calibration: mode '${options.mode ?? byItself(schema, 'mode')}' needs samples`,
        {
          hint: 'pass samples like those the model will see, or use the modes dynamic or weight-only',
        },
      );
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
      const runtime = typeof options.target === 'string' ? options.target : byItself(schema, 'runtime');
      const broken = await engine.call('brokenRules', [
        quantized.id,
        format,
        options.runtime ?? runtime,
        opset,
      ]);
      const found = report.layers.map((unworded) => {
        const layer = withTexts<LayerReport>(schema, unworded);
        const measured = errors.get(layer.output);
        const own = worded(schema, layer, [...unworded.findings, ...(measured?.findings ?? [])]);
        if (!measured) return { layer, own };
        const error = withTexts<LayerError>(schema, measured);
        return { layer: { ...layer, error, findings: own.map(({ text }) => text) }, own };
      });
      const layers = found.map(({ layer }) => layer);
      return {
        model: quantized,
        report: {
          ...report,
          warnings: [...report.warnings, ...broken, ...lossesOf(layers, quantized.outputs)],
          layers,
          findings: inOrder(found),
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

/** Those of layers that lose most by themselves first. */
function inOrder(found: readonly { layer: QuantizeReport['layers'][number]; own: Finding[] }[]): Finding[] {
  const loss = ({ weight, error }: QuantizeReport['layers'][number]) =>
    Math.min(
      ...[weight?.sqnr, error?.ownSqnr].map((sqnr) =>
        sqnr === undefined || Number.isNaN(sqnr) ? Infinity : sqnr,
      ),
    );
  return [...found]
    .sort(({ layer: a }, { layer: b }) => (loss(a) < loss(b) ? -1 : loss(a) > loss(b) ? 1 : 0))
    .flatMap(({ own }) => own);
}

/** Outputs that agree less with the float model's are no longer the same answers: about 14 dB. */
const poorCosine = 0.98;

/** A sentence when the outputs are lost, with the layer where that begins. */
function lossesOf(layers: QuantizeReport['layers'], outputs: ModelDescription['outputs']): string[] {
  const errors = layers.flatMap(({ error }) => (error ? [error] : []));
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
): Promise<Map<string, Unworded<LayerError>>> {
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
