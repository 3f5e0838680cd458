// The engine in the caller's thread, of builds without threads.
import relaxed from '../wasm/relaxed.mjs';
import simd from '../wasm/simd.mjs';
import { createHost } from './host.ts';
import type { HostOptions, RunHost } from './run-host.ts';

export { callHost } from './run-host.ts';

export const openHost = (options: HostOptions): Promise<RunHost> => createHost(options, { simd, relaxed });
