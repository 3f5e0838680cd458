// The engine that only runs models, in the caller's thread.
import { createRunHost, type HostOptions, type RunHost } from '../engine/run-host.ts';
import { glue } from './glue.ts';

export { callHost } from '../engine/run-host.ts';

export const openHost = (options: HostOptions): Promise<RunHost> => createRunHost(options, glue);
