// The thread that reads texts: one for the page.
import { lastingThread } from '../../threads.ts';
import type { ReaderFace } from './worker.ts';

export const reader = lastingThread<ReaderFace>(
  () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
);
