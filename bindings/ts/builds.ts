// Which of the four builds of the engine this machine runs, and how to load it.
import { relaxedSimd, simd } from 'wasm-feature-detect';
import type { EngineModule } from './engine/module.ts';
import { messageOf, ZeropointError } from './errors.ts';
import { awaitThreads } from './platform.ts';

/** The builds of the engine: {128-bit SIMD, relaxed SIMD} × {one thread, threads}. */
export const builds = ['simd', 'simd-threads', 'relaxed', 'relaxed-threads'] as const;
/** One of the four builds of the engine. */
export type Build = (typeof builds)[number];

type Factory = (options: {
  locateFile?: (file: string) => string;
  threadPoolSize?: number;
}) => Promise<EngineModule>;

// Literal paths, so that a bundler finds the modules and, in them, their .wasm files.
const importers: Record<Build, () => Promise<{ default: Factory }>> = {
  simd: () => import('./wasm/simd.mjs'),
  'simd-threads': () => import('./wasm/simd-threads.mjs'),
  relaxed: () => import('./wasm/relaxed.mjs'),
  'relaxed-threads': () => import('./wasm/relaxed-threads.mjs'),
};

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

/** Loads a build from beside this module, or from `base`. */
export async function loadBuild(build: Build, base: string | undefined): Promise<EngineModule> {
  try {
    if (base === undefined) {
      const { default: factory } = await importers[build]();
      return await factory({});
    }
    const folder = base.endsWith('/') ? base : `${base}/`;
    const { default: factory } = await import(/* @vite-ignore */ `${folder}${build}.mjs`);
    return await (factory as Factory)({ locateFile: (file) => folder + file });
  } catch (error) {
    throw new ZeropointError(
      'io',
      `the engine (build '${build}') could not be loaded: ${messageOf(error)}`,
      {
        ...(base === undefined ? {} : { file: base }),
        hint: 'serve the files of dist/wasm beside the package, or say where they are: configure({ wasmBase })',
      },
      { cause: error },
    );
  }
}

/** The last one in each engine's row of those who wait for workers. */
const rows = new WeakMap<EngineModule, Promise<unknown>>();

/**
 * Does what starts threads, when there are so many workers for them. A thread can start only when JavaScript yields, and
 * the engine's calls do not: one that ends a thread which has not started would wait for ever. So workers are started
 * ahead, and those of one are not taken by another who does not wait for them.
 */
export async function withWorkers<T>(module: EngineModule, workers: number, work: () => T): Promise<T> {
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
