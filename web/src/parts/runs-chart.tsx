import { decibels } from '../format.ts';
import { hashOf } from '../route.ts';
import { summaryOf } from '../verdict.ts';
import { type Run, worstSqnr } from '../work.ts';
import { inOrder, titleOfRun } from './runs-table.tsx';
import { SizeChart } from './size-chart.tsx';

/** By the figure of their answers if all runs have the same one; else by SQNR, which any two runs can be compared by. */
export function measureOf(runs: readonly Run[]): {
  name: string;
  of: (run: Run) => { value: number; says: string };
} {
  const names = new Set(runs.map((run) => summaryOf(run).figure?.name));
  const [name] = names;
  if (names.size === 1 && name) {
    return {
      name,
      of: (run) => {
        const { figure, short } = summaryOf(run);
        return { value: figure?.value ?? Number.NaN, says: short };
      },
    };
  }
  return { name: 'SQNR', of: (run) => ({ value: worstSqnr(run), says: decibels(worstSqnr(run)) }) };
}

/** All runs of a model, by size and answers: each is a link to its result. The table of the runs says the same in words. */
export function RunsChart({ runs, project }: { runs: readonly Run[]; project: string }) {
  const measure = measureOf(runs);
  const [baseline] = inOrder(runs);
  const points = runs.flatMap((run) => {
    const { value, says } = measure.of(run);
    if (Number.isNaN(value)) return [];
    return {
      key: run.id,
      size: run.report.sizeAfter,
      value,
      says,
      mark: String(run.number),
      name: `${run.number}. ${titleOfRun(run)}${run === baseline ? ' (baseline)' : ''}`,
      isMarked: run === baseline,
      pick: hashOf(project, 'result', run.number),
    };
  });
  if (points.length < 2) return null;
  return (
    <section aria-labelledby="runs-chart-heading">
      <h2 id="runs-chart-heading">All runs by size</h2>
      <SizeChart
        label={`Size against ${measure.name}`}
        caption={
          <>
            Size of the file against {measure.name}: smaller is to the left, better is above.{' '}
            {baseline && `Run ${baseline.number}, the baseline, has a ring.`} Pick a run to see its result.
          </>
        }
        points={points}
      />
    </section>
  );
}
