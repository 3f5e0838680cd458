// A worker of the package's in browsers: started by spawn.ts, or through its address.
import type { Endpoint } from 'comlink';
import { refuse, takeRole } from './engine/role.ts';
import { setPlatform } from './platform.ts';

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

setPlatform({ startHelper });
addEventListener('messageerror', refuse);
takeRole(globalThis as unknown as Endpoint);
