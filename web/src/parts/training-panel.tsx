import { useRef, useState } from 'preact/hooks';
import type { Model, TrainingProgress, ZeropointError } from 'zeropoint';
import { bytes, decibels, milliseconds, percent, seconds } from '../format.ts';
import { asError, type SampleSet } from '../sample-set.ts';
import type { TrainingSettings } from '../settings.ts';
import {
  type LossPoint,
  Pause,
  type Result,
  type Step,
  trainAndCompare,
  worstSqnr,
  worstTop1,
} from '../work.ts';
import { ErrorBox } from './error-box.tsx';
import { LossChart } from './loss-chart.tsx';
import { ProgressView } from './progress-view.tsx';
import { ScrollRegion } from './scroll-region.tsx';

interface Run {
  controller: AbortController;
  stop: AbortController;
  pause: Pause;
  startedAt: number;
}

/** "Recover accuracy by training": starts it, shows how it goes, and what it brought. */
export function TrainingPanel({
  original,
  result,
  samples,
  onBusy,
  onResult,
}: {
  original: Model;
  result: Result;
  samples: SampleSet | undefined;
  onBusy: (busy: boolean) => void;
  onResult: (result: Result) => void;
}) {
  const [how, setHow] = useState<TrainingSettings>(
    result.settings.training ?? { weightBits: 8, activationBits: 8, epochs: 5, learningRate: 1e-3 },
  );
  const [run, setRun] = useState<Run | undefined>();
  const [step, setStep] = useState<Step>({ label: 'Starting', share: undefined });
  const [now, setNow] = useState<TrainingProgress | undefined>();
  const [paused, setPaused] = useState(false);
  const [points, setPoints] = useState<readonly LossPoint[]>([]);
  const [problem, setProblem] = useState<ZeropointError | undefined>();
  const start = useRef<HTMLButtonElement>(null);
  const set = (change: Partial<TrainingSettings>) => setHow({ ...how, ...change });

  const train = async () => {
    if (!samples) return;
    const started: Run = {
      controller: new AbortController(),
      stop: new AbortController(),
      pause: new Pause(),
      startedAt: performance.now(),
    };
    setProblem(undefined);
    setPoints([]);
    setNow(undefined);
    setPaused(false);
    setRun(started);
    onBusy(true);
    try {
      const trained = await trainAndCompare(
        original,
        samples,
        { ...result.settings, training: how },
        {
          onStep: setStep,
          onTraining(progress, history) {
            setNow(progress);
            setPoints(history);
          },
          pause: started.pause,
          stop: started.stop.signal,
          signal: started.controller.signal,
        },
      );
      onResult(trained);
    } catch (error) {
      const found = asError(error);
      if (found.code !== 'cancelled') setProblem(found);
      requestAnimationFrame(() => start.current?.focus());
    } finally {
      setRun(undefined);
      onBusy(false);
    }
  };

  return (
    <div class="training" data-testid="training">
      <h3>Recover accuracy by training</h3>
      <p class="note">
        The quantized model learns to answer as the original does, from your samples and without labels. The
        more samples the better: hundreds for few bits. The result is a quantized model like any other.
      </p>
      {result.training && !run && <Recovered result={result} before={result.training.before} />}
      {run ? (
        <>
          <ProgressView step={step} startedAt={run.startedAt} onCancel={() => run.controller.abort()}>
            <button
              type="button"
              onClick={() => {
                run.pause.toggle();
                setPaused(run.pause.on);
              }}
            >
              {paused ? 'Go on' : 'Pause'}
            </button>
            <button
              type="button"
              disabled={!now || now.step === 0}
              onClick={() => {
                run.stop.abort();
                run.pause.end();
                setPaused(false);
              }}
            >
              Stop and keep the best
            </button>
          </ProgressView>
          {now && (
            <p class="note" data-testid="training-facts">
              {paused && 'Paused. '}Epoch {now.epoch} of {now.epochs}. Loss {now.loss.toPrecision(3)}, best{' '}
              {now.bestLoss.toPrecision(3)}, at first {now.firstLoss.toPrecision(3)}.{' '}
              {milliseconds(now.stepMilliseconds)} a step
              {now.remainingMilliseconds > 0 && `, ${seconds(now.remainingMilliseconds / 1000)} left`};{' '}
              {bytes(now.memoryBytes)} of memory.
            </p>
          )}
          {points.length > 1 && <LossChart points={points} />}
        </>
      ) : (
        <>
          <fieldset class="fields">
            <legend class="visually-hidden">How to train</legend>
            <Count
              label="Bits of a weight"
              value={how.weightBits}
              min={2}
              max={8}
              onChange={(weightBits) => set({ weightBits })}
            />
            <Count
              label="Bits of an activation"
              value={how.activationBits}
              min={2}
              max={8}
              onChange={(activationBits) => set({ activationBits })}
            />
            <Count
              label="Epochs: how often each sample is seen"
              value={how.epochs}
              min={1}
              max={1000}
              onChange={(epochs) => set({ epochs })}
            />
            <label>
              Learning rate
              <select
                value={String(how.learningRate)}
                onChange={(event) => set({ learningRate: Number(event.currentTarget.value) })}
              >
                {['0.00003', '0.0001', '0.0003', '0.001', '0.003'].map((rate) => (
                  <option key={rate} value={String(Number(rate))}>
                    {rate}
                  </option>
                ))}
              </select>
            </label>
          </fieldset>
          <div class="actions">
            <button type="button" ref={start} disabled={!samples} onClick={() => void train()}>
              {result.training ? 'Train again' : 'Train'}
            </button>
            {samples?.synthetic && (
              <span class="note">On made-up samples it learns about noise: add real ones first.</span>
            )}
          </div>
        </>
      )}
      {problem && <ErrorBox error={problem} onClose={() => setProblem(undefined)} />}
    </div>
  );
}

