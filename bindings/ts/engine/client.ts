// The engine as the rest of the package sees it: typed calls into a host that is here or in a worker.
import { type Build, builds, canShareMemory, hasThreads, takesMemory, type WasmSource } from '../builds.ts';
import { asyncDispose } from '../dispose-symbol.ts';
import { type ErrorCode, messageOf, throwIfAborted, ZeropointError } from '../errors.ts';
import { cores, isNode, isWindow, platform } from '../platform.ts';
import type { EngineHost } from './host.ts';
import { Line, lost, notSent } from './line.ts';
import type { Schema } from './module.ts';
import { pauseIfDue, sliceMilliseconds } from './pause.ts';
import type { HostInfo, HostMethod, HostOptions, Id, Result, RunHost } from './run-host.ts';

/** How the engine is loaded. All optional; what is set holds for models loaded from then on. */
export interface EngineConfig {
  /**
   * The address of the folder that the files of dist/wasm are served from; in Node a file: URL. A relative one counts from
   * the page. By default the files are found beside the package's own.
   */
  wasmBase?: string | URL | undefined;
  /**
   * The address of dist/worker.js, which may be of another origin. A relative one counts from the page. By default it is
   * found beside the package's own files. In Node it does nothing.
   */
  workerUrl?: string | URL | undefined;
  /** One of dist/wasm/*.wasm, compiled: nothing is fetched then. One with threads is for pages that can share memory. */
  wasmModule?: WebAssembly.Module | undefined;
  /** The build to use; by default the best that this machine runs. */
  build?: Build | 'auto' | undefined;
  /** Threads of a session that does not say how many. By default up to 4, as many as the machine has cores. */
  threads?: number | undefined;
  /** Whether the engine runs in a worker. By default only in a page's own thread. */
  worker?: boolean | undefined;
  /**
   * How long an engine in a worker may take for one step, in milliseconds, before it counts as stuck and is ended; all that
   * wait for it then get an error. Steps are short, but those that read or prepare a large model. Default: 120000;
   * Infinity: for ever.
   */
  stepTimeout?: number | undefined;
}

type Args<M extends HostMethod> = EngineHost[M] extends (...args: infer A) => unknown ? A : never;
type Value<M extends HostMethod> = EngineHost[M] extends (...args: never) => infer R ? Awaited<R> : never;

/** Where host calls go. */
interface Transport {
  readonly remote: boolean;
  call(method: HostMethod, args: unknown[], transfer: Transferable[]): Promise<Result<unknown>>;
  /** Gives back all that the engine has. */
  close(reason: ZeropointError): void;
}

export class Client {
  readonly #transport: Transport;
  readonly info: HostInfo;
  /** Threads of a session that does not say how many. */
  readonly threads: number;
  /** Why there can be no more calls. */
  #end: ZeropointError | undefined;
  #uses = 0;
  #retired = false;
  /** What to do when its memory did not suffice. */
  onFull: () => void = () => {};

  constructor(transport: Transport, info: HostInfo, threads: number) {
    this.#transport = transport;
    this.info = info;
    this.threads = Math.min(threads, info.maxThreads);
  }

  /** What can be set and chosen. */
  get schema(): Schema {
    const { schema } = this.info;
    if (!schema) throw new ZeropointError('internal', 'this entry of the package only runs models');
    return schema;
  }

  /** Whether the engine runs in a worker. */
  get remote(): boolean {
    return this.#transport.remote;
  }

