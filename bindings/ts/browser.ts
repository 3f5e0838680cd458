// What pages and workers have: a worker beside this file, and the WebAssembly in wasm/. Bundlers find both by the form
// `new URL('…', import.meta.url)`.
import type { Platform } from './platform.ts';
import { startBrowserThread } from './spawn.ts';

const href = (url: URL) => new URL(url, globalThis.location?.href).href;

export const browser: Platform = {
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
