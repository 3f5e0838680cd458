// The engine in a worker thread of Node's: started by node.ts.
import { parentPort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { face } from './engine/face.ts';
import { nodeFiles } from './node-files.ts';
import { setPlatform } from './platform.ts';

setPlatform(nodeFiles);
if (parentPort) expose(face, nodeEndpoint(parentPort));
