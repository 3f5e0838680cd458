// A worker thread of the package's in Node: started by node-threads.ts.
import { availableParallelism } from 'node:os';
import { parentPort } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { Glue } from '../builds.ts';
import { nodeFiles } from '../node-files.ts';
import { startNodeThread } from '../node-threads.ts';
import { setPlatform } from '../platform.ts';
import type { Opener } from './face.ts';
import { refuse, takeRole } from './role.ts';

/** What the script of a thread does. `prefix`: Platform.prefix. */
export function beThread(glue: Glue, openHost: Opener, prefix = ''): void {
  setPlatform({ ...nodeFiles, prefix, cores: availableParallelism, startHelper: startNodeThread });
  if (!parentPort) return;
  const port = parentPort;
  // What Emscripten's threads expect of a worker's global object.
  const scope = globalThis as unknown as Record<string, unknown>;
  scope.self = globalThis;
  scope.postMessage = (message: unknown) => port.postMessage(message);
  port.on('message', (data) => (scope.onmessage as ((event: object) => void) | undefined)?.({ data }));
  port.on('messageerror', refuse);
  takeRole(nodeEndpoint(port), glue, openHost);
}
