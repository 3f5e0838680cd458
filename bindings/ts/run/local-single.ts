// The same, of builds without threads.
import { createRunHost, type HostOptions, type RunHost } from '../engine/run-host.ts';
import relaxed from '../wasm/run-relaxed.mjs';
import simd from '../wasm/run-simd.mjs';

export { callHost } from '../engine/run-host.ts';

export const openHost = (options: HostOptions): Promise<RunHost> => createRunHost(options, { simd, relaxed });
