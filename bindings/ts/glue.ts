// The JavaScript of all builds. Where two builds' are the same text, the bundle has it once.
import type { Glue } from './builds.ts';
import type { EngineModule } from './engine/module.ts';
import relaxed from './wasm/relaxed.mjs';
import relaxedThreads from './wasm/relaxed-threads.mjs';
import simd from './wasm/simd.mjs';
import simdThreads from './wasm/simd-threads.mjs';

export const glue: Glue<EngineModule> = {
  simd,
  'simd-threads': simdThreads,
  relaxed,
  'relaxed-threads': relaxedThreads,
};
