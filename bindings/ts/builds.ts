// Which of the four builds of the engine this machine runs, and how to load it.
import { relaxedSimd, simd } from 'wasm-feature-detect';
import type { RunModule } from './engine/module.ts';
import { messageOf, ZeropointError } from './errors.ts';
import { awaitThreads, isNode, platform, type Thread } from './platform.ts';

/** The builds of the engine: {128-bit SIMD, relaxed SIMD} × {one thread, threads}. */
export const builds = ['simd', 'simd-threads', 'relaxed', 'relaxed-threads'] as const;
/** One of the four builds of the engine. */
export type Build = (typeof builds)[number];

export const hasThreads = (build: Build): boolean => build.endsWith('-threads');

/** A build's JavaScript, as Emscripten makes it and rolldown.config.mjs changes it. */
export type Factory<M extends RunModule = RunModule> = (options: {
  instantiateWasm?: (
    imports: WebAssembly.Imports,
    receive: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void,
  ) => object;
  /** How a thread is started that becomes one of the engine's. */
  startThread?: () => Thread;
  /** This is such a thread. */
  isThread?: boolean;
}) => Promise<M>;

/** The JavaScript of the builds that are there. */
export type Glue<M extends RunModule = RunModule> = Partial<Record<Build, Factory<M>>>;

/** Where a build's WebAssembly comes from: the first of these that is there. Can be sent to a thread. */
export interface WasmSource {
  module?: WebAssembly.Module | undefined;
  /** Addresses. */
  files?: Readonly<Record<Build, string>> | undefined;
}

/** Threads share memory, which browsers allow only to pages that are isolated across origins. */
export function canShareMemory(): boolean {
  if (typeof SharedArrayBuffer === 'undefined') return false;
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  return crossOriginIsolated !== false;
}

/** The best build that this machine runs. */
export async function pickBuild(threads: number): Promise<Build> {
  if (!(await simd())) {
    throw new ZeropointError('internal', 'this browser has no WebAssembly SIMD', {
      hint: 'update the browser: all current ones have had it since 2023',
    });
  }
  const set = (await relaxedSimd()) ? 'relaxed' : 'simd';
  return threads > 1 && canShareMemory() ? `${set}-threads` : set;
}

/** Whether a module is of a build with threads: those are given their memory. */
export const takesMemory = (module: WebAssembly.Module): boolean =>
  WebAssembly.Module.imports(module).some(({ kind }) => kind === 'memory');

async function compile(address: string): Promise<WebAssembly.Module> {
  const { readFile } = platform();
  if (isNode && readFile && /^file:/i.test(address)) {
    const bytes = await readFile(new URL(address));
    return WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  }
  const response = await fetch(address, { credentials: 'same-origin' });
  if (!response.ok) throw new Error(`${address}: HTTP ${response.status}`);
  const type = response.headers.get('Content-Type') ?? '';
  // Only what is served as WebAssembly may be compiled while it comes.
  if (/^application\/wasm\b/i.test(type)) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Loads a build. `startThread` starts a thread that becomes one of the engine's. */
export async function loadBuild<M extends RunModule>(
  build: Build,
  wasm: WasmSource,
  glue: Glue<M>,
  startThread: (() => Thread) | undefined,
): Promise<M> {
  const address = wasm.files?.[build];
  try {
    const factory = glue[build];
    if (!factory) throw new Error('it is not part of this package entry');
    if (!wasm.module && address === undefined) throw new Error('the address of its WebAssembly is missing');
    const module = wasm.module ?? (await compile(address as string));
    return await new Promise<M>((resolve, reject) => {
      factory({
        instantiateWasm(imports, receive) {
          WebAssembly.instantiate(module, imports).then((instance) => receive(instance, module), reject);
          return {};
        },
        ...(startThread && { startThread }),
      }).then(resolve, reject);
    });
  } catch (error) {
    throw new ZeropointError(
      'io',
      `the engine (build '${build}') could not be loaded: ${messageOf(error)}`,
      {
        ...(address === undefined ? {} : { file: address }),
        hint: 'serve the files of dist/wasm and give their address: configure({ wasmBase }), or give the compiled module: configure({ wasmModule })',
      },
      { cause: error },
    );
  }
}

/** The last one in each engine's row of those who wait for workers. */
const rows = new WeakMap<RunModule, Promise<unknown>>();

/**
 * Does what starts threads, when there are so many workers for them. A thread can start only when JavaScript yields, and
 * the engine's calls do not: one that ends a thread which has not started would wait for ever. So workers are started
 * ahead, and those of one are not taken by another who does not wait for them.
 */
export async function withWorkers<T>(module: RunModule, workers: number, work: () => T): Promise<T> {
  const { PThread } = module;
  if (!PThread) return work();
  const turn = (rows.get(module) ?? Promise.resolve()).then(async () => {
    const started: Promise<unknown>[] = [];
    while (PThread.unusedWorkers.length < workers) {
      const before = PThread.unusedWorkers.length;
      PThread.allocateUnusedWorker();
      started.push(PThread.loadWasmModuleToWorker(PThread.unusedWorkers[before]));
    }
    await Promise.all(started);
    return work();
  });
  rows.set(
    module,
    turn.catch(() => undefined),
  );
  return awaitThreads(turn);
}
