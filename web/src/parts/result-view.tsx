import type { ComponentChildren } from 'preact';
import type { Remedy, Schema, Trial } from 'zeropoint';
import type { SampleAnswers } from '../answers/index.ts';
import { bytes, cosineWords, decibels, milliseconds, percent, sentence } from '../format.ts';
import { isCalibrated } from '../settings.ts';
import { isUntouched, summaryOf } from '../verdict.ts';
import { type Run, worstCosine, worstSqnr } from '../work.ts';
import { AnswersView } from './answers-view.tsx';
import { Folded } from './folded.tsx';
import { Findings, LayerChart } from './layer-chart.tsx';
import { ScrollRegion } from './scroll-region.tsx';
import { TakeAway } from './take-away.tsx';
import { Term } from './term.tsx';
import { TradeoffChart } from './tradeoff-chart.tsx';

/** Findings that are shown at once. */
const mostFindings = 3;

const headings = {
  good: 'It answers your samples as before',
  fair: 'Some answers changed',
  poor: 'Answers changed: look before you use it',
  unknown: 'Smaller; its answers are not known',
} as const;

/** The heading of good answers: it never says that they are more alike than they are. */
function headingOf(samples: readonly SampleAnswers[]): string {
  const changed = samples.filter(({ change }) => !change.same).length;
  if (changed === 0) return headings.good;
  return changed <= samples.length / 10
    ? 'Nearly all answers are as before'
    : 'Its answers are close to the original’s';
}

/** What became of the model: in words, then the user's samples, then figures and layers. */
export function ResultView({
  run,
  name,
  size,
  digest,
  busy,
  schema,
  onPick,
  onRemedy,
  onKind,
  demo,
  graph,
  training,
}: {
  run: Run;
  /** Of the original's file. */
  name: string;
  size: number;
  digest: string | undefined;
  busy: boolean;
  /** Of the options; undefined while the engine loads. */
  schema: Schema | undefined;
  /** An option that helps is to be set. */
  onRemedy: (remedy: Remedy) => void;
  /** Another point of the trade-off is to be made. */
  onPick: (trial: Trial) => void;
  /** The answers are of another kind. */
  onKind: (kind: string) => void;
  /** Where the model can be tried. */
  demo?: ComponentChildren;
  /** The model's graph, which is drawn when somebody asks for it. */
  graph: ComponentChildren;
  /** Where it can be trained. */
  training: ComponentChildren;
}) {
  const { report, comparison, judgement, settings } = run;
  const summary = summaryOf(run);
  const isSame = isUntouched(run);
  return (
    <div class="result" data-testid="result">
      <section class={`verdict ${summary.grade}`} role={isSame ? 'alert' : undefined}>
        <p class="verdict-title">
          {isSame
            ? `Nothing was quantized: 0 of ${report.layers.length} ${report.layers.length === 1 ? 'layer' : 'layers'}.`
            : run.synthetic
              ? 'Smaller; its answers are not known'
              : summary.grade === 'good'
                ? headingOf(judgement?.samples ?? [])
                : headings[summary.grade]}
        </p>
        <p class="verdict-change">{summary.change}</p>
        {summary.answers.map((words) => (
          <p key={words} data-testid={words.startsWith('Right answers') ? 'right-answers' : undefined}>
            {words}
          </p>
        ))}
        <Bars run={run} />
      </section>
      <TakeAway run={run} name={name} size={size} digest={digest} schema={schema} />
      {demo}
      {judgement && !isSame && (
        <section class="wide" aria-labelledby={`answers-${run.id}`}>
          <h2 id={`answers-${run.id}`}>{run.synthetic ? 'Its outputs for noise' : 'Your samples'}</h2>
          <AnswersView key={run.id} run={run} judgement={judgement} disabled={busy} onKind={onKind} />
        </section>
      )}
      <section class="figures" aria-labelledby={`figures-${run.id}`}>
        <h2 id={`figures-${run.id}`}>Figures</h2>
        <Warnings run={run} />
        <dl class="figure-list">
          {comparison && (
            <>
              <Figure title={<Term of="SQNR">SQNR</Term>} value={decibels(worstSqnr(run))} />
              <Figure title={<Term of="cosine">Cosine</Term>} value={cosineWords(worstCosine(run))} />
              <Figure
                title="Largest error of a number"
                value={Math.max(...comparison.outputs.map(({ maxAbs }) => maxAbs || 0)).toPrecision(3)}
              />
            </>
          )}
          <Figure title="Samples compared" value={comparison?.samples ?? 0} />
        </dl>
        {report.repairs.length > 0 && (
          <ul class="note">
            {report.repairs.map((words) => (
              <li key={words}>{sentence(words)}</li>
            ))}
          </ul>
        )}
        <TradeoffChart tradeoff={report.tradeoff} disabled={busy} onPick={onPick} />
        <Trials run={run} />
      </section>
      {!isSame && (
        <section class="wide" aria-labelledby={`layers-${run.id}`}>
          <h2 id={`layers-${run.id}`}>{comparison ? 'Where accuracy went' : 'Layers'}</h2>
          <Findings findings={report.findings.slice(0, mostFindings)} schema={schema} onRemedy={onRemedy} />
          {report.findings.length > mostFindings && (
            <details>
              <summary>{report.findings.length - mostFindings} more that stand out less</summary>
              <Findings findings={report.findings.slice(mostFindings)} schema={schema} onRemedy={onRemedy} />
            </details>
          )}
          <LayerChart report={report} schema={schema} onRemedy={onRemedy} />
          <Folded summary="The graph, coloured by error">{() => graph}</Folded>
        </section>
      )}
      {isCalibrated(settings) && !isSame && <section class="wide">{training}</section>}
    </div>
  );
}

