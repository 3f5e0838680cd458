// The platform of pages and workers: a worker beside this file, and the WebAssembly in wasm/. Bundlers find both by the form
// `new URL('…', import.meta.url)`.
import type { Platform } from './platform.ts';
import { startBrowserThread } from './spawn.ts';

/** An address as workers take it. */
export const href = (url: URL): string => new URL(url, globalThis.location?.href).href;

export const browser: Platform = {
  // The form that bundlers look for: they replace the address with that of what they made of worker.ts.
  startBundled: () =>
    new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'zeropoint' }),
  startThread: startBrowserThread,
  startHelper: startBrowserThread,
  wasmFiles: () => ({
    simd: href(new URL('./wasm/simd.wasm', import.meta.url)),
    'simd-threads': href(new URL('./wasm/simd-threads.wasm', import.meta.url)),
    relaxed: href(new URL('./wasm/relaxed.wasm', import.meta.url)),
    'relaxed-threads': href(new URL('./wasm/relaxed-threads.wasm', import.meta.url)),
  }),
  loadLocal: () => import('./engine/local.ts'),
};
