import { useEffect, useRef, useState } from 'preact/hooks';
import type { Schema, TrainingProgress, ZeropointError } from 'zeropoint';
import { checkpointKey } from '../checkpoints.ts';
import { bytes, decibels, milliseconds, percent, seconds } from '../format.ts';
import { type Checkpoint, findCheckpoint, forgetCheckpoint, saveCheckpoint, whyNotKept } from '../kept.ts';
import { asError, type SampleSet } from '../samples/sample-set.ts';
import { advancedOfTraining, type TrainingSettings, titleOf } from '../settings.ts';
import {
  type LossPoint,
  Pause,
  type Run,
  type Step,
  type Task,
  trainAndCompare,
  worstSqnr,
  worstTop1,
} from '../work.ts';
import { ErrorBox } from './error-box.tsx';
import { LossChart } from './loss-chart.tsx';
import { Advanced } from './option-field.tsx';
import { ProgressView } from './progress-view.tsx';
import { ScrollRegion } from './scroll-region.tsx';

interface Training {
  controller: AbortController;
  stop: AbortController;
  pause: Pause;
  startedAt: number;
}

/** "Recover accuracy by training": starts it, shows how it goes, and what it brought. */
export function TrainingPanel({
  task,
  digest,
  result,
  samples,
  schema,
  onBusy,
  onResult,
}: {
  /** Undefined: something else is being done, or there are no samples. */
  task: Omit<Task, 'settings'> | undefined;
  /** Of the original's file. */
  digest: string | undefined;
  result: Run;
  samples: SampleSet | undefined;
  /** Of the options; undefined while the engine loads. */
  schema: Schema | undefined;
  onBusy: (busy: boolean) => void;
  onResult: (result: Run) => void;
}) {
  const [how, setHow] = useState<TrainingSettings>(
    result.settings.training ?? {
      weightBits: 8,
      activationBits: 8,
      epochs: 5,
      learningRate: 1e-3,
      blocks: false,
    },
  );
  const [run, setRun] = useState<Training | undefined>();
  const [step, setStep] = useState<Step>({ label: 'Starting', share: undefined });
  const [now, setNow] = useState<TrainingProgress | undefined>();
  const [paused, setPaused] = useState(false);
  const [points, setPoints] = useState<readonly LossPoint[]>([]);
  const [problem, setProblem] = useState<ZeropointError | undefined>();
  const [key, setKey] = useState<string | undefined>();
  const [kept, setKept] = useState<Checkpoint | undefined>();
  const [remark, setRemark] = useState('');
  const start = useRef<HTMLButtonElement>(null);
  const set = (change: Partial<TrainingSettings>) => setHow((before) => ({ ...before, ...change }));

  // A training of this model on these samples that did not come to its end.
  useEffect(() => {
    let current = true;
    const look = async () => {
      const found = await checkpointKey(digest, samples, result.settings);
      const checkpoint = found === undefined ? undefined : await findCheckpoint(found);
      if (!current) return;
      setKey(found);
      setKept(checkpoint);
    };
    look().catch(() => undefined); // a browser that keeps nothing has nothing to go on from
    return () => {
      current = false;
    };
  }, [digest, samples, result]);

  const forget = async () => {
    setKept(undefined);
    if (key !== undefined) await forgetCheckpoint(key).catch(() => undefined);
  };

  const train = async (training: TrainingSettings, resume?: Checkpoint): Promise<void> => {
    if (!task) return;
    const started: Training = {
      controller: new AbortController(),
      stop: new AbortController(),
      pause: new Pause(),
      startedAt: performance.now(),
    };
    setProblem(undefined);
    setRemark('');
    setPoints(resume?.points ?? []);
    setNow(undefined);
    setPaused(false);
    setRun(started);
    onBusy(true);
    let fits = resume === undefined;
    let isKept = key !== undefined;
    try {
      const trained = await trainAndCompare(
        { ...task, settings: { ...result.settings, training } },
        {
          onStep: setStep,
          onTraining(progress, history) {
            fits = true;
            setNow(progress);
            setPoints(history);
          },
          async onCheckpoint(saved) {
            if (key === undefined || !isKept) return;
            const checkpoint = { ...saved, key, training, savedAt: Date.now() };
            try {
              await saveCheckpoint(checkpoint);
              setKept(checkpoint);
            } catch (error) {
              isKept = false;
              setRemark(`This browser keeps no checkpoints (${whyNotKept(error)}): do not close the page.`);
            }
          },
          resume,
          pause: started.pause,
          stop: started.stop.signal,
          signal: started.controller.signal,
        },
      );
      await forget();
      onResult(trained);
    } catch (error) {
      const found = asError(error);
      if (!fits && found.code === 'invalid-argument') {
        await forget();
        const again = train(training);
        setRemark(`Training starts over: ${found.message}.`);
        return await again;
      }
      if (found.code !== 'cancelled') setProblem(found);
      requestAnimationFrame(() => start.current?.focus());
    } finally {
      setRun(undefined);
      onBusy(false);
    }
  };

  return (
    <div class="training" data-testid="training">
      <h2>Recover accuracy by training</h2>
      <p class="note">
        The quantized model learns from your samples to answer as the original does. It needs no labels. Use
        many samples: hundreds for few bits. The result is a quantized model like any other.
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
              label={titleOf(schema, 'weightBits')}
              value={how.weightBits}
              min={2}
              max={8}
              onChange={(weightBits) => set({ weightBits })}
            />
            <Count
              label={titleOf(schema, 'activationBits')}
              value={how.activationBits}
              min={2}
              max={8}
              onChange={(activationBits) => set({ activationBits })}
            />
            <Count
              label={titleOf(schema, 'epochs')}
              value={how.epochs}
              min={1}
              max={1000}
              onChange={(epochs) => set({ epochs })}
            />
            <label>
              {titleOf(schema, 'learningRate')}
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
            <label class="check">
              <input
                type="checkbox"
                checked={how.blocks}
                onChange={(event) => set({ blocks: event.currentTarget.checked })}
              />
              {titleOf(schema, 'blocks')}
            </label>
          </fieldset>
          {schema && (
            <Advanced
              options={advancedOfTraining(schema)}
              values={how.more ?? {}}
              disabled={false}
              onChange={(more) => set({ more })}
            />
          )}
          {kept && (
            <div class="actions kept" data-testid="kept">
              <button
                type="button"
                class="primary"
                disabled={!task}
                onClick={() => {
                  setHow(kept.training);
                  void train(kept.training, kept);
                }}
              >
                Go on from epoch {kept.epoch} of {kept.training.epochs}
              </button>
              <button type="button" onClick={() => void forget()}>
                Forget it
              </button>
              <span class="note">
                A training with {kept.training.weightBits}-bit weights and {kept.training.activationBits}-bit
                activations was interrupted.
              </span>
            </div>
          )}
          <div class="actions">
            <button type="button" ref={start} disabled={!task} onClick={() => void train(how)}>
              {result.training ? 'Train again' : 'Train'}
            </button>
            {samples?.synthetic && (
              <span class="note">From made-up samples it learns noise: add real samples first.</span>
            )}
          </div>
        </>
      )}
      {remark && (
        <p class="warning" role="status">
          {remark}
        </p>
      )}
      {problem && <ErrorBox error={problem} onClose={() => setProblem(undefined)} />}
    </div>
  );
}

