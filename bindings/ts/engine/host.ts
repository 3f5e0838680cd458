// The engine behind one flat, message-shaped face: objects are numbers, arguments and results can be cloned between
// threads, every call is short. It runs in the caller's thread or in a worker (worker.ts), and the two look the same to
// engine/client.ts.

import { type Build, canShareMemory, loadBuild, pickBuild, withWorkers } from '../builds.ts';
import { messageOf, ZeropointError } from '../errors.ts';
import type { Taken } from '../feeds.ts';
import { bytesOf, type TensorData, type TensorType, viewAs } from '../tensor.ts';
import type {
  AgreementResult,
  Answer,
  BufferHandle,
  ComparisonHandle,
  ConfigIn,
  EngineMemory,
  EngineModule,
  EngineReport,
  FeedIn,
  Handle,
  LayerError,
  ModelFacts,
  ModelHandle,
  QuantizerHandle,
  QuantizerState,
  Range,
  RunState,
  Schema,
  SessionHandle,
  StepInfo,
  Steps,
  TensorOut,
  Unworded,
  ValueInfo,
} from './module.ts';

/** An object in the host. */
export type Id = number;

export interface NamedTensor {
  name: string;
  type: TensorType;
  dims: number[];
  data: TensorData;
}

export interface ModelDescription {
  id: Id;
  inputs: ValueInfo[];
  optionalInputs: ValueInfo[];
  outputs: ValueInfo[];
}

/** Where a sliced job stands; `spent` is the time the engine worked, in milliseconds. */
export interface Slice extends Steps {
  finished: boolean;
  spent: number;
}

/** A slice of a run; the last one brings the outputs. */
export interface RunSlice extends Slice {
  outputs?: NamedTensor[];
}

export interface HostInfo {
  build: Build;
  /** The most threads a session can have. */
  maxThreads: number;
  instructionSet: string;
  relaxedDot: string;
  fusedMultiplyAdd: boolean;
  /** What can be set and chosen. */
  schema: Schema;
}

export interface HostOptions {
  build: Build | undefined;
  wasmBase: string | undefined;
  threads: number;
}

/** An error as a value: an Error's own properties would be lost between threads. */
export type Result<T> =
  | { value: T }
  | { error: { code: string; message: string; details: object; fatal: boolean } };

function unwrap<T>(answer: Answer<T>): T {
  if (!answer.error) return answer.value;
  const { code, message, ...rest } = answer.error;
  const details = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== ''));
  throw new ZeropointError(code, message, details);
}

/** Feeds as the engine copies them. */
const feedsIn = (feeds: Taken): FeedIn[] =>
  feeds.map(([name, { type, data, dims }]) =>
    Array.isArray(data) ? { name, type, dims, strings: data } : { name, type, dims, bytes: bytesOf(data) },
  );

/** A copy of the outputs' bytes as typed arrays, of strings as an array. */
function tensorFrom(out: TensorOut): NamedTensor {
  const { name, type, dims } = out;
  return { name, type, dims, data: out.type === 'string' ? out.strings : viewAs(out.type, out.bytes) };
}

export class EngineHost {
  readonly #module: EngineModule;
  readonly #info: HostInfo;
  readonly #objects = new Map<Id, Handle>();
  #lastId = 0;

  private constructor(module: EngineModule, info: HostInfo) {
    this.#module = module;
    this.#info = info;
  }

  static async create(options: HostOptions): Promise<EngineHost> {
    let build = options.build ?? (await pickBuild(options.threads));
    let module: EngineModule;
    try {
      module = await loadBuild(build, options.wasmBase);
    } catch (error) {
      // Some machines refuse to reserve 4 GiB of shared memory: one thread is better than nothing.
      if (options.build !== undefined || !build.endsWith('-threads')) throw error;
      build = build.replace('-threads', '') as Build;
      module = await loadBuild(build, options.wasmBase);
    }
    const maxThreads = build.endsWith('-threads') && canShareMemory() ? 64 : 1;
    const schema = JSON.parse(unwrap(module.schema())) as Schema;
    return new EngineHost(module, { build, maxThreads, ...module.info(), schema });
  }

