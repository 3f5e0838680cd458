/**
 * zeropoint in one file, for service workers, extensions and pages of one file: with the engine's WebAssembly in it (one
 * thread), and without a worker or `import()`. The engine runs in the thread that uses it. Other WebAssembly can be given:
 * `configure({ wasmModule })` or `configure({ wasmBase })`.
 */
import { gunzipSync } from 'fflate';
import * as local from './engine/local-single.ts';
import { setPlatform } from './platform.ts';
import packed from './wasm/simd.wasm';

setPlatform({
  async embedded() {
    return WebAssembly.compile(gunzipSync(Uint8Array.from(atob(packed), (c) => c.charCodeAt(0))));
  },
  loadLocal: () => local,
});

export * from './api.ts';
