import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import {
  type Choices,
  type EngineInfo,
  choices as engineChoices,
  engineInfo,
  Model,
  type ModelReport,
  type ZeropointError,
} from 'zeropoint';
import { sha256 } from './checkpoints.ts';
import type { Demo } from './demos/demo.ts';
import { demos } from './demos/index.ts';
import { bytes, decibels, milliseconds, percent, sizeChange } from './format.ts';
import { modelAmong } from './model-files.ts';
import { DropZone, droppedFiles } from './parts/drop-zone.tsx';
import { ErrorBox } from './parts/error-box.tsx';
import { ModelCard } from './parts/model-card.tsx';
import { ProgressView } from './parts/progress-view.tsx';
import { ResultView } from './parts/result-view.tsx';
import { SamplesPanel } from './parts/samples-panel.tsx';
import { ScrollRegion } from './parts/scroll-region.tsx';
import { SettingsPanel } from './parts/settings-panel.tsx';
import { ThemeButton } from './parts/theme-button.tsx';
import { asError, openDims, type SampleSet } from './sample-set.ts';
import { actionOf, describe, initial, type Settings, toOptions, withRemedy } from './settings.ts';
import { quantizeAndCompare, type Result, type Step, worstSqnr } from './work.ts';

interface Loaded {
  name: string;
  model: Model;
  /** SHA-256 of its file. */
  digest: string | undefined;
  demo: Demo | undefined;
}

/** A model, its weights, or both in a zip. Weights may have any name. */
const modelFiles = '.onnx,.onnx_data,.data,.bin,.weight,.zip';

interface Job {
  step: Step;
  startedAt: number;
  controller: AbortController;
}

