// zeropoint/run in Node: the same as in browsers, with files and worker threads.
import { availableParallelism } from 'node:os';
import { nodeFiles } from '../node-files.ts';
import { startNodeThread, wasmOfPackage } from '../node-threads.ts';
import { setPlatform } from '../platform.ts';
import * as local from './local.ts';
import { prefix } from './prefix.ts';

setPlatform({
  ...nodeFiles,
  prefix,
  cores: availableParallelism,
  startThread: startNodeThread,
  startHelper: startNodeThread,
  wasmFiles: wasmOfPackage,
  loadLocal: () => local,
});

export * from './api.ts';
