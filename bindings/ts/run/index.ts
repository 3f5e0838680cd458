/**
 * zeropoint/run: runs ONNX models on the engine of zeropoint, and does nothing else, for pages that have to stay small. It
 * gives the same results and the same errors as the package's main entry.
 */
import { href } from '../browser.ts';
import { setPlatform } from '../platform.ts';
import { startBrowserThread } from '../spawn.ts';
import { prefix } from './prefix.ts';

// Bundlers find the worker and the WebAssembly by the form `new URL('…', import.meta.url)`.
setPlatform({
  prefix,
  startBundled: () =>
    new Worker(new URL('./run-worker.js', import.meta.url), { type: 'module', name: 'zeropoint' }),
  startThread: startBrowserThread,
  startHelper: startBrowserThread,
  wasmFiles: () => ({
    simd: href(new URL('./wasm/run-simd.wasm', import.meta.url)),
    'simd-threads': href(new URL('./wasm/run-simd-threads.wasm', import.meta.url)),
    relaxed: href(new URL('./wasm/run-relaxed.wasm', import.meta.url)),
    'relaxed-threads': href(new URL('./wasm/run-relaxed-threads.wasm', import.meta.url)),
  }),
  loadLocal: () => import('./local.ts'),
});

export * from './api.ts';
