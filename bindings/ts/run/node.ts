// zeropoint/run in Node: the same as in browsers, with files and worker threads.
import { nodePlatform } from '../node-threads.ts';
import { setPlatform } from '../platform.ts';
import * as local from './local.ts';
import { prefix } from './prefix.ts';

setPlatform({ ...nodePlatform, prefix, loadLocal: () => local });

export * from './api.ts';
