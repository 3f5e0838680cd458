// Starts the package's worker in a page, or in a worker of one's own.
import { workerHint } from './engine/line.ts';
import { messageOf, ZeropointError } from './errors.ts';
import { platform, type Thread } from './platform.ts';

/** A worker whose script is of another origin: browsers let a script of this origin import it. */
function startAcross(address: string): Worker {
  const script = new Blob([`import ${JSON.stringify(address)};`], { type: 'text/javascript' });
  // The address stays good: the engine's threads are started from it too.
  return new Worker(URL.createObjectURL(script), { type: 'module', name: 'zeropoint' });
}

/** Of which origin an address is; undefined where that says nothing. */
function originOf(address: string): string | undefined {
  try {
    const { origin, protocol } = new URL(address, globalThis.location.href);
    return /^https?:$/.test(protocol) ? origin : undefined;
  } catch {
    return undefined;
  }
}

export function startBrowserThread(workerUrl: string | undefined): Thread {
  const here = globalThis.location.origin;
  try {
    if (workerUrl !== undefined) {
      return originOf(workerUrl) === here || originOf(workerUrl) === undefined
        ? new Worker(workerUrl, { type: 'module', name: 'zeropoint' })
        : startAcross(workerUrl);
    }
    // Some bundlers put in the path that this file had when it was built: that is of no origin.
    const own = originOf(import.meta.url);
    const { prefix = '', startBundled } = platform();
    if (own !== undefined && own !== here)
      return startAcross(import.meta.url.replace(/[^/]*$/, `${prefix}worker.js`)); // a form that bundlers do not look for
    if (!startBundled) throw new Error('there is none here');
    return startBundled();
  } catch (error) {
    throw new ZeropointError(
      'io',
      `the engine's worker could not be started: ${messageOf(error)}`,
      { hint: workerHint() },
      { cause: error },
    );
  }
}
