// The thread that draws and decodes: one for the page.
import * as Comlink from 'comlink';
import type { PicturesFace } from './worker.ts';

let thread: Comlink.Remote<PicturesFace> | undefined;

export function pictures(): Comlink.Remote<PicturesFace> {
  thread ??= Comlink.wrap<PicturesFace>(
    new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
  );
  return thread;
}
