import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Choices, Model, ModelReport, ZeropointError } from 'zeropoint';
import type { Demo, DemoMemory } from '../demos/demo.ts';
import { type Expected, estimatesOf, expectedOf, inspected, isRunWith, schemeOf } from '../estimates.ts';
import { bytes } from '../format.ts';
import { forgetRunning, noteRunning, takeInterrupted } from '../interrupted.ts';
import {
  forgetFiles,
  forgetRun,
  type KeptFile,
  type Project,
  saveFiles,
  saveProject,
  saveRun,
  whyNotKept,
} from '../kept.ts';
import { go, hashOf, type Route, type StepName } from '../route.ts';
import { asError, counted, type SampleSet, syntheticSet } from '../samples/sample-set.ts';
import {
  actionOf,
  describe,
  goals,
  initial,
  isCalibrated,
  type Settings,
  withInstead,
  withRemedy,
} from '../settings.ts';
import { openRun, useRunModel } from '../use-run-model.ts';
import { type Samples, type SavedSamples, useSamples } from '../use-samples.ts';
import { summaryOf } from '../verdict.ts';
import { judgeAgain, quantizeAndCompare, type Run, type Step, stepTimes } from '../work.ts';
import { ErrorBox } from './error-box.tsx';
import { LazyGraph } from './lazy-graph.tsx';
import { ModelCard } from './model-card.tsx';
import { ProgressView } from './progress-view.tsx';
import { ResultView } from './result-view.tsx';
import { RunsChart } from './runs-chart.tsx';
import { RunsTable, titleOfRun } from './runs-table.tsx';
import { SamplesPanel } from './samples-panel.tsx';
import { SettingsPanel } from './settings-panel.tsx';
import type { Toast } from './toasts.tsx';
import { TrainingPanel } from './training-panel.tsx';

/** A model that is open, with what an earlier visit left of the work on it. */
export interface Work {
  id: string;
  name: string;
  model: Model;
  /** SHA-256 of its file. */
  digest: string | undefined;
  demo: Demo | undefined;
  /** Its file and those of its weights; none of a demo's. */
  files: readonly File[];
  /** An earlier visit left it: its files are kept. */
  isKept: boolean;
  saved: SavedSamples & {
    settings?: Settings | undefined;
    kind?: string | undefined;
    runs?: readonly Run[] | undefined;
  };
}

interface Job {
  step: Step;
  startedAt: number;
  controller: AbortController;
}

/** The message about the work under way, or about its result. */
interface Status {
  words: string;
  isDone?: boolean;
}

const titles: Record<StepName, string> = {
  try: 'Try it',
  model: 'Model',
  samples: 'Samples',
  goal: 'Goal',
  runs: 'Runs',
  result: 'Result',
};

/** One write after the other: a run that Undo restores must not be written after the run that replaced it. */
let writing: Promise<unknown> = Promise.resolve();
function inTurn(write: () => Promise<unknown>, onFailure: (error: unknown) => void): void {
  writing = writing.then(write).catch(onFailure);
}

