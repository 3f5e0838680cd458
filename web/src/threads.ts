// The page's own workers. Comlink waits for ever for one that could not start or has ended; here the call fails.
import * as Comlink from 'comlink';

/**
 * The face of a worker. When the worker fails (its file is not there, a browser keeps it from starting, an error that it
 * does not catch), every open call and every later one is rejected, and `onFailure` is called once.
 */
export function faceOf<Face>(worker: Worker, onFailure: () => void = () => {}): Comlink.Remote<Face> {
  const remote = Comlink.wrap<Face>(worker);
  const open = new Set<(error: Error) => void>();
  let failure: Error | undefined;
  const fail = (event: Event) => {
    event.preventDefault(); // it is told where the answer was awaited
    if (failure) return;
    const why = event instanceof ErrorEvent && event.message ? ` (${event.message})` : '';
    failure = new Error(`A part of the page could not be started, or has ended${why}. Reload the page.`);
    for (const reject of open) reject(failure);
    worker.terminate();
    onFailure();
  };
  worker.addEventListener('error', fail);
  worker.addEventListener('messageerror', fail);
  return new Proxy(remote, {
    get(target, name) {
      const call = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
      if (typeof name === 'symbol' || name === 'then') return call;
      // No race with one promise of failure: it would keep every answer for as long as the worker lives.
      return (...args: unknown[]) =>
        new Promise((resolve, reject) => {
          if (failure) return reject(failure);
          open.add(reject);
          call(...args)
            .then(resolve, reject)
            .finally(() => open.delete(reject));
        });
    },
  });
}

/** A thread, begun with the first call, and again after a failure. */
export function lastingThread<Face>(start: () => Worker): () => Comlink.Remote<Face> {
  let face: Comlink.Remote<Face> | undefined;
  return () => {
    face ??= faceOf<Face>(start(), () => {
      face = undefined;
    });
    return face;
  };
}