function Figure({ title, value }: { title: ComponentChildren; value: string | number }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Size and time beside the original's. */
function Bars({ run: { report, latency } }: { run: Run }) {
  const rows = [
    { what: 'Size', before: report.sizeBefore, after: report.sizeAfter, say: bytes },
    ...(latency.runs > 0
      ? [
          {
            what: 'Time of one run, here',
            before: latency.original,
            after: latency.quantized,
            say: milliseconds,
          },
        ]
      : []),
  ];
  return (
    <dl class="bars">
      {rows.map(({ what, before, after, say }) => {
        const most = Math.max(before, after);
        return (
          <div key={what}>
            <dt>{what}</dt>
            {[
              ['original', before],
              ['quantized', after],
            ].map(([who, value]) => (
              <dd key={who} class={who as string}>
                <span
                  class="bar-line"
                  style={{ width: `${(100 * (value as number)) / most}%` }}
                  aria-hidden="true"
                />
                <span>
                  <span class="visually-hidden">{who}: </span>
                  {say(value as number)}
                </span>
              </dd>
            ))}
          </div>
        );
      })}
    </dl>
  );
}

function Warnings({ run }: { run: Run }) {
  const { comparison, report } = run;
  return (
    <>
      {comparison?.outputs
        .filter(({ otherShapes }) => otherShapes > 0)
        .map(({ output, otherShapes }) => (
          <p class="warning" key={output}>
            The output {output} has another shape than the original’s in {otherShapes} of {comparison.samples}{' '}
            samples. Its figures leave these samples out.
          </p>
        ))}
      {report.warnings
        .filter((warning) => !(isUntouched(run) && warning.startsWith('nothing '))) // said above
        .map((warning) => (
          <p class="warning" key={warning}>
            {sentence(warning)}
          </p>
        ))}
    </>
  );
}

function Trials({ run: { report } }: { run: Run }) {
  if (report.trials.length === 0) return null;
  return (
    <details>
      <summary>The ways that were tried, on held-out samples</summary>
      <ScrollRegion label="Ways that were tried">
        <table>
          <thead>
            <tr>
              <th scope="col">Way</th>
              <th scope="col">
                <Term of="agreement">Agreement</Term>
              </th>
              <th scope="col">Weights</th>
              <th scope="col">Kept</th>
            </tr>
          </thead>
          <tbody>
            {report.trials.map((trial) => (
              <tr key={trial.what}>
                <td>{trial.what}</td>
                <td>
                  {decibels(trial.sqnr)}
                  {Number.isNaN(trial.accuracy)
                    ? !Number.isNaN(trial.drop) && `, ${percent(1 - trial.drop)} same answers`
                    : `, ${percent(trial.accuracy)} right answers`}
                </td>
                <td>{bytes(trial.weightBytes)}</td>
                <td>{trial.kept ? 'yes' : ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollRegion>
    </details>
  );
}
