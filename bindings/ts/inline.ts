/**
 * zeropoint in one file, for service workers, extensions and pages of one file: with the engine's WebAssembly in it (one
 * thread), and without a worker or `import()`. The engine runs in the thread that uses it. Other WebAssembly can be given:
 * `configure({ wasmModule })` or `configure({ wasmBase })`.
 */
import * as local from './engine/local-single.ts';
import { unpacked } from './inline-module.ts';
import { setPlatform } from './platform.ts';
import packed from './wasm/simd.wasm';

setPlatform({ embedded: () => unpacked(packed), loadLocal: () => local });

export * from './api.ts';
