// The JavaScript of all builds that only run models.
import type { Glue } from '../builds.ts';
import relaxed from '../wasm/run-relaxed.mjs';
import relaxedThreads from '../wasm/run-relaxed-threads.mjs';
import simd from '../wasm/run-simd.mjs';
import simdThreads from '../wasm/run-simd-threads.mjs';

export const glue: Glue = {
  simd,
  'simd-threads': simdThreads,
  relaxed,
  'relaxed-threads': relaxedThreads,
};
