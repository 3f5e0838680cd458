// Figures of a run to judge it by.
import type { Run } from './work.ts';

/** The smallest figure of all outputs, which is the one to judge by; NaN where nothing was compared. */
function worst({ comparison }: Pick<Run, 'comparison'>, figure: 'sqnr' | 'cosine' | 'top1'): number {
  const known = (comparison?.outputs ?? []).map((o) => o[figure]).filter((value) => !Number.isNaN(value));
  return known.length ? Math.min(...known) : Number.NaN;
}

export const worstSqnr = (result: Pick<Run, 'comparison'>): number => worst(result, 'sqnr');
export const worstCosine = (result: Pick<Run, 'comparison'>): number => worst(result, 'cosine');
/** Of the shares of the same top answers. */
export const worstTop1 = (result: Pick<Run, 'comparison'>): number => worst(result, 'top1');
