// A model in the engine that can be run: the base of each entry's Model.
import { Owned } from './disposal.ts';
import { asyncDispose } from './dispose-symbol.ts';
import { type Client, Engine, engineInternals, engine as theEngine } from './engine/client.ts';
import type { ValueInfo } from './engine/module.ts';
import type { ModelDescription } from './engine/run-host.ts';
import { checkExternalData, type ExternalData, sourcesOf } from './external.ts';
import * as check from './options.ts';
import type { Progress } from './quantize.ts';
import { Session, type SessionOptions, sessionChecks } from './session.ts';
import { bytesFrom, type ModelSource } from './source.ts';

/** How Model.load() reads a model. */
export interface LoadOptions {
  /**
   * The files with the model's weights, if it has weights in other files. By default they are found beside a model that has
   * a path or an address. If you give files, no others are read.
   */
  externalData?: ExternalData | undefined;
  /**
   * Where weights of other files are kept: `memory`, or `files`, from which they are read whenever they are needed. `files`
   * needs paths in Node, or Blobs and an engine in a worker. Default: `files` for more than 512 MiB, if possible.
   */
  weights?: 'auto' | 'memory' | 'files' | undefined;
  /** Progress of reading weights into memory: phase `read`, in bytes. */
  onProgress?: ((progress: Progress) => unknown) | undefined;
  signal?: AbortSignal | undefined;
  /** The engine of the model: see createEngine(). By default the engine that configure() sets up. */
  engine?: Engine | undefined;
}

/** Of entries that quantize: see Model.load(). */
export interface ScratchOption {
  scratch?: string | undefined;
}

/** A model that the engine has. */
export interface Loaded {
  engine: Client;
  described: ModelDescription;
  size: number;
  externalData?: readonly { name: string; size: number }[];
  /** Results of a program that was stopped. */
  left?: number;
}

async function read(
  engine: Client,
  source: ModelSource,
  bytes: Uint8Array,
  { externalData, weights = 'auto', scratch, onProgress, signal }: LoadOptions & ScratchOption,
): Promise<Loaded> {
  const size = bytes.byteLength;
  const moved = bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : [];
  const { id, pieces } = await engine.call('openModel', [bytes], moved);
  try {
    const sources = await sourcesOf(source, externalData, pieces, signal);
    const total = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
    let left = 0;
    if (pieces.length > 0) {
      const { toRead, left: found } = await engine.call('takeSources', [id, sources, weights, scratch]);
      left = found;
      for (let i = 0, done = 0; i < toRead; ++i) {
        await engine.breathe(signal);
        await engine.call('readPiece', [id, i]);
        done += pieces[i]?.bytes ?? 0;
        await onProgress?.({ phase: 'read', done, total });
      }
    }
    return {
      engine,
      described: await engine.call('readModel', [id]),
      size: size + total,
      externalData: sources.map(({ name, size: length }) => ({ name, size: length })),
      left,
    };
  } catch (error) {
    engine.release(id);
    throw error;
  }
}

/**
 * Reads a model: see Model.load(). `look` sees the bytes of the file before they move to the engine. `more`: options that
 * the entry has beside LoadOptions.
 */
export async function loadModel(
  source: ModelSource,
  options: LoadOptions & ScratchOption,
  {
    look,
    more = {},
  }: { look?: (bytes: Uint8Array) => void; more?: Readonly<Record<string, check.Check>> } = {},
): Promise<Loaded> {
  check.checkOptions(options, {
    ...more,
    externalData: checkExternalData,
    weights: check.oneOf(['auto', 'memory', 'files']),
    onProgress: check.func,
    signal: check.signal,
    engine: (value) => (value instanceof Engine ? undefined : 'an Engine is needed: see createEngine()'),
  });
  const { signal } = options;
  const bytes = await bytesFrom(source, signal);
  const engine = options.engine ? engineInternals.of(options.engine) : await theEngine();
  const letGo = engine.hold();
  try {
    await engine.breathe(signal);
    look?.(bytes);
    return await read(engine, source, bytes, options);
  } finally {
    letGo();
  }
}

/** The engine's own handle on a model; for the package's other files. */
export const internals: { of(model: LoadedModel): { engine: Client; id: number } } = {
  of: () => {
    throw new Error('set by LoadedModel');
  },
};

/** What the Model of each of the package's entries has. */
export class LoadedModel {
  readonly inputs: readonly ValueInfo[];
  /** Inputs that have a value in the file (as weights had before IR version 4): a run may be fed another one. */
  readonly optionalInputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Bytes of the file that the model was read from, or would be written to, and of weights in other files. */
  readonly size: number;
  /** The other files that the model was read from, by the names that the model has for them. */
  readonly externalData: readonly { name: string; size: number }[];
  readonly #owned: Owned;

  static {
    internals.of = (model) => {
      // A structural copy of the class (a second copy of the package) has no such field.
      const owned = model.#owned;
      return { engine: owned.engine, id: owned.id };
    };
  }

  /** Internal: use Model.load(). */
  protected constructor({ engine, described, size, externalData = [] }: Loaded) {
    this.#owned = new Owned(this, 'model', engine, described.id);
    this.inputs = described.inputs;
    this.optionalInputs = described.optionalInputs;
    this.outputs = described.outputs;
    this.size = size;
    this.externalData = externalData;
  }

  /** Makes the model ready to run. Throws for operators that are not supported, naming all of them. */
  async createSession(options: SessionOptions = {}): Promise<Session> {
    check.checkOptions(options, sessionChecks);
    const { engine, id } = this.#owned;
    const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
    const session = await engine.call('createSession', [id, { threads, integer: options.integer ?? true }]);
    return new Session(engine, session, this.inputs, this.outputs);
  }

  /** Frees the model's memory. Sessions and quantized models made from it live on. */
  async dispose(): Promise<void> {
    await this.#owned.dispose();
  }

  async [asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
