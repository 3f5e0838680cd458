// The worker of `zeropoint/run` in browsers.
import { beWorker } from '../engine/browser-worker.ts';
import { glue } from './glue.ts';
import { openHost } from './local.ts';

beWorker(glue, openHost);
