import { useState } from 'preact/hooks';
import type { Model, Remedy, Schema, Trial, ZeropointError } from 'zeropoint';
import { bytes, decibels, milliseconds, percent, sizeChange, times, verdict } from '../format.ts';
import { asError, type SampleSet } from '../sample-set.ts';
import { describe, isCalibrated, type Settings } from '../settings.ts';
import { type Result, worstCosine, worstSqnr, worstTop1 } from '../work.ts';
import { ErrorBox } from './error-box.tsx';
import { Findings, LayerChart } from './layer-chart.tsx';
import { ScrollRegion } from './scroll-region.tsx';
import { TradeoffChart } from './tradeoff-chart.tsx';
import { TrainingPanel } from './training-panel.tsx';

function save(name: string, data: Blob) {
  const url = URL.createObjectURL(data);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Findings that are shown at once. */
const mostFindings = 3;

const base = (name: string) => name.replace(/\.onnx$/i, '');

/** What a file of these settings is called by. */
function kindOf(settings: Settings): string {
  if (settings.mode === 'qat' && settings.training) {
    return `w${settings.training.weightBits}a${settings.training.activationBits}`;
  }
  if (isCalibrated(settings)) return 'int8';
  return settings.mode === 'float16' ? 'float16' : settings.weights;
}

/** Size, speed and agreement, the layers' errors, and the files to take away. */
export function ResultView({
  name,
  original,
  digest,
  result,
  busy,
  schema,
  onPick,
  onRemedy,
  samples,
  onBusy,
  onResult,
}: {
  name: string;
  original: Model;
  /** Of the original's file. */
  digest: string | undefined;
  result: Result;
  busy: boolean;
  /** Of the options; undefined while the engine loads. */
  schema: Schema | undefined;
  /** An option that helps is to be set. */
  onRemedy: (remedy: Remedy) => void;
  /** Another point of the trade-off is to be made. */
  onPick: (trial: Trial) => void;
  samples: SampleSet | undefined;
  onBusy: (busy: boolean) => void;
  onResult: (result: Result) => void;
}) {
  const [problem, setProblem] = useState<ZeropointError | undefined>();
  const { report, comparison, latency, accuracy, settings } = result;
  const sqnr = worstSqnr(result);
  const isSame = report.layersQuantized === 0;
  // What was left as it was agrees with itself: no success.
  const { word, grade } = isSame
    ? ({ word: 'Nothing was quantized: this is the original.', grade: 'poor' } as const)
    : verdict(sqnr);
  const top1 = worstTop1(result);
  const cosine = worstCosine(result);
  const speedup = latency.original / latency.quantized;
  const attempt = (work: () => Promise<void>) => {
    setProblem(undefined);
    work().catch((error: unknown) => setProblem(asError(error)));
  };
  return (
    <div class="result" data-testid="result">
      {isSame && (
        <p class="warning" role="alert">
          <strong>Nothing was quantized</strong>: 0 of {report.layers.length}{' '}
          {report.layers.length === 1 ? 'layer' : 'layers'}. The list of layers above says why; other settings
          may do more.
        </p>
      )}
      <div class="headline">
        <Compare
          label="File size"
          before={bytes(report.sizeBefore)}
          after={bytes(report.sizeAfter)}
          share={report.sizeAfter / report.sizeBefore}
          note={sizeChange(report.sizeBefore, report.sizeAfter)}
        />
        {latency.runs > 0 && (
          <Compare
            label="Time of one run, here"
            before={milliseconds(latency.original)}
            after={milliseconds(latency.quantized)}
            share={latency.quantized / latency.original}
            note={speedup >= 1 ? `${times(speedup)} faster` : `${times(1 / speedup)} slower`}
          />
        )}
        <div class={`agreement ${grade}`}>
          <span class="fact-label">Agreement with the original</span>
          <span class="fact-value">{decibels(sqnr)}</span>
          <span class="fact-note">{word}</span>
          {accuracy && (
            <span class="fact-note" data-testid="right-answers">
              Right answers: {percent(accuracy.quantized)}, the original {percent(accuracy.original)}, of{' '}
              {accuracy.of}.
            </span>
          )}
          <span class="fact-note">
            {!Number.isNaN(top1) && `Same top answer: ${percent(top1)}. `}Cosine{' '}
            {Number.isNaN(cosine) ? '–' : cosine.toFixed(4)}, over {comparison.samples}{' '}
            {comparison.samples === 1 ? 'sample' : 'samples'}.
          </span>
        </div>
      </div>
      {result.synthetic && isCalibrated(settings) && (
        <p class="warning">
          Calibrated on made-up samples: size and speed are real, agreement on your data is not known. Add
          real samples before you ship it.
        </p>
      )}
      {comparison.outputs
        .filter(({ otherShapes }) => otherShapes > 0)
        .map(({ output, otherShapes }) => (
          <p class="warning" key={output}>
            The output {output} has another shape than the original’s in {otherShapes} of {comparison.samples}{' '}
            samples, which are in none of its figures.
          </p>
        ))}
      {report.warnings
        .filter((warning) => !(isSame && warning.startsWith('nothing '))) // said above
        .map((warning) => (
          <p class="warning" key={warning}>
            {warning}
          </p>
        ))}
      <div class="actions">
        <button
          type="button"
          class="primary"
          onClick={() =>
            attempt(async () => {
              const files = await result.model.toFiles({ name: `${base(name)}.${kindOf(settings)}.onnx` });
              for (const file of files) save(file.name, await file.blob());
            })
          }
        >
          {report.files.length > 1
            ? `Download the model and its weights (${report.files.length} files)`
            : 'Download the model'}
        </button>
        <button
          type="button"
          onClick={() =>
            attempt(async () =>
              save(
                `${base(name)}.report.json`,
                new Blob(
                  [
                    JSON.stringify(
                      { model: name, settings, latency, comparison, accuracy, report },
                      jsonNumber,
                      2,
                    ),
                  ],
                  { type: 'application/json' },
                ),
              ),
            )
          }
        >
          Download the report
        </button>
        <span class="note">
          Standard ONNX, {describe(settings)}. {report.layersQuantized} of {report.layers.length} layers
          quantized. Your original ({bytes(original.size)}) is untouched.
        </span>
      </div>
      {report.repairs.length > 0 && (
        <ul class="note">
          {report.repairs.map((sentence) => (
            <li key={sentence}>{sentence}</li>
          ))}
        </ul>
      )}
      <TradeoffChart tradeoff={report.tradeoff} disabled={busy} onPick={onPick} />
      {report.trials.length > 0 && (
        <details>
          <summary>What was tried, on samples held out</summary>
          <ScrollRegion label="Ways that were tried">
            <table>
              <thead>
                <tr>
                  <th scope="col">Way</th>
                  <th scope="col">Agreement</th>
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
      )}
      {problem && <ErrorBox error={problem} onClose={() => setProblem(undefined)} />}
      {isCalibrated(settings) && (
        <TrainingPanel
          original={original}
          digest={digest}
          result={result}
          samples={samples}
          schema={schema}
          onBusy={onBusy}
          onResult={onResult}
        />
      )}
      <h3>Where accuracy went</h3>
      <Findings findings={report.findings.slice(0, mostFindings)} schema={schema} onRemedy={onRemedy} />
      {report.findings.length > mostFindings && (
        <details>
          <summary>{report.findings.length - mostFindings} more that stand out less</summary>
          <Findings findings={report.findings.slice(mostFindings)} schema={schema} onRemedy={onRemedy} />
        </details>
      )}
      <LayerChart report={report} schema={schema} onRemedy={onRemedy} />
    </div>
  );
}

/** JSON has no infinities: an exact layer's SQNR is written as a word. */
const jsonNumber = (_: string, value: unknown) =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;

function Compare({
  label,
  before,
  after,
  share,
  note,
}: {
  label: string;
  before: string;
  after: string;
  share: number;
  note: string;
}) {
  return (
    <div class="compare">
      <span class="fact-label">{label}</span>
      <span class="pair">
        <span class="before">{before}</span>
        <span aria-hidden="true"> → </span>
        <span class="visually-hidden"> becomes </span>
        <span class="fact-value">{after}</span>
      </span>
      <span class="meter" aria-hidden="true">
        <span style={{ width: `${Math.min(100, share * 100)}%` }} />
      </span>
      <span class="fact-note">{note}</span>
    </div>
  );
}
