// The engine in the caller's thread.
import { glue } from '../glue.ts';
import { EngineHost, type HostOptions } from './host.ts';

export { callHost } from './host.ts';

export const openHost = (options: HostOptions): Promise<EngineHost> => EngineHost.create(options, glue);
