import { useState } from 'preact/hooks';
import type { Schema } from 'zeropoint';
import { bytes, decibels, milliseconds } from '../format.ts';
import { hashOf } from '../route.ts';
import { describe, differences } from '../settings.ts';
import { summaryOf } from '../verdict.ts';
import { type Run, worstSqnr } from '../work.ts';
import { ScrollRegion } from './scroll-region.tsx';
import { Term } from './term.tsx';

/** What a run is called. */
export const titleOfRun = (run: Run): string => run.name || describe(run.settings);

/** Pinned ones first: the first of all is the one that others are compared with. */
export const inOrder = (runs: readonly Run[]): Run[] =>
  [...runs].sort((a, b) => Number(b.pinned ?? false) - Number(a.pinned ?? false) || a.number - b.number);

/** All runs of a model: to name, pin, delete, and to compare with the first one. */
export function RunsTable({
  runs,
  project,
  shown,
  size,
  schema,
  disabled,
  onChange,
  onDelete,
}: {
  runs: readonly Run[];
  project: string;
  shown: number | undefined;
  /** Of the original. */
  size: number;
  schema: Schema | undefined;
  disabled: boolean;
  onChange: (run: Run) => void;
  onDelete: (run: Run) => void;
}) {
  const [naming, setNaming] = useState<string | undefined>();
  const order = inOrder(runs);
  const [baseline] = order;
  // A single run has no other to differ from.
  const others = baseline && runs.length > 1 ? `Differs from run ${baseline.number}` : undefined;
  const latency = runs[0]?.latency.original ?? 0;
  return (
    <ScrollRegion label="Runs">
      <table class="history">
        <caption class="visually-hidden">All runs of this model</caption>
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">Size</th>
            <th scope="col">Time</th>
            <th scope="col">Answers</th>
            <th scope="col">
              <Term of="SQNR">SQNR</Term>
            </th>
            {others && <th scope="col">{others}</th>}
            <th scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          <tr class="original">
            <td>The original</td>
            <td data-label="Size">{bytes(size)}</td>
            <td data-label="Time">{latency ? milliseconds(latency) : '–'}</td>
            <td colSpan={others ? 4 : 3} />
          </tr>
          {order.map((run) => {
            const { grade, short } = summaryOf(run);
            const different =
              baseline && run !== baseline ? differences(schema, baseline.settings, run.settings) : [];
            return (
              <tr key={run.id} class={run.number === shown ? 'on' : ''}>
                <td class="run-name">
                  {naming === run.id ? (
                    <input
                      type="text"
                      aria-label={`Name of run ${run.number}`}
                      value={run.name ?? ''}
                      maxLength={80}
                      ref={(input) => input?.focus()}
                      onBlur={(event) => {
                        onChange({ ...run, name: event.currentTarget.value.trim() || undefined });
                        setNaming(undefined);
                      }}
                      onKeyDown={(event) => {
                        if (event.key === 'Enter') event.currentTarget.blur();
                        if (event.key === 'Escape') setNaming(undefined);
                      }}
                    />
                  ) : (
                    <a href={hashOf(project, 'result', run.number)}>
                      {run.number}. {titleOfRun(run)}
                    </a>
                  )}
                  {run.pinned && <span class="chip">pinned</span>}
                </td>
                <td class="fact-cell" data-label="Size">
                  {bytes(run.report.sizeAfter)}
                </td>
                <td class="fact-cell" data-label="Time">
                  {run.latency.runs ? milliseconds(run.latency.quantized) : '–'}
                </td>
                <td class="fact-cell" data-label="Answers">
                  <span>
                    <span class={`dot ${grade}`} aria-hidden="true" /> {short}
                  </span>
                </td>
                <td class="fact-cell" data-label="SQNR">
                  {decibels(worstSqnr(run))}
                </td>
                {others && (
                  <td class="differences" data-label={others}>
                    {run === baseline
                      ? 'the others are compared with it'
                      : different.length
                        ? different.join('; ')
                        : 'nothing'}
                  </td>
                )}
                <td class="row-actions">
                  <button type="button" class="quiet" onClick={() => setNaming(run.id)}>
                    Name<span class="visually-hidden"> run {run.number}</span>
                  </button>
                  <button
                    type="button"
                    class="quiet"
                    aria-pressed={run.pinned ?? false}
                    onClick={() => onChange({ ...run, pinned: !run.pinned })}
                  >
                    Pin<span class="visually-hidden"> run {run.number}</span>
                  </button>
                  <button type="button" class="quiet" disabled={disabled} onClick={() => onDelete(run)}>
                    Delete<span class="visually-hidden"> run {run.number}</span>
                  </button>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