export function App() {
  const [loaded, setLoaded] = useState<Loaded | undefined>();
  const [report, setReport] = useState<ModelReport | undefined>();
  const [loading, setLoading] = useState('');
  const [samples, setSamples] = useState<SampleSet | undefined>();
  const [chosen, setSettings] = useState<Settings | undefined>();
  const settings = useMemo(() => chosen ?? initial(samples), [chosen, samples]);
  const [choices, setChoices] = useState<Choices | undefined>();
  const [info, setInfo] = useState<EngineInfo | undefined>();
  const [job, setJob] = useState<Job | undefined>();
  const [training, setTraining] = useState(false);
  const [results, setResults] = useState<Result[]>([]);
  const [shown, setShown] = useState<number | undefined>();
  const [error, setError] = useState<ZeropointError | undefined>();
  const [status, setStatus] = useState('');
  const busy = job !== undefined || training;
  const resultHeading = useRef<HTMLHeadingElement>(null);
  const modelHeading = useRef<HTMLHeadingElement>(null);

  const open = useCallback(
    async (
      label: string,
      source: () => Promise<{ name?: string; file: Blob | Uint8Array<ArrayBuffer>; others?: File[] }>,
      demo?: Demo,
    ) => {
      setError(undefined);
      setLoading(label);
      try {
        const { name = label, file, others } = await source();
        const digest = await sha256(file instanceof Blob ? new Uint8Array(await file.arrayBuffer()) : file);
        const model = await Model.load(file, others?.length ? { externalData: others } : {});
        for (const result of results) await result.model.dispose();
        await loaded?.model.dispose();
        setResults([]);
        setShown(undefined);
        setReport(undefined);
        setSamples(undefined);
        setLoaded({ name, model, digest, demo });
        setStatus(`${name} is loaded`);
        requestAnimationFrame(() => modelHeading.current?.focus());
        setChoices(await engineChoices());
        setInfo(await engineInfo());
      } catch (problem) {
        setError(asError(problem));
      } finally {
        setLoading('');
      }
    },
    [loaded, results],
  );

  const openFiles = useCallback(
    (files: File[]) => {
      const [file] = files;
      if (file) void open(file.name, () => modelAmong(files));
    },
    [open],
  );

  // A model may be dropped anywhere on the page.
  useEffect(() => {
    const over = (event: DragEvent) => event.preventDefault();
    const drop = async (event: DragEvent) => {
      event.preventDefault();
      if (!event.dataTransfer || busy) return;
      openFiles(await droppedFiles(event.dataTransfer));
    };
    addEventListener('dragover', over);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', over);
      removeEventListener('drop', drop);
    };
  }, [openFiles, busy]);

  // What would be quantized follows the settings.
  useEffect(() => {
    if (!loaded) return;
    let current = true;
    const timer = setTimeout(async () => {
      try {
        const dims = openDims(loaded.model.inputs);
        const { format: _, opset: __, externalData: ___, chunkSize: ____, ...scheme } = toOptions(settings);
        const found = await loaded.model.inspect({
          ...scheme,
          ...(Object.keys(dims).length ? { dims } : {}),
        });
        if (current) setReport(found);
      } catch (problem) {
        if (current) setError(asError(problem));
      }
    }, 60);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [loaded, settings]);

  const show = useCallback((result: Result) => {
    setResults((before) => [...before, result]);
    setShown(result.id);
    const { layersQuantized, sizeBefore, sizeAfter } = result.report;
    setStatus(
      layersQuantized === 0
        ? 'Nothing was quantized'
        : `Done: ${bytes(sizeBefore)} became ${bytes(sizeAfter)}, ${sizeChange(sizeBefore, sizeAfter)}`,
    );
    requestAnimationFrame(() => resultHeading.current?.focus());
  }, []);

  const quantize = async (settings: Settings) => {
    if (!loaded || !samples || busy) return;
    const controller = new AbortController();
    const startedAt = performance.now();
    let since = { label: '', at: startedAt };
    setError(undefined);
    setStatus('');
    setJob({ step: { label: 'Starting', share: undefined }, startedAt, controller });
    try {
      const result = await quantizeAndCompare(
        loaded.model,
        samples,
        settings,
        (step) => {
          if (step.label !== since.label) since = { label: step.label, at: performance.now() };
          setJob({ step, startedAt: since.at, controller });
        },
        controller.signal,
      );
      show(result);
    } catch (problem) {
      const found = asError(problem);
      if (found.code === 'cancelled') setStatus('Cancelled. Nothing was changed.');
      else setError(found);
    } finally {
      setJob(undefined);
    }
  };
  const cancel = useCallback(() => job?.controller.abort(), [job?.controller]);

  const result = results.find(({ id }) => id === shown);
  const View = loaded?.demo?.View;
  const test = useMemo(() => loaded?.demo?.test?.(loaded.model), [loaded]);
  return (
    <>
      <header class="bar">
        <a class="brand" href="./" aria-label="zeropoint: start again">
          <Mark /> zeropoint
        </a>
        <span class="grow" />
        {info && <span class="note engine">{engineLine(info)}</span>}
        <ThemeButton />
      </header>
      <main>
        {!loaded && (
          <section class="hero">
            <h1>Quantize neural networks in your browser</h1>
            <p class="lead">
              Drop an ONNX model and a few samples. Your own machine makes the model smaller and faster,
              compares it with the original layer by layer, and saves standard ONNX. Nothing is uploaded.
            </p>
            <DropZone
              big
              label={loading ? `Opening ${loading}…` : 'Choose a model'}
              accept={modelFiles}
              multiple
              folderLabel="Choose a folder"
              disabled={loading !== ''}
              onFiles={openFiles}
            >
              <p>
                Drop an .onnx file anywhere on this page, with its weights if those are in other files:
                together, as a folder or as a zip
              </p>
            </DropZone>
            <div class="demos">
              <h2>Or try a demo</h2>
              {demos.map((demo) => (
                <button
                  key={demo.id}
                  type="button"
                  class="demo"
                  disabled={loading !== ''}
                  onClick={() =>
                    void open(
                      demo.title,
                      async () => ({ file: (await demo.load(new AbortController().signal)).bytes }),
                      demo,
                    )
                  }
                >
                  <strong>{demo.title}</strong>
                  <span>{demo.summary}</span>
                </button>
              ))}
            </div>
          </section>
        )}
        {error && <ErrorBox error={error} onClose={() => setError(undefined)} />}
        <p class="visually-hidden" role="status">
          {status}
        </p>
        {loaded && (
          <>
            <section aria-labelledby="model-heading">
              <div class="section-head">
                <h1 id="model-heading" class="title" ref={modelHeading} tabIndex={-1}>
                  <span class="name">{loaded.name}</span>
                </h1>
                <DropZone
                  label="Another model"
                  accept={modelFiles}
                  multiple
                  disabled={busy}
                  onFiles={openFiles}
                >
                  {null}
                </DropZone>
              </div>
              {report ? (
                <ModelCard name={loaded.name} report={report} />
              ) : (
                <p class="note">Looking at the model…</p>
              )}
            </section>
            {View && (
              <section aria-labelledby="demo-heading">
                <h2 id="demo-heading">Try it</h2>
                <View original={loaded.model} quantized={result?.model} test={test} />
              </section>
            )}
            <section aria-labelledby="samples-heading">
              <h2 id="samples-heading">Samples</h2>
              <SamplesPanel
                key={loaded.name}
                model={loaded.model}
                demo={loaded.demo}
                disabled={busy}
                onChange={setSamples}
              />
            </section>
            <section aria-labelledby="settings-heading">
              <h2 id="settings-heading">What matters most?</h2>
              <SettingsPanel settings={settings} choices={choices} disabled={busy} onChange={setSettings} />
              {job ? (
                <ProgressView step={job.step} startedAt={job.startedAt} onCancel={cancel} />
              ) : (
                <div class="actions">
                  <button
                    type="button"
                    class="primary large"
                    disabled={!samples || busy}
                    onClick={() => void quantize(settings)}
                  >
                    {results.length ? 'Quantize again' : 'Quantize'}
                  </button>
                  <span class="note">
                    {samples
                      ? `${describe(settings)}, with ${samples.label}`
                      : 'Add samples first, or choose made-up ones: calibration and comparison need them.'}
                  </span>
                  {status && <span class="note">{status}</span>}
                </div>
              )}
            </section>
            {result && (
              <section aria-labelledby="result-heading">
                <h2 id="result-heading" ref={resultHeading} tabIndex={-1}>
                  Result
                </h2>
                {results.length > 1 && (
                  <History results={results} shown={result.id} disabled={busy} onShow={setShown} />
                )}
                <ResultView
                  key={result.id}
                  name={loaded.name}
                  original={loaded.model}
                  digest={loaded.digest}
                  result={result}
                  busy={busy}
                  schema={choices?.schema}
                  onRemedy={(remedy) => {
                    setSettings(withRemedy(settings, remedy, result.report.repairsRun));
                    if (choices) setStatus(`Set: ${actionOf(choices.schema, remedy)}. Quantize again.`);
                  }}
                  onPick={({ what, options }) =>
                    void quantize({ ...result.settings, picked: { what, options } })
                  }
                  samples={job ? undefined : samples}
                  onBusy={setTraining}
                  onResult={show}
                />
              </section>
            )}
          </>
        )}
      </main>
      <footer>
        <p>
          Your model and your samples stay on your machine. No account, no upload.{' '}
          <a href="./api/">For developers: the API</a>
        </p>
      </footer>
    </>
  );
}

