// A worker of the package's in browsers: started by spawn.ts, or through its address.
import type { Endpoint } from 'comlink';
import type { Glue } from '../builds.ts';
import { setPlatform } from '../platform.ts';
import type { Opener } from './face.ts';
import { refuse, takeRole } from './role.ts';

/** Bundlers make classic workers too; only those can call it. */
function isModule(): boolean {
  try {
    (globalThis as unknown as { importScripts(): void }).importScripts();
    return false;
  } catch {
    return true;
  }
}

const startHelper = () =>
  new Worker(globalThis.location.href, { type: isModule() ? 'module' : 'classic', name: 'zeropoint' });

/** What the script of a worker does. */
export function beWorker(glue: Glue, openHost: Opener): void {
  setPlatform({ startHelper });
  addEventListener('messageerror', refuse);
  takeRole(globalThis as unknown as Endpoint, glue, openHost);
}
