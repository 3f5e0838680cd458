// What differs between browsers, service workers and Node. Each entry of the package registers what it has, so that no
// `node:` import reaches a bundle for browsers, and no `import()` a service worker.
import type { Build } from './builds.ts';
import type { HostMethod, HostOptions, Result, RunHost } from './engine/run-host.ts';

/** Pixels, four bytes each: red, green, blue, alpha. The shape of the browser's ImageData. */
export interface RgbaImage {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

/** A file that is read without waiting. */
export interface OpenFile {
  /** Fills `into` with the bytes from `at` on. Throws where there are not as many. */
  read(at: number, into: Uint8Array): void;
  close(): void;
}

/** A file of the program's own. */
export interface ScratchHandle {
  size(): number;
  read(at: number, into: Uint8Array): void;
  write(at: number, bytes: Uint8Array): void;
  truncate(size: number): void;
  /** What was written is in the file, whatever becomes of the machine. */
  flush(): void;
}

/** See engine/scratch.ts. */
export interface OpenScratch {
  readonly name: string;
  data: ScratchHandle;
  /** Where the file has a name, and stays if the program is stopped. */
  notes?: ScratchHandle | undefined;
  /** The files go. */
  close(): void;
}

/** A thread, in the shape of a browser's Worker. */
export interface Thread {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  /** `error`: it failed, or (in Node) ended. `messageerror`: what it sent could not be read. */
  addEventListener(type: string, listener: (event: { data?: unknown; message?: string }) => void): void;
  removeEventListener(type: string, listener: (event: { data?: unknown; message?: string }) => void): void;
  terminate(): unknown;
}

/** The engine in this thread. */
export interface LocalEngine {
  openHost(options: HostOptions): Promise<RunHost>;
  callHost(host: RunHost, method: HostMethod, args: unknown[]): Promise<Result<unknown>>;
}

export interface FoundFile {
  path: string;
  size: number;
  /** When it was last written: milliseconds since 1970. */
  changed: number;
}

export interface Platform {
  /** What the names of the entry's workers and WebAssembly begin with. By default nothing. */
  prefix?: string;
  /** Reads a file by path or file: URL. Browsers have none. */
  readFile?(path: string | URL): Promise<Uint8Array>;
  /** How long a file is; throws where it is none. */
  sizeOfFile?(path: string | URL): Promise<FoundFile>;
  /** A file that a model names. Throws where it is not there, or not in the model's folder. */
  besideModel?(model: string | URL, name: string): Promise<FoundFile>;
  openFile?(path: string): OpenFile;
  /** Takes over what a program that was stopped has left under the path. Without a path: a file that nobody else sees. */
  scratch?(path?: string): OpenScratch;
  /** Decodes an image file. Throws what its library throws. */
  decodeImage?(bytes: Uint8Array): Promise<RgbaImage>;
  /** Starts the entry's worker, in the form that bundlers look for. */
  startBundled?(): Worker;
  /** Starts a thread with the package's worker script, which waits to be told what it is: engine/role.ts. */
  startThread?(workerUrl: string | undefined): Promise<Thread> | Thread;
  /** The same, at once: for threads of an engine that is in this thread. */
  startHelper?(workerUrl: string | undefined): Thread;
  /** Where the WebAssembly of each build is, as addresses. */
  wasmFiles?(): Record<Build, string>;
  /** WebAssembly that came with the JavaScript. */
  embedded?(): Promise<WebAssembly.Module>;
  loadLocal?(): Promise<LocalEngine> | LocalEngine;
  cores?(): number;
}

let current: Platform = {};

export const platform = (): Platform => current;

export function setPlatform(next: Platform): void {
  current = next;
}

/** Electron's renderers may have Node's `process`, and are browsers all the same. */
export const isNode: boolean =
  typeof process === 'object' &&
  process !== null &&
  typeof process.versions?.node === 'string' &&
  (process as { type?: string }).type !== 'renderer';

declare const FileReaderSync: unknown;
/** Whether the caller is in a worker of a page, where files can be read and written without waiting. */
export const isPageWorker = (): boolean => typeof FileReaderSync !== 'undefined';

/** Whether the caller is a page's own thread, which must not be kept busy. */
export const isWindow: boolean = !isNode && typeof window === 'object' && typeof document === 'object';

/**
 * Waits for worker threads. In Node they do not keep the process alive by themselves, so that a program ends when its
 * own work is done; while it waits for them it must not end.
 */
export async function awaitThreads<P extends Promise<unknown>>(work: P): Promise<Awaited<P>> {
  if (!isNode) return await work;
  const timer = setInterval(() => {}, 2 ** 30);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

/** How many threads this machine runs at once. */
export function cores(): number {
  return (
    current.cores?.() ??
    (globalThis.navigator as { hardwareConcurrency?: number } | undefined)?.hardwareConcurrency ??
    1
  );
}
