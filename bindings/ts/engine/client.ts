// What the rest of the package holds of the engine: typed calls into a host that is here or in a worker.
import type * as Comlink from 'comlink';
import { type Build, builds, canShareMemory } from '../builds.ts';
import { type ErrorCode, messageOf, throwIfAborted, ZeropointError } from '../errors.ts';
import { awaitThreads, cores, isNode, isWindow } from '../platform.ts';
import type { WorkerFace } from './face.ts';
import {
  callHost,
  EngineHost,
  type HostInfo,
  type HostMethod,
  type HostOptions,
  type Id,
  type Result,
} from './host.ts';
import type { Schema } from './module.ts';
import { pauseIfDue, sliceMilliseconds } from './pause.ts';

/** How the engine is loaded. All optional; what is set holds for models loaded from then on. */
export interface EngineConfig {
  /**
   * The folder that dist/wasm is served from, as an absolute URL (or, in Node, a file: URL). By default the files are
   * found beside the package's own.
   */
  wasmBase?: string | URL | undefined;
  /** The build to use; by default the best that this machine runs. */
  build?: Build | 'auto' | undefined;
  /** Threads of a session that does not say how many. By default up to 4, as many as the machine has cores. */
  threads?: number | undefined;
  /** Whether the engine runs in a worker. By default only in a page's own thread. */
  worker?: boolean | undefined;
}

type Args<M extends HostMethod> = EngineHost[M] extends (...args: infer A) => unknown ? A : never;
type Value<M extends HostMethod> = EngineHost[M] extends (...args: never) => infer R ? Awaited<R> : never;

/** Where host calls go. */
interface Transport {
  readonly remote: boolean;
  call(method: HostMethod, args: unknown[], transfer: Transferable[]): Promise<Result<unknown>>;
}

export class Engine {
  readonly #transport: Transport;
  readonly info: HostInfo;
  /** Threads of a session that does not say how many. */
  readonly threads: number;
  #failed = false;

  constructor(transport: Transport, info: HostInfo, threads: number) {
    this.#transport = transport;
    this.info = info;
    this.threads = Math.min(threads, info.maxThreads);
  }

  /** What can be set and chosen. */
  get schema(): Schema {
    return this.info.schema;
  }

  /** Whether the engine runs in a worker. */
  get remote(): boolean {
    return this.#transport.remote;
  }

  /** After a trap: a new engine is needed. */
  get failed(): boolean {
    return this.#failed;
  }

  async call<M extends HostMethod>(
    method: M,
    args: Args<M>,
    transfer: Transferable[] = [],
  ): Promise<Value<M>> {
    if (this.#failed) {
      throw new ZeropointError('internal', 'the engine stopped in an earlier call', {
        hint: 'load the model again',
      });
    }
    const result = await this.#transport.call(method, args, transfer).catch((error: unknown) => {
      // Before anything was sent: an argument that threads cannot pass on.
      if ((error as { name?: unknown }).name !== 'DataCloneError') throw error;
      throw new ZeropointError(
        'invalid-argument',
        `an argument cannot be passed to the engine's thread: ${messageOf(error)}`,
        {},
        { cause: error },
      );
    });
    if ('value' in result) return result.value as Value<M>;
    const { code, message, details, fatal } = result.error;
    this.#failed ||= fatal;
    throw new ZeropointError(code as ErrorCode, message, details);
  }

  /** Frees an object of the host's, without waiting. */
  release(id: Id): void {
    if (!this.#failed) void this.#transport.call('release', [id], []);
  }

  /** Lets the event loop turn, where it would not anyway, and throws if the signal has fired. */
  async breathe(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal);
    if (!this.#transport.remote) {
      await pauseIfDue();
      throwIfAborted(signal);
    }
  }

  /** Takes slices until one says that it was the last. Waits for what `onSlice` promises. */
  async drive<S>(
    slice: (milliseconds: number) => Promise<S>,
    finished: (slice: S) => boolean,
    signal: AbortSignal | undefined,
    onSlice?: (slice: S) => unknown,
  ): Promise<S> {
    for (;;) {
      await this.breathe(signal);
      const state = await slice(sliceMilliseconds);
      await onSlice?.(state);
      if (finished(state)) return state;
    }
  }
}

// ---- the engine in use

let config: EngineConfig = {};
let opening: Promise<Engine> | undefined;

const invalid = (message: string, hint?: string) =>
  new ZeropointError('invalid-argument', message, hint === undefined ? {} : { hint });

/**
 * Says how to load the engine. Call it before the first model is loaded; models loaded earlier keep the engine that
 * they have.
 */
