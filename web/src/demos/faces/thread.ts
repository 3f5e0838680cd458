// The thread that draws and decodes: one for the page.
import { lastingThread } from '../../threads.ts';
import type { PicturesFace } from './worker.ts';

export const pictures = lastingThread<PicturesFace>(
  () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
);