export function Workspace({
  work,
  route,
  hidden,
  choices,
  dropped,
  onFiles,
  onBusy,
  onToast,
  onKept,
}: {
  work: Work;
  route: Route;
  /** The start is shown instead. */
  hidden: boolean;
  choices: Choices | undefined;
  /** Samples that came with the model, or later. */
  dropped: { files: readonly File[]; labels: File | undefined } | undefined;
  /** Files that may be anything. */
  onFiles: (files: File[]) => void;
  onBusy: (busy: boolean) => void;
  onToast: (toast: Omit<Toast, 'id'>) => void;
  /** The browser does not keep this work, and why; undefined: it does again. */
  onKept: (why: string | undefined) => void;
}) {
  const { model, name, demo, saved } = work;
  const samples = useSamples(model, name, demo, saved);
  const [chosen, setSettings] = useState<Settings | undefined>(saved.settings);
  const settings = useMemo(
    () => chosen ?? { ...initial(samples.set), ...goals.find(({ id }) => id === demo?.goal)?.settings },
    [chosen, samples.set],
  );
  const [runs, setRuns] = useState<readonly Run[]>(saved.runs ?? []);
  const [kind, setKind] = useState(saved.kind);
  const [report, setReport] = useState<ModelReport | undefined>();
  /** What each goal would bring with some samples, by its id. */
  const [expected, setExpected] = useState<{ of: string; goals: Record<string, Expected> }>({
    of: '',
    goals: {},
  });
  const [needsSamples, setNeedsSamples] = useState(true);
  const [isRun, setRun] = useState(true);
  const [job, setJob] = useState<Job | undefined>();
  const [isTraining, setTraining] = useState(false);
  /** Quantize was pressed while samples were prepared. */
  const [isWaiting, setWaiting] = useState<number | undefined>();
  const [error, setError] = useState<ZeropointError | undefined>();
  const [status, setStatus] = useState<Status>({ words: '' });
  const heading = useRef<HTMLHeadingElement>(null);
  const rail = useRef<HTMLElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const busy = job !== undefined || isTraining;
  const shown =
    route.step === 'result' ? (runs.find(({ number }) => number === route.run) ?? runs.at(-1)) : undefined;
  const step: StepName =
    route.step === 'result' && !shown ? 'goal' : route.step === 'try' && !demo ? 'model' : route.step;

  useEffect(() => onBusy(busy), [busy]);

  // ---- what is kept

  const isUnkept = useRef(false);
  const isOpen = useRef(true);
  useEffect(
    () => () => {
      isOpen.current = false;
    },
    [],
  );
  const failed = useCallback((problem: unknown) => {
    isUnkept.current = true;
    if (!isOpen.current) return;
    const why = whyNotKept(problem);
    onKept(why);
    onToast({ text: `This browser keeps no copy of your work: ${why}. Download what you need.` });
  }, []);
  const everything = useRef<() => Promise<void>>(async () => {});
  /** Writes a part of the work; after a failure all of it, because a part alone cannot be opened again. */
  const keep = useCallback((write: () => Promise<unknown>) => {
    inTurn(async () => {
      if (isUnkept.current) await everything.current();
      await write();
      if (!isUnkept.current) return;
      isUnkept.current = false;
      if (!isOpen.current) return;
      onKept(undefined);
      onToast({ text: 'This browser keeps your work again.' });
    }, failed);
  }, []);
  const project = (count = runs.length): Project => ({
    id: work.id,
    name,
    size: model.size,
    demo: demo?.id,
    source: samples.source,
    image: samples.image,
    dims: samples.dims,
    columns: samples.columns,
    kind,
    settings: chosen,
    runs: count,
    savedAt: Date.now(),
  });
  const keepModel = () =>
    saveFiles(
      work.files.map((file, order) => ({
        id: `${work.id} model ${order}`,
        project: work.id,
        role: order ? 'weights' : 'model',
        order,
        file,
      })),
    );
  const keepSamples = async () => {
    const { files, labelFile } = samples;
    await forgetFiles(work.id, ['sample', 'labels']);
    const kept = files.map(
      (file, order): KeptFile => ({
        id: `${work.id} sample ${order}`,
        project: work.id,
        role: 'sample',
        order,
        file,
      }),
    );
    if (labelFile) {
      kept.push({
        id: `${work.id} labels`,
        project: work.id,
        role: 'labels',
        order: 0,
        file: labelFile,
      });
    }
    await saveFiles(kept);
  };
  everything.current = async () => {
    await keepModel();
    await keepSamples();
    await saveProject(project());
    for (const run of runs) await saveRun({ ...run, project: work.id });
  };
  useEffect(() => {
    if (!work.isKept) keep(keepModel);
  }, []);
  useEffect(() => {
    keep(() => saveProject(project()));
  }, [samples.source, samples.image, samples.dims, samples.columns, kind, chosen, runs.length]);
  const isFirst = useRef(true);
  useEffect(() => {
    // Restored samples are kept already.
    if (isFirst.current) {
      isFirst.current = false;
      if (saved.files?.length || saved.labelFile) return;
    }
    keep(keepSamples);
  }, [samples.files, samples.labelFile]);

  const change = useCallback((run: Run) => {
    setRuns((before) => {
      const others = before.filter(({ id }) => id !== run.id);
      return [...others, run].sort((a, b) => a.number - b.number);
    });
    keep(() => saveRun({ ...run, project: work.id }));
  }, []);

  const remove = useCallback((run: Run) => {
    setRuns((before) => before.filter(({ id }) => id !== run.id));
    keep(() => forgetRun(run.id));
    onToast({
      text: `Run ${run.number} is deleted.`,
      undo: { label: 'Undo', run: () => change(run) },
    });
  }, []);

  // ---- a run that the page was left in the middle of

  useEffect(() => {
    const what = takeInterrupted(work.id);
    if (what) {
      const goesOn = model.left > 0 ? ' Start it again: weights that were quantized are not made again.' : '';
      onToast({
        text: `${what} was interrupted when this page was left. The work before it is here.${goesOn}`,
      });
    }
  }, []);
  useEffect(() => {
    if (!busy) return;
    noteRunning(work.id, isTraining ? 'Training' : 'Quantizing');
    return forgetRunning;
  }, [busy]);

  // ---- samples that were dropped

  useEffect(() => {
    if (dropped) samples.add(dropped.files, dropped.labels);
  }, [dropped]);

  // ---- what would be quantized

  useEffect(() => {
    let isCurrent = true;
    const timer = setTimeout(async () => {
      try {
        const scheme = schemeOf(settings);
        const found = await inspected(model, scheme, samples.set, samples.dims);
        if (!isCurrent) return;
        setReport(found);
        const needs = found.problem ? true : await model.needsSamples(scheme);
        const runs = found.problem ? true : await isRunWith(model, scheme, samples.set, samples.dims);
        if (!isCurrent) return;
        setNeedsSamples(needs);
        setRun(runs);
      } catch (problem) {
        if (isCurrent) setError(asError(problem));
      }
    }, 60);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [model, settings, samples.set, samples.dims]);

  // ---- the long work

  const taskOf = <Set extends SampleSet | undefined>(settings: Settings, set: Set) => ({
    original: model,
    name,
    samples: set,
    settings,
    kind,
    number: Math.max(0, ...runs.map(({ number }) => number)) + 1,
  });

  const show = useCallback((run: Run) => {
    change(run);
    const { change: words } = summaryOf(run);
    setStatus({ words: `Done. ${words}`, isDone: true });
    go(hashOf(work.id, 'result', run.number));
  }, []);

  const attempt = async (
    label: string,
    make: (report: (step: Step) => void, signal: AbortSignal) => Promise<void>,
  ) => {
    const controller = new AbortController();
    const startedAt = performance.now();
    let since = { label: '', at: startedAt };
    setError(undefined);
    setStatus({ words: '' });
    setJob({ step: { label, share: undefined }, startedAt, controller });
    try {
      await make((step) => {
        if (step.label !== since.label) since = { label: step.label, at: performance.now() };
        setJob({ step, startedAt: since.at, controller });
      }, controller.signal);
      setJob(undefined);
    } catch (problem) {
      const found = asError(problem);
      setJob(undefined);
      if (found.code !== 'cancelled') return setError(found);
      setStatus({ words: 'Cancelled. Nothing was changed.' });
      requestAnimationFrame(() => button.current?.focus());
    }
  };

  const canBegin = !samples.isPreparing && (samples.set !== undefined || !needsSamples);
  const quantize = async (settings: Settings) => {
    if (busy) return;
    await attempt('Starting', async (report, signal) => {
      // The note below the page may still be about other settings.
      const runs = await isRunWith(model, schemeOf(settings), samples.set, samples.dims);
      const set = runs ? (samples.set ?? syntheticSet(model, samples.dims)) : undefined;
      show(await quantizeAndCompare(taskOf(settings, set), report, signal));
    });
  };
  const press = () => {
    if (samples.isPreparing) setWaiting(performance.now());
    else if (canBegin) void quantize(settings);
  };
  useEffect(() => {
    if (isWaiting === undefined || samples.isPreparing) return;
    setWaiting(undefined);
    if (canBegin) void quantize(settings);
  }, [isWaiting, samples.isPreparing, canBegin]);
  const cancel = useCallback(() => {
    setWaiting(undefined);
    job?.controller.abort();
    if (!job) requestAnimationFrame(() => button.current?.focus());
  }, [job?.controller]);

  /** What an error says would fit. */
  const lighter = ({ details: { instead } }: ZeropointError) => {
    if (!instead) return undefined;
    const next = withInstead(settings, instead.options);
    const called = describe(next) + (next.repairs?.length === 0 ? ', without repairs' : '');
    return {
      words: `${called}: about ${bytes(instead.peakBytes)} of memory.`,
      button: 'Choose this',
      set() {
        setSettings(next);
        setError(undefined);
        go(hashOf(work.id, 'goal'));
      },
    };
  };

  const readAs = async (run: Run, kind: string) => {
    const { set } = samples;
    if (!set || set.identity !== run.identity) {
      onToast({ text: 'The samples of this run are no longer here: add them again, then choose.' });
      return;
    }
    setKind(kind);
    await attempt('Comparing answers', async (report, signal) => {
      const quantized = await openRun(run);
      try {
        change({
          ...run,
          ...(await judgeAgain({ ...taskOf(run.settings, set), kind }, quantized, report, signal)),
        });
      } finally {
        await quantized.dispose();
      }
    });
  };

  // What each goal would bring, when somebody looks at the choices and no other work runs.
  const isChoosing = step === 'goal' && !hidden && !busy && report?.problem === null;
  const asked = JSON.stringify([samples.set?.identity ?? samples.set?.label, samples.dims]);
  const expectedHere = expected.of === asked ? expected.goals : {};
  useEffect(() => {
    if (!isChoosing || samples.isPreparing) return;
    let isCurrent = true;
    const ask = async () => {
      let found = expectedHere;
      for (const goal of goals) {
        if (found[goal.id]) continue;
        // The page says nothing of a goal that cannot be estimated: quantizing says what is wrong.
        const each = await expectedOf(model, goal, samples.set, samples.dims).catch(() => undefined);
        if (!isCurrent) return;
        if (each) found = { ...found, [goal.id]: each };
        setExpected({ of: asked, goals: found });
      }
    };
    void ask();
    return () => {
      isCurrent = false;
    };
  }, [model, isChoosing, asked, samples.isPreparing]);

  // ---- where the visitor is

  const isNew = useRef(true);
  useEffect(() => {
    if (hidden) return;
    if (isNew.current && document.activeElement && document.activeElement !== document.body) {
      isNew.current = false;
      return;
    }
    isNew.current = false;
    heading.current?.focus({ preventScroll: true });
    // On a phone the steps, and the results, are wider than the screen.
    rail.current?.querySelector('[aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
    scrollTo({ top: 0 });
  }, [step, shown?.id, hidden]);
  // A model that cannot be quantized: its problem is shown first.
  const isStuck = report?.problem != null;
  useEffect(() => {
    if (isStuck && !hidden) go(hashOf(work.id, 'model'), { replace: true });
  }, [isStuck]);
  const running = job ? `${Math.round(100 * Math.min(1, job.step.share ?? 0))} % · ` : '';
  useEffect(() => {
    const before = document.title;
    document.title = `${running}${name} · zeropoint`;
    return () => {
      document.title = before;
    };
  }, [running, name]);

  const file = useCallback(
    async () =>
      work.files[0] ?? new Blob(demo ? [(await demo.load(new AbortController().signal)).bytes] : []),
    [work.id],
  );
  // What would become of each layer, with what quantizing it did last.
  const planned = useMemo(() => {
    const measured = new Map(runs.at(-1)?.report.layers.map(({ output, error }) => [output, error]));
    return (report?.plan.layers ?? []).map((layer) => ({ ...layer, error: measured.get(layer.output) }));
  }, [report, runs]);
  const quantized = useRunModel(step === 'try' ? runs.at(-1) : shown, demo !== undefined && !hidden);
  const test = useMemo(() => demo?.test?.(model), [demo, model]);
  const View = demo?.View;
  const memory = useRef<DemoMemory>(new Map());
  const task = samples.set && !job ? taskOf(settings, samples.set) : undefined;
  const next: Partial<Record<StepName, StepName>> = { try: 'goal', model: 'samples', samples: 'goal' };
  const tried = View && demo && (
    <section class="wide" aria-labelledby="demo-heading">
      <h2 id="demo-heading">Try it</h2>
      <View original={model} quantized={quantized} test={test} memory={memory.current} />
      <p class="note">{demo.licence}</p>
    </section>
  );
  return (
    <div class="workspace" hidden={hidden}>
      <nav class="rail" aria-label="Steps" ref={rail}>
        <ol class="steps">
          {demo && <StepLink id={work.id} step="try" current={step} says={demo.title} />}
          <StepLink
            id={work.id}
            step="model"
            current={step}
            says={report?.problem ? 'cannot run here' : `${bytes(model.size)}`}
            mark={report?.problem ? 'poor' : 'good'}
          />
          <StepLink
            id={work.id}
            step="samples"
            current={step}
            says={samplesLine(samples)}
            mark={samples.set ? (samples.set.synthetic ? 'fair' : 'good') : undefined}
          />
          <StepLink id={work.id} step="goal" current={step} says={describe(settings)} />
          {runs.length > 0 && (
            <StepLink id={work.id} step="runs" current={step} says={counted(runs.length, 'run')} />
          )}
        </ol>
        {runs.length > 0 && (
          <ol class="run-links" aria-label="Results">
            {runs.map((run) => {
              const { grade, short } = summaryOf(run);
              return (
                <li key={run.id}>
                  <a
                    href={hashOf(work.id, 'result', run.number)}
                    aria-current={shown?.id === run.id ? 'step' : undefined}
                  >
                    <span class={`dot ${grade}`} aria-hidden="true" />
                    <span class="run-title">
                      {run.number}. {titleOfRun(run)}
                    </span>
                    <span class="note">
                      {bytes(run.report.sizeAfter)}, {short}
                    </span>
                  </a>
                </li>
              );
            })}
          </ol>
        )}
      </nav>
      <div class="pane">
        <div class="pane-head">
          <h1 class="title" ref={heading} tabIndex={-1}>
            {step === 'model' || step === 'try' ? (
              <span class="name">{name}</span>
            ) : step === 'result' ? (
              <>
                Result <span class="note title-note">{shown && `${shown.number}. ${titleOfRun(shown)}`}</span>
              </>
            ) : step === 'goal' ? (
              'What becomes of the numbers?'
            ) : (
              titles[step]
            )}
          </h1>
        </div>
        {error && <ErrorBox error={error} remedy={lighter(error)} onClose={() => setError(undefined)} />}
        <p class="visually-hidden" role="status">
          {status.words}
        </p>
        {step === 'try' && tried}
        {step === 'model' &&
          (report ? <ModelCard report={report} /> : <p class="note">Looking at the model…</p>)}
        {step === 'model' && (
          <section aria-labelledby="graph-heading">
            <h2 id="graph-heading">The graph</h2>
            <LazyGraph
              file={file}
              layers={planned}
              colour="type"
              measure={
                report && !report.problem && !busy
                  ? () => stepTimes(model, samples.set ?? syntheticSet(model, samples.dims))
                  : undefined
              }
              settings={settings}
              disabled={busy}
              onChange={setSettings}
            />
          </section>
        )}
        {step === 'samples' && (
          <SamplesPanel
            samples={samples}
            model={model}
            demo={demo}
            kind={kind}
            disabled={busy}
            onFiles={onFiles}
            onClear={() => {
              const undo = samples.clear();
              onToast({ text: 'The samples are removed.', undo: { label: 'Undo', run: undo } });
            }}
          />
        )}
        {step === 'goal' && (
          <SettingsPanel
            settings={settings}
            choices={choices}
            disabled={busy}
            estimates={estimatesOf({
              size: model.size,
              expected: expectedHere,
              hasSamples: samples.set !== undefined,
              runs,
            })}
            onChange={setSettings}
          />
        )}
        {step === 'runs' && (
          <>
            <RunsTable
              runs={runs}
              project={work.id}
              shown={undefined}
              size={model.size}
              schema={choices?.schema}
              disabled={busy}
              onChange={change}
              onDelete={remove}
            />
            <RunsChart runs={runs} project={work.id} />
          </>
        )}
        {step === 'result' && shown && (
          <ResultView
            key={shown.id}
            run={shown}
            name={name}
            size={model.size}
            digest={work.digest}
            busy={busy}
            schema={choices?.schema}
            onRemedy={(remedy) => {
              setSettings(withRemedy(settings, remedy, shown.report.repairsRun));
              if (choices) {
                const text = `Set: ${actionOf(choices.schema, remedy)}. Quantize again.`;
                setStatus({ words: text });
                onToast({ text });
              }
            }}
            onPick={({ what, options }) =>
              canBegin && void quantize({ ...shown.settings, picked: { what, options } })
            }
            onKind={(kind) => void readAs(shown, kind)}
            demo={tried}
            graph={
              <LazyGraph
                file={file}
                layers={shown.report.layers}
                colour="error"
                settings={settings}
                disabled={busy}
                onChange={setSettings}
              />
            }
            training={
              <TrainingPanel
                task={task}
                digest={work.digest}
                result={shown}
                samples={samples.set}
                schema={choices?.schema}
                onBusy={setTraining}
                onResult={show}
              />
            }
          />
        )}
      </div>
      <div class="action-bar">
        {job || isWaiting !== undefined ? (
          <ProgressView
            step={
              job?.step ?? {
                label: 'Preparing your samples',
                share: samples.done / Math.max(1, samples.files.length),
                detail: `${samples.done} of ${samples.files.length}`,
              }
            }
            startedAt={job?.startedAt ?? isWaiting ?? 0}
            onCancel={cancel}
          />
        ) : (
          <>
            <p class="note action-note">{actionNote(samples, settings, canBegin, isRun, report)}</p>
            <div class="actions">
              {next[step] && (
                <a class="button next" href={hashOf(work.id, next[step])}>
                  Next: {titles[next[step]].toLowerCase()}
                </a>
              )}
              <button
                type="button"
                ref={button}
                class={`large ${samples.set?.synthetic && isCalibrated(settings) ? '' : 'primary'} ${next[step] ? 'later' : ''}`}
                disabled={(!canBegin && !samples.isPreparing) || busy || Boolean(report?.problem)}
                onClick={press}
              >
                {runs.length ? 'Quantize again' : 'Quantize'}
              </button>
            </div>
            {status.words && <p class={`note ${status.isDone ? 'done' : ''}`}>{status.words}</p>}
          </>
        )}
      </div>
    </div>
  );
}

function samplesLine({ set, isPreparing, done, files, source }: Samples): string {
  if (isPreparing) return `preparing ${done} of ${files.length}`;
  return set?.label ?? (source === 'files' ? 'none yet' : '');
}

function actionNote(
  samples: Samples,
  settings: Settings,
  canBegin: boolean,
  isRun: boolean,
  report: ModelReport | undefined,
): string {
  if (report?.problem) return 'This model cannot run here: the step Model gives the reason.';
  if (samples.isPreparing) return 'Your samples are being prepared: quantizing begins when they are ready.';
  const { set } = samples;
  if (!canBegin) return 'Add samples first, or choose made-up ones: these settings need them.';
  if (!isRun)
    return `${describe(settings)}. The model and its result do not fit in memory together: they are not run, and answers are not compared.`;
  if (!set) return `${describe(settings)}. Without samples: its answers are not compared.`;
  return `${describe(settings)}, with ${set.label}${set.synthetic ? ': a first look at size and speed' : ''}.`;
}

function StepLink({
  id,
  step,
  current,
  says,
  mark,
}: {
  id: string;
  step: StepName;
  current: StepName;
  says: string;
  mark?: 'good' | 'fair' | 'poor' | undefined;
}) {
  return (
    <li>
      <a href={hashOf(id, step)} aria-current={current === step ? 'step' : undefined}>
        <span class="step-title">
          {titles[step]}
          {mark && <span class={`dot ${mark}`} aria-hidden="true" />}
        </span>
        <span class="note">{says}</span>
      </a>
    </li>
  );
}
