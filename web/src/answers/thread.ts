// The thread that reads and compares answers: one for the page.
import { sharedThread } from '../threads.ts';
import type { JudgeFace } from './worker.ts';

export const judgeThread = sharedThread<JudgeFace>(
  () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
);
