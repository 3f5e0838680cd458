// The engine behind one flat, message-shaped face: objects are numbers, arguments and results can be cloned between
// threads, every call is short. It runs in the caller's thread or in a worker (worker.ts), and the two look the same to
// engine/client.ts. Calls that run models are here, all others in host.ts.

import {
  type Build,
  canShareMemory,
  type Glue,
  hasThreads,
  loadBuild,
  pickBuild,
  type WasmSource,
  withWorkers,
} from '../builds.ts';
import { gigabytes, messageOf, ZeropointError } from '../errors.ts';
import type { DataSource } from '../external.ts';
import type { Taken } from '../feeds.ts';
import { cores, platform, type Thread } from '../platform.ts';
import { bytesOf, type TensorData, type TensorType, viewAs } from '../tensor.ts';
import type { EngineHost } from './host.ts';
import type {
  Answer,
  BufferHandle,
  EngineMemory,
  FeedIn,
  Handle,
  ModelHandle,
  PieceInfo,
  RunModule,
  RunState,
  Schema,
  SessionHandle,
  StepInfo,
  Steps,
  TensorOut,
  ValueInfo,
} from './module.ts';
import { openScratch } from './scratch.ts';
import { fill, OpenWeights, readsAtOnce, workOn } from './weights.ts';

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
  folded: boolean;
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
  /** What can be set and chosen. Not where models are only run. */
  schema?: Schema;
}

export interface HostOptions {
  build: Build | undefined;
  wasm: WasmSource;
  /** The script of the package's workers, where it is not the one that bundlers find. */
  workerUrl: string | undefined;
  threads: number;
}

/** An error as a value: an Error's own properties would be lost between threads. */
export type Result<T> =
  | { value: T }
  | { error: { code: string; message: string; details: object; fatal: boolean } };

export function unwrap<T>(answer: Answer<T>): T {
  if (!answer.error) return answer.value;
  const { code, message, ...rest } = answer.error;
  const details = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== ''));
  throw new ZeropointError(code, message, details);
}

/** Feeds as the engine copies them. */
export const feedsIn = (feeds: Taken): FeedIn[] =>
  feeds.map(([name, { type, data, dims }]) =>
    Array.isArray(data) ? { name, type, dims, strings: data } : { name, type, dims, bytes: bytesOf(data) },
  );

/** A copy of the outputs' bytes as typed arrays, of strings as an array. */
function tensorFrom(out: TensorOut): NamedTensor {
  const { name, type, dims } = out;
  return { name, type, dims, data: out.type === 'string' ? out.strings : viewAs(out.type, out.bytes) };
}

/** Where a model's weights are kept, where they lie in files of their own. */
export type WeightPlace = 'auto' | 'memory' | 'files';

/** Weights of more bytes stay in their files, where they can. */
const mostInMemory = 2 ** 29;

/** A model that is about to be read. */
class Opened implements Handle {
  sources: readonly DataSource[] = [];
  buffers: BufferHandle[] = [];
  files: OpenWeights | undefined;

  constructor(
    readonly model: BufferHandle,
    readonly pieces: readonly PieceInfo[],
  ) {}

  delete(): void {
    this.model.delete();
    for (const buffer of this.buffers) buffer.delete();
    this.files?.close();
  }
}

/** More threads than the machine runs at once only wait for each other; a few are always allowed. */
const mostThreads = () => Math.min(64, Math.max(4, cores()));

/** The threads that the engine computes with, beside the one that it is in. */
class Helpers {
  readonly #workerUrl: string | undefined;
  readonly #threads = new Set<Thread>();
  onLost: (why: string) => void = () => {};

  constructor(workerUrl: string | undefined) {
    this.#workerUrl = workerUrl;
  }

