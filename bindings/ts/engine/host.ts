// The host of the whole engine: beside running models, it writes, quantizes and compares them.
import { type Glue, withWorkers } from '../builds.ts';
import type { Taken } from '../feeds.ts';
import type {
  ComparisonHandle,
  ComparisonResult,
  Conclusions,
  ConfigIn,
  EngineMemory,
  EngineModule,
  EngineReport,
  EstimateOut,
  ExpectedIn,
  FeedingIn,
  FileForm,
  FormingHandle,
  MeasuredReport,
  ModelFacts,
  QuantizerHandle,
  QuantizerState,
  Range,
  Schema,
  SpeedOut,
  Steps,
  Unworded,
  WrittenHandle,
} from './module.ts';
import {
  feedsIn,
  type HostOptions,
  type Id,
  load,
  type ModelDescription,
  RunHost,
  type Slice,
  unwrap,
} from './run-host.ts';

/** Bytes that are copied out of the engine in one go. */
const writtenAtOnce = 2 ** 24;

/** How often, and how long each time, the engine's speed is measured. */
const [speedLooks, speedMilliseconds] = [8, 8];

export class EngineHost extends RunHost<EngineModule> {
  #quantizer = (id: Id) => this.get<QuantizerHandle>(id);
  #comparison = (id: Id) => this.get<ComparisonHandle>(id);

  // ---- models

  inspectModel(id: Id): ModelFacts {
    return unwrap(this.module.inspectModel(this.model(id)));
  }

  requireSupported(id: Id): void {
    unwrap(this.module.requireSupported(this.model(id)));
  }

  /** What brings the model into a format, a few layers at a time: writeModel() and measureModel() find it then. */
  createForming(id: Id, format: string): Id {
    return this.keep(unwrap(this.module.createForming(this.model(id), format)));
  }

  advanceForming(id: Id, milliseconds: number): Steps & { finished: boolean } {
    const job = this.get<FormingHandle>(id);
    return { finished: unwrap(job.advance(milliseconds)), ...job.progress() };
  }

  /** The files that the model is written into: readWritten() gives their bytes. */
  writeModel(id: Id, form: FileForm): { id: Id; files: { name: string; size: number }[] } {
    const written = unwrap(this.module.writeModel(this.model(id), form));
    return { id: this.keep(written), files: written.files() };
  }