export function configure(changes: EngineConfig): void {
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) continue;
    if (key === 'wasmBase') {
      if (typeof value !== 'string' && !(value instanceof URL)) throw invalid('wasmBase: a URL is needed');
    } else if (key === 'build') {
      if (value !== 'auto' && !(builds as readonly unknown[]).includes(value)) {
        throw invalid(`build: '${value}' is not one of auto, ${builds.join(', ')}`);
      }
    } else if (key === 'threads') {
      checkThreads(value);
    } else if (key === 'worker') {
      if (typeof value !== 'boolean') throw invalid('worker: true or false is needed');
    } else {
      throw invalid(`'${key}' is not an option; there are wasmBase, build, threads, worker`);
    }
  }
  config = { ...config, ...changes };
  opening = undefined;
}

export function checkThreads(threads: unknown): asserts threads is number {
  if (!Number.isInteger(threads) || (threads as number) < 1 || (threads as number) > 64) {
    throw invalid(`threads: ${threads} is not an integer from 1 to 64`);
  }
}

/** A wasmBase as `import()` takes it. */
function absoluteBase(base: string | URL | undefined): string | undefined {
  if (base === undefined) return undefined;
  const here = (globalThis as { location?: { href: string } }).location?.href;
  try {
    return here === undefined ? new URL(base).href : new URL(base, here).href;
  } catch (error) {
    throw new ZeropointError(
      'invalid-argument',
      `wasmBase: '${base}' is not an absolute URL`,
      {},
      { cause: error },
    );
  }
}

async function open(): Promise<Engine> {
  const threads = config.threads ?? Math.min(4, cores());
  const build = config.build === 'auto' ? undefined : config.build;
  // Where memory can be shared the build with threads is taken, whatever the default: a session may ask for more.
  const options: HostOptions = {
    build,
    wasmBase: absoluteBase(config.wasmBase),
    threads: canShareMemory() ? Math.max(2, threads) : 1,
  };
  if (config.worker ?? isWindow) {
    const { spawnWorker } = await import('../spawn.ts');
    const face: Comlink.Remote<WorkerFace> = await spawnWorker();
    const { transfer } = await import('comlink');
    const opened = (await awaitThreads(face.open(options))) as Result<HostInfo>;
    if ('error' in opened) {
      throw new ZeropointError(opened.error.code as ErrorCode, opened.error.message, opened.error.details);
    }
    const transport: Transport = {
      remote: true,
      call: (method, args, buffers) =>
        awaitThreads(face.call(method, buffers.length ? transfer(args, buffers) : args)),
    };
    return new Engine(transport, opened.value, threads);
  }
  const host = await EngineHost.create(options);
  const transport: Transport = { remote: false, call: (method, args) => callHost(host, method, args) };
  return new Engine(transport, host.info(), threads);
}

/** The engine in use; loaded when it is first needed, and anew after a trap. */
export async function engine(): Promise<Engine> {
  const current = opening;
  if (current) {
    const loaded = await current;
    if (!loaded.failed) return loaded;
    if (opening === current) opening = undefined;
    return engine();
  }
  const mine = open();
  opening = mine;
  mine.catch(() => {
    if (opening === mine) opening = undefined; // a later call may find the files
  });
  return mine;
}

/** What the engine in use is, and what it found out about the machine. */
export interface EngineInfo {
  /** Which of the four builds. */
  build: Build;
  /** Threads of a session that does not say how many. */
  threads: number;
  /** The most threads that a session can have: 1 where memory cannot be shared. */
  maxThreads: number;
  /** Whether the engine runs in a worker. */
  worker: boolean;
  /** `simd128` or `relaxed`. */
  instructionSet: string;
  /**
   * What the relaxed dot product multiplies here, as found by trying: `unsigned` or `signed` (exact, and used),
   * `saturating` (inexact, not used), or `absent`.
   */
  relaxedDot: string;
  /** Whether a multiply-add rounds once. */
  fusedMultiplyAdd: boolean;
  platform: 'node' | 'browser';
  cores: number;
  /** Bytes of WebAssembly memory: what is reserved (it only grows), and what is allocated in it. */
  memory: { reserved: number; used: number };
}

/** Loads the engine, if that was not done yet, and says what it is. */
export async function engineInfo(): Promise<EngineInfo> {
  const e = await engine();
  const { schema: _, ...info } = e.info;
  return {
    ...info,
    threads: e.threads,
    worker: e.remote,
    platform: isNode ? 'node' : 'browser',
    cores: cores(),
    memory: await e.call('memory', []),
  };
}