  start(build: Build): Thread {
    const thread = platform().startHelper?.(this.#workerUrl);
    if (!thread) throw new Error('there are no threads here');
    this.#threads.add(thread);
    const fail = ({ message }: { message?: string }) => {
      this.#threads.delete(thread);
      this.onLost(`one of its threads failed: ${message ?? 'it did not start'}`);
    };
    thread.addEventListener('error', fail);
    thread.addEventListener('messageerror', fail);
    thread.postMessage({ role: 'helper', build });
    return thread;
  }

  end(): void {
    for (const thread of this.#threads) void thread.terminate();
    this.#threads.clear();
  }
}

/** A module that was loaded, and what there is to say of it. */
export interface Loaded<M extends RunModule> {
  module: M;
  info: HostInfo;
  helpers: Helpers;
}

export async function load<M extends RunModule>(options: HostOptions, glue: Glue<M>): Promise<Loaded<M>> {
  const { wasm } = options;
  let build = options.build ?? (await pickBuild(options.threads));
  const helpers = new Helpers(options.workerUrl);
  let module: M;
  try {
    module = await loadBuild(build, wasm, glue, () => helpers.start(build));
  } catch (error) {
    // Some machines refuse to reserve 4 GiB of shared memory: one thread is better than nothing.
    if (options.build !== undefined || wasm.module || !hasThreads(build)) throw error;
    build = build.replace('-threads', '') as Build;
    module = await loadBuild(build, wasm, glue, undefined);
  }
  const maxThreads =
    hasThreads(build) && canShareMemory() && platform().startHelper !== undefined ? mostThreads() : 1;
  return { module, info: { build, maxThreads, ...module.info() }, helpers };
}

export class RunHost<M extends RunModule = RunModule> {
  protected readonly module: M;
  readonly #info: HostInfo;
  readonly #objects = new Map<Id, Handle>();
  readonly #helpers: Helpers;
  #lastId = 0;

  constructor({ module, info, helpers }: Loaded<M>) {
    this.module = module;
    this.#info = info;
    this.#helpers = helpers;
  }

  /** Is called when a thread that computes with the engine is gone: what it was given to do will not be done. */
  set onLost(tell: (why: string) => void) {
    this.#helpers.onLost = tell;
  }

  /** Frees everything. There must be no further call. */
  close(): void {
    for (const handle of this.#objects.values()) if (handle instanceof Opened) handle.delete(); // closes files
    this.#objects.clear();
    this.#helpers.end();
  }

  protected keep(handle: Handle): Id {
    this.#lastId += 1;
    this.#objects.set(this.#lastId, handle);
    return this.#lastId;
  }

  protected get<T extends Handle>(id: Id): T {
    const handle = this.#objects.get(id);
    if (!handle) throw new ZeropointError('disposed', 'the object was disposed of');
    return handle as T;
  }

  protected model = (id: Id) => this.get<ModelHandle>(id);
  #session = (id: Id) => this.get<SessionHandle>(id);

  protected bufferOf(bytes: Uint8Array): BufferHandle {
    const buffer = unwrap(this.module.allocate(bytes.byteLength));
    buffer.view().set(bytes);
    return buffer;
  }

  protected described(model: ModelHandle): ModelDescription {
    try {
      const described = unwrap(model.describe());
      return { id: this.keep(model), ...described };
    } catch (error) {
      model.delete();
      throw error;
    }
  }

  info(): HostInfo {
    return this.#info;
  }

  memory(): EngineMemory {
    return this.module.memory();
  }

  release(id: Id): void {
    this.#objects.get(id)?.delete();
    this.#objects.delete(id);
  }

  // ---- models

  /** The first step of reading a model: what of it lies in other files. */
  openModel(bytes: Uint8Array): { id: Id; pieces: readonly PieceInfo[] } {
    const buffer = this.bufferOf(bytes);
    try {
      const pieces = unwrap(this.module.externalPieces(buffer));
      return { id: this.keep(new Opened(buffer, pieces)), pieces };
    } catch (error) {
      buffer.delete();
      throw error;
    }
  }

  /**
   * The files of the pieces. `toRead`: how many of them are to be read now, those that do not stay where they are;
   * `left`: how many results of a program that was stopped are in the scratch file of that name.
   */
  async takeSources(
    id: Id,
    sources: readonly DataSource[],
    place: WeightPlace,
    scratch: string | undefined,
  ): Promise<{ toRead: number; left: number }> {
    const opened = this.get<Opened>(id);
    const total = opened.pieces.reduce((sum, { bytes }) => sum + bytes, 0);
    const canStay = sources.every(readsAtOnce);
    if (place === 'files' && !canStay) {
      throw new ZeropointError(
        'invalid-argument',
        "weights: 'files' is not possible here: only files in Node, and Blobs in a worker, can be read piece by piece",
        { hint: 'leave the option weights out' },
      );
    }
    opened.sources = sources;
    if (place === 'files' || (place === 'auto' && canStay && total > mostInMemory)) {
      const file = await openScratch(scratch, workOn(opened.pieces, sources));
      opened.files = new OpenWeights(opened.pieces, sources, file);
      return { toRead: 0, left: file?.size ?? 0 };
    }
    const { used, limit } = this.module.memory();
    if (used + total > limit) {
      throw new ZeropointError(
        'out-of-memory',
        `the weights take ${gigabytes(total)}, and the engine's memory has ${gigabytes(limit - used)} left of ${gigabytes(limit)}`,
        { hint: "weights can stay in their files: pass Node's paths, or Files in a page (weights: 'files')" },
      );
    }
    return { toRead: opened.pieces.length, left: 0 };
  }

  /** Reads a piece into the engine's memory: one after the other. */
  async readPiece(id: Id, index: number): Promise<void> {
    const opened = this.get<Opened>(id);
    const piece = opened.pieces[index];
    const source = opened.sources.find(({ name }) => name === piece?.location);
    if (!piece || !source) throw new ZeropointError('internal', 'a piece of the weights is missing');
    const buffer = unwrap(this.module.allocate(piece.bytes));
    opened.buffers.push(buffer);
    try {
      await fill(source, piece.offset, piece.bytes, () => buffer.view());
    } catch (error) {
      throw new ZeropointError(
        'io',
        `tensor '${piece.tensor}' lies in the file '${piece.location}', which could not be read: ${messageOf(error)}`,
        { tensor: piece.tensor, file: piece.location },
        { cause: error },
      );
    }
  }

  readModel(id: Id): ModelDescription {
    const { model, buffers, files } = this.get<Opened>(id);
    this.#objects.delete(id);
    try {
      // From here on the model closes its files.
      return this.described(unwrap(this.module.readModel(model, files ?? buffers)));
    } catch (error) {
      files?.close();
      throw error;
    } finally {
      model.delete();
      for (const buffer of buffers) buffer.delete();
    }
  }

  // ---- sessions

  async createSession(model: Id, options: { threads: number; integer: boolean }): Promise<Id> {
    return withWorkers(this.module, options.threads - 1, () =>
      this.keep(unwrap(this.module.createSession(this.model(model), options))),
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
}

export const createRunHost = async (options: HostOptions, glue: Glue): Promise<RunHost> =>
  new RunHost(await load(options, glue));

/** The methods that a client calls by name: those of engine/host.ts only where that is the host. */
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
export async function callHost(host: RunHost, method: HostMethod, args: unknown[]): Promise<Result<unknown>> {
  try {
    return { value: await ((host as EngineHost)[method] as (...args: unknown[]) => unknown)(...args) };
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