  readWritten(id: Id, file: number, from: number, count: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count);
    const written = this.get<WrittenHandle>(id);
    for (let done = 0; done < count; done += writtenAtOnce)
      unwrap(written.read(file, from + done, bytes.subarray(done, Math.min(done + writtenAtOnce, count))));
    return bytes;
  }

  /** How long the files would be, which opset they would have, and what of them the runtime does not take. */
  measureModel(
    id: Id,
    form: FileForm,
    runtime: string,
  ): { files: { name: string; size: number }[]; opset: number; broken: string[] } {
    return unwrap(this.module.measureModel(this.model(id), form, runtime));
  }

  addMetadata(id: Id, key: string, value: string): void {
    unwrap(this.module.addMetadata(this.model(id), key, value));
  }

  /**
   * The model with the dimensions fixed that have these names, and all of the inputs that have these shapes. `fold`: nodes that
   * follow from them alone become constants.
   */
  bindDims(
    id: Id,
    dims: Readonly<Record<string, number>>,
    shapes: Readonly<Record<string, readonly number[]>>,
    fold: boolean,
  ): ModelDescription {
    return this.described(unwrap(this.module.bindDims(this.model(id), dims, shapes, fold)));
  }

  planOf(id: Id, config: ConfigIn, measureWeights: boolean): Unworded<EngineReport> {
    return unwrap(this.module.planOf(this.model(id), { ...config, resume: null }, measureWeights));
  }

  // ---- quantizing

  needsSamples(model: Id, config: ConfigIn): boolean {
    return unwrap(this.module.needsSamples(this.model(model), { ...config, resume: null }));
  }

  /** What this machine does in a millisecond. */
  async measureSpeed(threads: number): Promise<SpeedOut> {
    return withWorkers(this.module, threads - 1, () => {
      // The engine's code becomes fast while it runs: the best of some short looks.
      let best: SpeedOut = { macs: 0, touched: 0 };
      for (let i = 0; i < speedLooks; ++i) {
        const { macs, touched } = unwrap(this.module.measureSpeed(speedMilliseconds, threads));
        best = { macs: Math.max(best.macs, macs), touched: Math.max(best.touched, touched) };
      }
      return best;
    });
  }

  estimate(
    model: Id,
    config: ConfigIn,
    expected: ExpectedIn,
    speed: SpeedOut,
  ): EstimateOut & { memory: EngineMemory } {
    const of = unwrap(
      this.module.estimateOf(this.model(model), { ...config, resume: null }, expected, speed),
    );
    return { ...of, memory: this.module.memory() };
  }

  async createQuantizer(
    model: Id,
    config: ConfigIn,
    threads: number,
    feeding: FeedingIn,
  ): Promise<{ id: Id; sweeps: number }> {
    const { resume } = config;
    const buffer = resume instanceof Uint8Array ? this.bufferOf(resume) : null;
    try {
      const whole = { ...config, resume: buffer };
      return await withWorkers(this.module, threads - 1, () => {
        const job = unwrap(this.module.createQuantizer(this.model(model), whole, threads, feeding));
        return { id: this.keep(job), sweeps: job.sweeps() };
      });
    } finally {
      buffer?.delete();
    }
  }

  /** Works for about `milliseconds`; `idle`: nothing to do until the caller acts. */
  advanceQuantizer(id: Id, milliseconds: number): QuantizerState & { idle: boolean } {
    const job = this.#quantizer(id);
    const idle = unwrap(job.advance(milliseconds));
    return { idle, ...job.state() };
  }

  /** Gives the sample that the job waits for. */
  beginSample(id: Id, feeds: Taken): void {
    unwrap(this.#quantizer(id).beginSample(feedsIn(feeds)));
  }

  /** There is no such sample. */
  endSamples(id: Id): void {
    unwrap(this.#quantizer(id).endSamples());
  }

  /** Starts to measure the errors of layers. */
  async measureLayers(id: Id, threads: number): Promise<void> {
    return withWorkers(this.module, 2 * (threads - 1), () => {
      unwrap(this.#quantizer(id).measure());
    });
  }

  /** Ends training after the step under way, with the best so far. */
  stopQuantizer(id: Id): void {
    this.#quantizer(id).stop();
  }

  /** The state of training after its last whole epoch, or null. */
  checkpointOf(id: Id): Uint8Array<ArrayBuffer> | null {
    return this.#quantizer(id).checkpoint();
  }

  quantizerResult(id: Id): {
    model: ModelDescription;
    report: Unworded<MeasuredReport>;
    conclusions: Conclusions;
    ranges: Record<string, Range>;
  } {
    const job = this.#quantizer(id);
    const report = unwrap(job.report());
    const conclusions = unwrap(job.conclusions());
    const ranges = unwrap(job.ranges());
    return { model: this.described(unwrap(job.result())), report, conclusions, ranges };
  }

  // ---- comparing

  /** `layers`: compare the outputs of layers too. */
  async createComparison(reference: Id, candidate: Id, threads: number, layers: boolean): Promise<Id> {
    const sessions = layers ? 4 : 2;
    return withWorkers(this.module, sessions * (threads - 1), () =>
      this.keep(
        unwrap(this.module.createComparison(this.model(reference), this.model(candidate), threads, layers)),
      ),
    );
  }

  beginComparison(id: Id, feeds: Taken): void {
    unwrap(this.#comparison(id).begin(feedsIn(feeds)));
  }

  advanceComparison(id: Id, milliseconds: number): Slice {
    const job = this.#comparison(id);
    const start = performance.now();
    const finished = unwrap(job.advance(milliseconds));
    return { finished, spent: performance.now() - start, ...job.progress() };
  }

  comparisonResult(id: Id): ComparisonResult {
    return unwrap(this.#comparison(id).result());
  }
}

export async function createHost(options: HostOptions, glue: Glue<EngineModule>): Promise<EngineHost> {
  const { module, info, helpers } = await load(options, glue);
  const schema = JSON.parse(unwrap(module.schema())) as Schema;
  return new EngineHost({ module, info: { ...info, schema }, helpers });
}
