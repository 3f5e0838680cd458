// The thread that reads and compares answers: one for the page.
import * as Comlink from 'comlink';
import type { JudgeFace } from './worker.ts';

let judges: Comlink.Remote<JudgeFace> | undefined;

export function judgeThread(): Comlink.Remote<JudgeFace> {
  judges ??= Comlink.wrap<JudgeFace>(new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }));
  return judges;
}
