// Starts worker.js. The literal form is what bundlers look for.
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { platform } from './platform.ts';
import type { WorkerFace } from './worker.ts';

/** The engine in a worker, called through messages. */
export async function spawnWorker(): Promise<Comlink.Remote<WorkerFace>> {
  const { startThread } = platform();
  if (startThread) {
    const thread = await startThread(new URL('./worker.js', import.meta.url));
    return Comlink.wrap<WorkerFace>(nodeEndpoint(thread));
  }
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'zeropoint' });
  const failed = new Promise<never>((_, reject) => {
    worker.addEventListener('error', (event) => reject(new Error(event.message || 'the worker did not start')), {
      once: true,
    });
  });
  const face = Comlink.wrap<WorkerFace>(worker);
  await Promise.race([face.ready(), failed]);
  return face;
}
