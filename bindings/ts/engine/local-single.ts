// The engine in the caller's thread, of builds without threads.
import relaxed from '../wasm/relaxed.mjs';
import simd from '../wasm/simd.mjs';
import { EngineHost, type HostOptions } from './host.ts';

export { callHost } from './host.ts';

export const openHost = (options: HostOptions): Promise<EngineHost> =>
  EngineHost.create(options, { simd, relaxed });
