// What differs between browsers and Node. Browsers need nothing here; node.ts registers what Node adds, so that no
// `node:` import reaches a bundle for browsers.

/** Pixels, four bytes each: red, green, blue, alpha. The shape of the browser's ImageData. */
export interface RgbaImage {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

export interface Platform {
  /** Reads a file by path or file: URL. Browsers have none. */
  readFile?(path: string | URL): Promise<Uint8Array>;
  /** Decodes an image file. Throws what its library throws. */
  decodeImage?(bytes: Uint8Array): Promise<RgbaImage>;
  /** Starts the engine in a worker thread that does not keep the process alive. */
  startThread?(): unknown;
  cores?(): number;
}

let current: Platform = {};

export const platform = (): Platform => current;

export function setPlatform(next: Platform): void {
  current = next;
}

export const isNode: boolean =
  typeof process === 'object' && process !== null && typeof process.versions?.node === 'string';

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
