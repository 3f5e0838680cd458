// The engine in the caller's thread.
import { glue } from '../glue.ts';
import { createHost } from './host.ts';
import type { HostOptions, RunHost } from './run-host.ts';

export { callHost } from './run-host.ts';

export const openHost = (options: HostOptions): Promise<RunHost> => createHost(options, glue);