/** Before, after, and the original, which is what both are measured against. */
function Recovered({ result, before }: { result: Run; before: NonNullable<Run['training']>['before'] }) {
  const { accuracy } = result;
  const { progress, points } = result.training as NonNullable<Run['training']>;
  const rows = [
    { what: 'Before training', ...before, loss: progress.firstLoss },
    {
      what: 'After training',
      accuracy: accuracy?.quantized,
      top1: worstTop1(result),
      sqnr: worstSqnr(result),
      loss: progress.bestLoss,
    },
    {
      what: 'The original (float)',
      accuracy: accuracy?.original,
      top1: 1,
      sqnr: Number.POSITIVE_INFINITY,
      loss: 0,
    },
  ];
  return (
    <>
      <ScrollRegion label="The effect of training">
        <table data-testid="recovered">
          <thead>
            <tr>
              <th scope="col">Model</th>
              {accuracy && <th scope="col">Right answers</th>}
              <th scope="col">Same top answer</th>
              <th scope="col">Agreement</th>
              <th scope="col">Loss</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ what, accuracy, top1, sqnr, loss }) => (
              <tr key={what}>
                <td>{what}</td>
                {accuracy !== undefined && <td>{percent(accuracy)}</td>}
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
        // A number that fits counts while it is typed; any other is made to fit when the field is left.
        onInput={(event) => {
          const typed = event.currentTarget.valueAsNumber;
          if (Number.isInteger(typed) && typed >= min && typed <= max) onChange(typed);
        }}
        onChange={(event) => {
          const typed = Math.round(event.currentTarget.valueAsNumber);
          onChange(Number.isNaN(typed) ? value : Math.min(max, Math.max(min, typed)));
        }}
      />
    </label>
  );
}
