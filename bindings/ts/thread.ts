// The package's worker thread in Node.
import { openHost } from './engine/local.ts';
import { beThread } from './engine/node-worker.ts';
import { glue } from './glue.ts';

beThread(glue, openHost);