function History({
  results,
  shown,
  disabled,
  onShow,
}: {
  results: Result[];
  shown: number;
  disabled: boolean;
  onShow: (id: number) => void;
}) {
  const labelled = results.some(({ accuracy }) => accuracy);
  return (
    <ScrollRegion label="Results so far">
      <table class="history">
        <caption class="visually-hidden">Results so far</caption>
        <thead>
          <tr>
            <th scope="col">Settings</th>
            <th scope="col">Size</th>
            <th scope="col">Time</th>
            <th scope="col">SQNR</th>
            {labelled && <th scope="col">Right answers</th>}
          </tr>
        </thead>
        <tbody>
          {results.map((result) => (
            <tr key={result.id} class={result.id === shown ? 'on' : ''}>
              <td>
                <button
                  type="button"
                  class="link"
                  aria-pressed={result.id === shown}
                  disabled={disabled}
                  onClick={() => onShow(result.id)}
                >
                  {result.id}. {describe(result.settings)}
                </button>
              </td>
              <td>{bytes(result.report.sizeAfter)}</td>
              <td>{milliseconds(result.latency.quantized)}</td>
              <td>{decibels(worstSqnr(result))}</td>
              {labelled && <td>{result.accuracy ? percent(result.accuracy.quantized) : '–'}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}

function engineLine(info: EngineInfo): string {
  const threads = info.threads > 1 ? `${info.threads} threads` : 'one thread';
  return `${info.build.startsWith('relaxed') ? 'relaxed SIMD' : 'SIMD'}, ${threads}`;
}

/** A staircase with its zero marked: what quantization does to a line. */
function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <title>zeropoint</title>
      <rect width="32" height="32" rx="7" fill="var(--accent)" />
      <path
        d="M5 23h5v-4h4v-5h4v-4h4V6h5"
        fill="none"
        stroke="#fff"
        stroke-width="2.6"
        stroke-linejoin="round"
      />
      <circle cx="16" cy="16.5" r="3.2" fill="#ffd166" />
    </svg>
  );
}
