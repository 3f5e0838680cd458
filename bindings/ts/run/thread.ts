// The worker thread of `zeropoint/run` in Node.
import { beThread } from '../engine/node-worker.ts';
import { glue } from './glue.ts';
import { openHost } from './local.ts';
import { prefix } from './prefix.ts';

beThread(glue, openHost, prefix);
