// The thread that reads texts: one for the page.
import * as Comlink from 'comlink';
import type { ReaderFace } from './worker.ts';

let thread: Comlink.Remote<ReaderFace> | undefined;

export function reader(): Comlink.Remote<ReaderFace> {
  thread ??= Comlink.wrap<ReaderFace>(
    new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
  );
  return thread;
}