  #keep(handle: Handle): Id {
    this.#lastId += 1;
    this.#objects.set(this.#lastId, handle);
    return this.#lastId;
  }

  #get<T extends Handle>(id: Id): T {
    const handle = this.#objects.get(id);
    if (!handle) throw new ZeropointError('disposed', 'the object was disposed of');
    return handle as T;
  }

  #model = (id: Id) => this.#get<ModelHandle>(id);
  #session = (id: Id) => this.#get<SessionHandle>(id);
  #quantizer = (id: Id) => this.#get<QuantizerHandle>(id);
  #comparison = <T>(id: Id) => this.#get<ComparisonHandle<T>>(id);

  #bufferOf(bytes: Uint8Array): BufferHandle {
    const buffer = unwrap(this.#module.allocate(bytes.byteLength));
    buffer.view().set(bytes);
    return buffer;
  }

  #describe(model: ModelHandle): ModelDescription {
    try {
      const described = unwrap(model.describe());
      return { id: this.#keep(model), ...described };
    } catch (error) {
      model.delete();
      throw error;
    }
  }

  info(): HostInfo {
    return this.#info;
  }

  memory(): EngineMemory {
    return this.#module.memory();
  }

  release(id: Id): void {
    this.#objects.get(id)?.delete();
    this.#objects.delete(id);
  }

  // ---- models

  readModel(bytes: Uint8Array): ModelDescription {
    const buffer = this.#bufferOf(bytes);
    try {
      return this.#describe(unwrap(this.#module.readModel(buffer)));
    } finally {
      buffer.delete();
    }
  }

  inspectModel(id: Id): ModelFacts {
    return unwrap(this.#model(id).inspect());
  }

  requireSupported(id: Id): void {
    unwrap(this.#model(id).requireSupported());
  }

  brokenRules(id: Id, format: string, runtime: string, opset: number): string[] {
    return unwrap(this.#model(id).brokenRules(format, runtime, opset));
  }

  /** `opset`: 0 for the lowest that can say the model. */
  writeModel(id: Id, format: string, opset: number): Uint8Array<ArrayBuffer> {
    return unwrap(this.#model(id).write(format, opset));
  }

  /** How long the file would be, and which opset it would have. */
  measureModel(id: Id, format: string, opset: number): { size: number; opset: number } {
    return unwrap(this.#model(id).measure(format, opset));
  }

  addMetadata(id: Id, key: string, value: string): void {
    unwrap(this.#model(id).addMetadata(key, value));
  }

  /** The model with dimensions that have these names fixed. */
  bindDims(id: Id, dims: Readonly<Record<string, number>>): ModelDescription {
    return this.#describe(unwrap(this.#module.bindDims(this.#model(id), dims)));
  }

  planOf(id: Id, config: ConfigIn, measureWeights: boolean): Unworded<EngineReport> {
    return unwrap(this.#module.planOf(this.#model(id), { ...config, resume: null }, measureWeights));
  }

  // ---- sessions

  async createSession(model: Id, options: { threads: number; integer: boolean }): Promise<Id> {
    return withWorkers(this.#module, options.threads - 1, () =>
      this.#keep(unwrap(this.#module.createSession(this.#model(model), options))),
    );
  }

  /** Starts a run and works for about `milliseconds`. */
  beginRun(session: Id, feeds: Taken, milliseconds: number): RunSlice {
    const handle = this.#session(session);
    return this.#runSlice(() => handle.begin(feedsIn(feeds), milliseconds));
  }

  /** Goes on with a run. */
  advanceRun(session: Id, milliseconds: number): RunSlice {
    const handle = this.#session(session);
    return this.#runSlice(() => handle.advance(milliseconds));
  }

  #runSlice(work: () => Answer<RunState>): RunSlice {
    const start = performance.now();
    const { outputs, ...state } = unwrap(work());
    const slice: RunSlice = { ...state, spent: performance.now() - start };
    if (outputs) slice.outputs = outputs.map(tensorFrom);
    return slice;
  }

  sessionSteps(session: Id): StepInfo[] {
    return unwrap(this.#session(session).steps());
  }

  sessionWarnings(session: Id): string[] {
    return unwrap(this.#session(session).warnings());
  }

  arenaBytes(session: Id): number {
    return this.#session(session).arenaBytes();
  }

  // ---- quantizing

  async createQuantizer(model: Id, config: ConfigIn, threads: number): Promise<{ id: Id; sweeps: number }> {
    const { resume } = config;
    const buffer = resume instanceof Uint8Array ? this.#bufferOf(resume) : null;
    try {
      const whole = { ...config, resume: buffer };
      return await withWorkers(this.#module, threads - 1, () => {
        const job = unwrap(this.#module.createQuantizer(this.#model(model), whole, threads));
        return { id: this.#keep(job), sweeps: job.sweeps() };
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

  beginSample(id: Id, feeds: Taken): void {
    unwrap(this.#quantizer(id).beginSample(feedsIn(feeds)));
  }

  endSamples(id: Id): void {
    unwrap(this.#quantizer(id).endSamples());
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
    report: Unworded<EngineReport>;
    ranges: Record<string, Range>;
  } {
    const job = this.#quantizer(id);
    const report = unwrap(job.report());
    const ranges = unwrap(job.ranges());
    return { model: this.#describe(unwrap(job.result())), report, ranges };
  }

  // ---- comparing

  async createAgreement(reference: Id, candidate: Id, threads: number): Promise<Id> {
    return withWorkers(this.#module, 2 * (threads - 1), () =>
      this.#keep(
        unwrap(this.#module.createAgreement(this.#model(reference), this.#model(candidate), threads)),
      ),
    );
  }

  async createLayerErrors(reference: Id, quantized: Id, threads: number): Promise<Id> {
    return withWorkers(this.#module, 2 * (threads - 1), () =>
      this.#keep(
        unwrap(this.#module.createLayerErrors(this.#model(reference), this.#model(quantized), threads)),
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

  agreement(id: Id): AgreementResult {
    return unwrap(this.#comparison<AgreementResult>(id).result());
  }

  layerErrors(id: Id): Unworded<LayerError>[] {
    return unwrap(this.#comparison<Unworded<LayerError>[]>(id).result());
  }
}

/** The methods that a client calls by name. */
export type HostMethod = keyof EngineHost;

/**
 * Whether an error is WebAssembly's own: a trap, a C++ exception that nobody caught, or a stack that was too short. What
 * the engine holds can then no longer be trusted. What JavaScript throws on a call's way in or out passes through C++ as
 * an exception does, and leaves things in order.
 */
function isTrap(error: unknown): boolean {
  if (error instanceof WebAssembly.RuntimeError) return true;
  if ('Exception' in WebAssembly && error instanceof WebAssembly.Exception) return true;
  return error instanceof Error && /call stack|too much recursion/i.test(error.message);
}

/** Calls a method by name and gives its result, or its error, as a value. */
export async function callHost(
  host: EngineHost,
  method: HostMethod,
  args: unknown[],
): Promise<Result<unknown>> {
  try {
    return { value: await (host[method] as (...args: unknown[]) => unknown)(...args) };
  } catch (error) {
    if (error instanceof ZeropointError) {
      return { error: { code: error.code, message: error.message, details: error.details, fatal: false } };
    }
    const message = messageOf(error);
    if (isTrap(error)) {
      return {
        error: {
          code: 'internal',
          message: `the engine stopped: ${message}`,
          details: { hint: 'load the model again; please report this, with the model if you can' },
          fatal: true,
        },
      };
    }
    // JavaScript's own: no memory for an array, or a mistake of ours on the way in or out. The engine is as it was.
    const isMemory = error instanceof RangeError;
    return {
      error: {
        code: isMemory ? 'out-of-memory' : 'internal',
        message: isMemory ? `there is no memory for this: ${message}` : message,
        details: {
          hint: isMemory
            ? 'use a smaller input or batch, or dispose of models and sessions that are not needed'
            : 'please report this, with the model if you can',
        },
        fatal: false,
      },
    };
  }
}