/** Before, after, and the original, which is what both are measured against. */
function Recovered({
  result,
  before,
}: {
  result: Result;
  before: NonNullable<Result['training']>['before'];
}) {
  const { progress, points } = result.training as NonNullable<Result['training']>;
  const rows = [
    { what: 'Before training', top1: before.top1, sqnr: before.sqnr, loss: progress.firstLoss },
    { what: 'After training', top1: worstTop1(result), sqnr: worstSqnr(result), loss: progress.bestLoss },
    { what: 'The original (float)', top1: 1, sqnr: Number.POSITIVE_INFINITY, loss: 0 },
  ];
  return (
    <>
      <ScrollRegion label="What training brought">
        <table data-testid="recovered">
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col">Same top answer</th>
              <th scope="col">Agreement</th>
              <th scope="col">Loss</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ what, top1, sqnr, loss }) => (
              <tr key={what}>
                <td>{what}</td>
                <td>{Number.isNaN(top1) ? '–' : percent(top1)}</td>
                <td>{decibels(sqnr)}</td>
                <td>{loss.toPrecision(3)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollRegion>
      <LossChart points={points} />
      <p class="note">
        {progress.step} steps of {milliseconds(progress.stepMilliseconds)}. Line: running mean of the loss;
        points: on samples kept aside.
      </p>
    </>
  );
}

function Count({
  label,
  value,
  min,
  max,
  onChange,
}: {
  label: string;
  value: number;
  min: number;
  max: number;
  onChange: (value: number) => void;
}) {
  return (
    <label>
      {label}
      <input
        type="number"
        value={value}
        min={min}
        max={max}
        onChange={(event) => {
          const typed = Math.round(event.currentTarget.valueAsNumber);
          onChange(Number.isNaN(typed) ? value : Math.min(max, Math.max(min, typed)));
        }}
      />
    </label>
  );
}
