// A worker thread of the package's in Node: started by node-threads.ts.
import { availableParallelism } from 'node:os';
import { parentPort } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { refuse, takeRole } from './engine/role.ts';
import { nodeFiles } from './node-files.ts';
import { startNodeThread } from './node-threads.ts';
import { setPlatform } from './platform.ts';

setPlatform({ ...nodeFiles, cores: availableParallelism, startHelper: startNodeThread });
if (parentPort) {
  const port = parentPort;
  // What Emscripten's threads expect of a worker's global object.
  const scope = globalThis as unknown as Record<string, unknown>;
  scope.self = globalThis;
  scope.postMessage = (message: unknown) => port.postMessage(message);
  port.on('message', (data) => (scope.onmessage as ((event: object) => void) | undefined)?.({ data }));
  port.on('messageerror', refuse);
  takeRole(nodeEndpoint(port));
}
