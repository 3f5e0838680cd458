// The thread that reads and compares answers: one for the page.
import { lastingThread } from '../threads.ts';
import type { JudgeFace } from './worker.ts';

export const judgeThread = lastingThread<JudgeFace>(
  () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
);
