// The package's worker in browsers.
import { beWorker } from './engine/browser-worker.ts';
import { openHost } from './engine/local.ts';
import { glue } from './glue.ts';

beWorker(glue, openHost);
