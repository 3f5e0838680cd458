// The thread that reads texts: one for the page.
import { sharedThread } from '../../threads.ts';
import type { ReaderFace } from './worker.ts';

export const reader = sharedThread<ReaderFace>(
  () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
);