  /** It was closed or lost: a new engine is needed. */
  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Ends it; its calls, those under way too, get this error. */
  end(error: ZeropointError): void {
    if (this.#end) return;
    this.#end = error;
    this.#transport.close(error);
  }

  /** Counts a user of the engine; the answer is to be called once, when there is no more use of it. */
  hold(): () => void {
    this.#uses += 1;
    return () => {
      this.#uses -= 1;
      this.#endIfUnused();
    };
  }

  /** Nobody will come to use it any more: it ends with its last user. */
  retire(): void {
    this.#retired = true;
    this.#endIfUnused();
  }

  #endIfUnused(): void {
    if (!this.#retired || this.#uses > 0) return;
    // Who was just given the engine has yet to say so.
    setTimeout(() => {
      if (this.#uses === 0) this.end(closed());
    }, 0);
  }

  async call<M extends HostMethod>(
    method: M,
    args: Args<M>,
    transfer: Transferable[] = [],
  ): Promise<Value<M>> {
    if (this.#end) throw again(this.#end);
    const result = await this.#transport.call(method, args, transfer).catch((error: unknown) => {
      throw notSent(error);
    });
    if ('value' in result) return result.value as Value<M>;
    const { code, message, details, fatal } = result.error;
    const error = new ZeropointError(code as ErrorCode, message, details);
    if (fatal) this.end(lost(`it stopped in a call: ${message}`));
    if (code === 'out-of-memory') this.onFull();
    throw error;
  }

  /** Frees an object of the host's, without waiting. */
  release(id: Id): void {
    if (!this.#end) this.#transport.call('release', [id], []).catch(() => {}); // with an engine that ends, all is freed
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

const closed = () =>
  new ZeropointError('disposed', 'the engine was closed', {
    hint: 'load the model again, with an engine that is open',
  });

/** The same error for another call: each has a stack of its own. */
const again = ({ code, message, details }: ZeropointError) => new ZeropointError(code, message, details);

// ---- settings

const invalid = (message: string, hint?: string) =>
  new ZeropointError('invalid-argument', message, hint === undefined ? {} : { hint });

const isAddress = (value: unknown) => typeof value === 'string' || value instanceof URL;

/** What is wrong with a setting, by its name. */
const settingChecks: Record<keyof EngineConfig, (value: unknown) => void> = {
  wasmBase(value) {
    if (!isAddress(value)) throw invalid('wasmBase: a URL is needed');
  },
  workerUrl(value) {
    if (!isAddress(value)) throw invalid('workerUrl: a URL is needed');
  },
  wasmModule(value) {
    if (!(value instanceof WebAssembly.Module)) throw invalid('wasmModule: a WebAssembly.Module is needed');
  },
  build(value) {
    if (value !== 'auto' && !(builds as readonly unknown[]).includes(value)) {
      throw invalid(`build: '${value}' is not one of auto, ${builds.join(', ')}`);
    }
  },
  threads: checkThreads,
  worker(value) {
    if (typeof value !== 'boolean') throw invalid('worker: true or false is needed');
  },
  stepTimeout(value) {
    if (typeof value !== 'number' || !(value >= 100))
      throw invalid(`stepTimeout: ${value} is not a number of milliseconds of 100 or more`);
  },
};

function checkConfig(changes: EngineConfig): void {
  if (typeof changes !== 'object' || changes === null) throw invalid('options: an object is needed');
  for (const [key, value] of Object.entries(changes)) {
    if (!Object.hasOwn(settingChecks, key)) {
      throw invalid(`'${key}' is not an option; there are ${Object.keys(settingChecks).join(', ')}`);
    }
    if (value !== undefined) settingChecks[key as keyof EngineConfig](value);
  }
}

export function checkThreads(threads: unknown): asserts threads is number {
  if (!Number.isInteger(threads) || (threads as number) < 1 || (threads as number) > 64) {
    throw invalid(`threads: ${threads} is not an integer from 1 to 64`);
  }
}

/** An address as another thread takes it. */
function absolute(address: string | URL | undefined, name: string): string | undefined {
  if (address === undefined) return undefined;
  const here = (globalThis as { location?: { href: string } }).location?.href;
  try {
    return here === undefined ? new URL(address).href : new URL(address, here).href;
  } catch (error) {
    throw new ZeropointError(
      'invalid-argument',
      `${name}: '${address}' is not an absolute URL`,
      {},
      { cause: error },
    );
  }
}

/** Where the WebAssembly is. */
async function sourceOf({ wasmModule, wasmBase }: EngineConfig): Promise<WasmSource> {
  if (wasmModule) return { module: wasmModule };
  const base = absolute(wasmBase, 'wasmBase');
  const { embedded, prefix = '', wasmFiles } = platform();
  if (base !== undefined) {
    const folder = base.endsWith('/') ? base : `${base}/`;
    const files = builds.map((build) => [build, `${folder}${prefix}${build}.wasm`]);
    return { files: Object.fromEntries(files) as Record<Build, string> };
  }
  if (embedded) return { module: await embedded() };
  try {
    return { files: wasmFiles?.() };
  } catch (error) {
    throw new ZeropointError(
      'io',
      `the engine's WebAssembly was not found beside the package: ${messageOf(error)}`,
      { hint: 'say where the files of dist/wasm are: configure({ wasmBase })' },
      { cause: error },
    );
  }
}

/** The build that suits a module that somebody compiled; its instructions do not matter to its JavaScript. */
const buildOf = (module: WebAssembly.Module, build: Build | undefined): Build | undefined =>
  build && hasThreads(build) === takesMemory(module) ? build : takesMemory(module) ? 'simd-threads' : 'simd';

// ---- opening

async function open(config: EngineConfig): Promise<Client> {
  const threads = config.threads ?? Math.min(4, cores());
  const chosen = config.build === 'auto' ? undefined : config.build;
  const wasm = await sourceOf(config);
  // Where memory can be shared the build with threads is taken, whatever the default: a session may ask for more.
  const options: HostOptions = {
    build: wasm.module ? buildOf(wasm.module, chosen) : chosen,
    wasm,
    workerUrl: absolute(config.workerUrl, 'workerUrl'),
    threads: canShareMemory() ? Math.max(2, threads) : 1,
  };
  const { startThread, loadLocal } = platform();
  if (startThread && (config.worker ?? isWindow)) {
    const thread = await startThread(options.workerUrl);
    const line = new Line(thread, config.stepTimeout ?? 120_000, options.workerUrl);
    try {
      const info = await line.open(options);
      const transport: Transport = {
        remote: true,
        call: (method, args, buffers) => line.call(method, args, buffers),
        close: (reason) => line.end(reason),
      };
      const client = new Client(transport, info, threads);
      line.onLost = (error) => client.end(error);
      return client;
    } catch (error) {
      line.end(lost('it could not be opened'));
      throw error;
    }
  }
  if (config.worker) throw invalid('worker: there are no workers here');
  if (!loadLocal) throw new ZeropointError('internal', 'this entry of the package has no engine');
  const { openHost, callHost } = await loadLocal();
  let host: RunHost | undefined = await openHost(options);
  const info = host.info();
  const transport: Transport = {
    remote: false,
    call: (method, args) => (host ? callHost(host, method, args) : Promise.reject(closed())),
    close() {
      host?.close();
      host = undefined;
    },
  };
  const client = new Client(transport, info, threads);
  host.onLost = (why) => client.end(lost(why));
  return client;
}

// ---- the engine in use

let config: EngineConfig = {};
let opening: Promise<Client> | undefined;

/**
 * Says how to load the engine. Call it before the first model is loaded. Models loaded earlier keep the engine that they
 * have, which ends with the last of them.
 */
export function configure(changes: EngineConfig): void {
  checkConfig(changes);
  config = { ...config, ...changes };
  opening?.then((client) => client.retire()).catch(() => {});
  opening = undefined;
}

/** The engine in use; loaded when it is first needed, and anew after it was lost. */
export async function engine(): Promise<Client> {
  const current = opening;
  if (current) {
    const loaded = await current;
    if (!loaded.ended) return loaded;
    if (opening === current) opening = undefined;
    return engine();
  }
  const mine = open(config);
  opening = mine;
  mine.then(
    (client) => {
      // WebAssembly memory never shrinks: what has grown so far goes with its engine, and the next model gets a new one.
      client.onFull = () => {
        if (opening === mine) opening = undefined;
        client.retire();
      };
    },
    () => {
      if (opening === mine) opening = undefined; // a later call may find the files
    },
  );
  return mine;
}

/** For the package's other files. */
export const engineInternals: { of(engine: Engine): Client } = {
  of: () => {
    throw new Error('set by Engine');
  },
};

/**
 * An engine beside the default engine of models, with its own memory and, in a page, its own worker. A long quantization in
 * one engine does not delay runs in another. `await using` closes it.
 *
 * ```ts
 * const engine = await createEngine({ threads: 1 });
 * const model = await Model.load('model.onnx', { engine });
 * await engine.close(); // its models and sessions are of no more use, and all its memory is freed
 * ```
 */
export class Engine {
  readonly #client: Client;

  static {
    engineInternals.of = (engine) => engine.#client;
  }

  /** Internal: use createEngine(). */
  constructor(client: Client) {
    this.#client = client;
  }

  /** Whether it was closed or lost. Calls of its models then throw `disposed` or `engine-lost`. */
  get ended(): boolean {
    return this.#client.ended;
  }

  /** A description of the engine and the machine. Throws `disposed` or `engine-lost` after its end. */
  async info(): Promise<EngineInfo> {
    return infoOf(this.#client);
  }

  /** Ends its worker and frees its memory at once: calls under way throw `disposed`. */
  async close(): Promise<void> {
    this.#client.end(closed());
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Opens an engine. Settings that are missing here are those of configure(). Throws `io` if its files are not found. */
export async function createEngine(settings: EngineConfig = {}): Promise<Engine> {
  checkConfig(settings);
  return new Engine(await open({ ...config, ...settings }));
}

/** A description of the engine in use, and of the machine. */
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
   * The operands that the relaxed dot product multiplies here, as found by trying: `unsigned` or `signed` (exact, and used),
   * `saturating` (inexact, not used), or `absent`.
   */
  relaxedDot: string;
  /** Whether a multiply-add rounds once. */
  fusedMultiplyAdd: boolean;
  platform: 'node' | 'browser';
  cores: number;
  /**
   * Bytes of WebAssembly memory: reserved (this only grows), allocated in it, and the most that it can have.
   */
  memory: { reserved: number; used: number; limit: number };
}

async function infoOf(client: Client): Promise<EngineInfo> {
  const { schema: _, ...info } = client.info;
  return {
    ...info,
    threads: client.threads,
    worker: client.remote,
    platform: isNode ? 'node' : 'browser',
    cores: cores(),
    memory: await client.call('memory', []),
  };
}

/** Loads the default engine, if it is not loaded yet, and describes it. */
export async function engineInfo(): Promise<EngineInfo> {
  return infoOf(await engine());
}
