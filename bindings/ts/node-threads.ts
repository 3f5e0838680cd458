// Worker threads of Node's, in the shape of a browser's.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type Build, builds } from './builds.ts';
import { nodeFiles } from './node-files.ts';
import { type Platform, platform, type Thread } from './platform.ts';

/**
 * The address of one of the package's files. A bundler may have moved this code away from them, or dropped the address of
 * this module: then they are looked for where the program's packages are.
 */
export function packageFile(name: string): URL {
  const here = (import.meta as { url?: string }).url;
  const beside = here === undefined ? undefined : new URL(name, here);
  if (beside && existsSync(fileURLToPath(beside))) return beside;
  for (const from of [process.argv[1], join(process.cwd(), 'program.js')]) {
    try {
      const manifest = createRequire(pathToFileURL(from ?? '.')).resolve('zeropoint/package.json');
      const found = new URL(`dist/${name}`, pathToFileURL(manifest));
      if (existsSync(fileURLToPath(found))) return found;
    } catch {} // not installed there
  }
  if (!beside) throw new Error(`${name} of the package zeropoint was not found`);
  return beside;
}

/** Where the WebAssembly of each build is. */
function wasmOfPackage(): Record<Build, string> {
  const { prefix = '' } = platform();
  const files = builds.map((build) => [build, packageFile(`wasm/${prefix}${build}.wasm`).href]);
  return Object.fromEntries(files) as Record<Build, string>;
}

type Listener = (event: { data?: unknown; message?: string }) => void;

/** A program that is a string (`node --input-type=module -e …`) has a flag that threads inherit and no file takes. */
const flags = () =>
  process.execArgv.some((flag) => flag.startsWith('--input-type')) ? { execArgv: [] } : undefined;

class NodeThread implements Thread {
  /** Emscripten sets these. */
  onmessage: Listener | null = null;
  onerror: Listener | null = null;
  readonly #thread: Worker;
  readonly #listeners = new Map<string, Set<Listener>>();
  #ended = false;

  constructor() {
    const thread = new Worker(packageFile(`${platform().prefix ?? ''}thread.js`), flags());
    this.#thread = thread;
    thread.on('message', (data) => this.#tell('message', { data }, this.onmessage));
    thread.on('messageerror', (error) => this.#tell('messageerror', error, null));
    thread.on('error', (error) => this.#tell('error', error as Error, null));
    thread.on('exit', (code) => {
      if (!this.#ended) this.#tell('error', { message: `it ended with code ${code}` }, null);
    });
    thread.unref(); // it does not keep the program alive: awaitThreads() does, while somebody waits
  }

  #tell(type: string, event: { data?: unknown; message?: string }, also: Listener | null): void {
    also?.(event);
    for (const listener of [...(this.#listeners.get(type) ?? [])]) listener(event);
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    this.#thread.postMessage(message, transfer as never);
  }

  addEventListener(type: string, listener: Listener): void {
    const listeners = this.#listeners.get(type) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(type, listeners);
  }

  removeEventListener(type: string, listener: Listener): void {
    this.#listeners.get(type)?.delete(listener);
  }

  terminate(): unknown {
    this.#ended = true;
    return this.#thread.terminate();
  }
}

export const startNodeThread = (): Thread => new NodeThread();

/** What every entry of the package has in Node: files, threads and the WebAssembly. */
export const nodePlatform = {
  ...nodeFiles,
  cores: availableParallelism,
  startThread: startNodeThread,
  startHelper: startNodeThread,
  wasmFiles: wasmOfPackage,
} satisfies Partial<Platform>;
