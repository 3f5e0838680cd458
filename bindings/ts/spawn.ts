// Starts the engine in a worker. The literal form of `new Worker` is what bundlers look for.
import { type Endpoint, type Remote, wrap } from 'comlink';
import type { WorkerFace } from './engine/face.ts';
import { platform } from './platform.ts';

export async function spawnWorker(): Promise<Remote<WorkerFace>> {
  const { startThread } = platform();
  if (startThread) return wrap<WorkerFace>(startThread() as Endpoint);
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'zeropoint' });
  const face = wrap<WorkerFace>(worker);
  // Comlink would wait for ever for a worker whose script is not there.
  await new Promise<void>((resolve, reject) => {
    worker.addEventListener(
      'error',
      (event) => reject(new Error(event.message || 'the worker did not start')),
      {
        once: true,
      },
    );
    face.ready().then(() => resolve(), reject);
  });
  return face;
}
