import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import {
  type Choices,
  type EngineInfo,
  choices as engineChoices,
  engineInfo,
  Model,
  type ZeropointError,
} from 'zeropoint';
import type { Demo } from './demos/demo.ts';
import { demos } from './demos/index.ts';
import { sha256 } from './digest.ts';
import { newId } from './format.ts';
import { forgetEverything, forgetProject, type Project, project, projects, whyNotKept } from './kept.ts';
import { OfflineMark } from './offline/notice.tsx';
import { DropZone, droppedFiles } from './parts/drop-zone.tsx';
import { ErrorBox } from './parts/error-box.tsx';
import { StartScreen } from './parts/start-screen.tsx';
import { ThemeButton } from './parts/theme-button.tsx';
import { type Toast, Toasts } from './parts/toasts.tsx';
import { type Work, Workspace } from './parts/workspace.tsx';
import { go, hashOf, useRoute } from './route.ts';
import { asError } from './samples/sample-set.ts';
import { type Understood, understand } from './samples/understood.ts';
import { forgetUnfinished, scratchOf } from './unfinished.ts';

/** A demo's work has one place: visitors who come back find it. */
/** `weights`: the files beside the model's own. */
const loadModel = async (source: File | Uint8Array, weights: File[], digest?: string): Promise<Model> =>
  Model.load(source, weights.length ? { externalData: weights, scratch: await scratchOf(digest) } : {});

const idOfDemo = ({ id }: Demo) => `demo_${id}`;

interface Dropped {
  /** The work that they are for. */
  work: string;
  files: readonly File[];
  labels: File | undefined;
}

export function App() {
  const route = useRoute();
  const [work, setWork] = useState<Work | undefined>();
  const [loading, setLoading] = useState('');
  const [dropped, setDropped] = useState<Dropped | undefined>();
  const [left, setLeft] = useState<readonly Project[]>([]);
  const [choices, setChoices] = useState<Choices | undefined>();
  const [info, setInfo] = useState<EngineInfo | undefined>();
  const [error, setError] = useState<ZeropointError | undefined>();
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const [busy, setBusy] = useState(false);
  /** Why the browser does not keep the work; undefined: it does. */
  const [unkept, setUnkept] = useState<string | undefined>();
  const isKept = unkept === undefined;
  const opening = useRef('');
  const isStart = route.project === undefined;

  const toast = useCallback((made: Omit<Toast, 'id'>) => {
    setToasts((before) => [
      ...before.filter(({ text }) => text !== made.text).slice(-2),
      { ...made, id: newId() },
    ]);
  }, []);

  /** Takes the place of the open work, which is put aside. */
  const replace = async (next: Work) => {
    const before = work;
    setWork(next);
    setUnkept(undefined);
    await before?.model.dispose();
    if (before && before.id !== next.id && isKept) {
      const back = location.hash;
      toast({
        text: `${before.name} is put aside.`,
        undo: {
          label: 'Go back',
          run: () => go(back.startsWith(`#/${before.id}/`) ? back : hashOf(before.id, 'model')),
        },
      });
    }
    setChoices(await engineChoices());
    setInfo(await engineInfo());
  };

  const mayReplace = (): boolean => {
    if (busy) {
      toast({ text: 'Something is being quantized or trained. Cancel it first, or wait.' });
      return false;
    }
    return isKept || !work || confirm(`This browser keeps no copy of ${work.name}. Leave it?`);
  };

  const attempt = async (label: string, open: () => Promise<void>) => {
    setError(undefined);
    setLoading(label);
    opening.current = label;
    try {
      await open();
    } catch (problem) {
      setError(asError(problem));
    } finally {
      setLoading('');
      opening.current = '';
    }
  };

  /** Opens kept work, or says why it cannot. Work that cannot be read may be there all the same. */
  const restore = async (id: string): Promise<{ why: string; mayBeThere: boolean } | undefined> => {
    const gone = { why: 'That work is no longer here.', mayBeThere: false };
    let found: Awaited<ReturnType<typeof project>>;
    try {
      found = await project(id);
    } catch (problem) {
      const why = `What this browser keeps cannot be read: ${whyNotKept(problem)}.`;
      return { why, mayBeThere: true };
    }
    if (!found) return gone;
    const { project: kept, files, runs } = found;
    const demo = demos.find(({ id }) => id === kept.demo);
    const of = (role: string) => files.filter((file) => file.role === role).map(({ file }) => file);
    const [file] = of('model');
    const [labelFile] = of('labels');
    const weights = of('weights');
    const source = demo ? (await demo.load(new AbortController().signal)).bytes : file;
    if (!source) return gone;
    const digest = await sha256(source instanceof File ? new Uint8Array(await source.arrayBuffer()) : source);
    const model = await loadModel(source, weights, digest);
    const { source: from, image, dims, columns, kind, settings } = kept;
    await replace({
      id,
      name: kept.name,
      model,
      digest,
      demo,
      files: file ? [file, ...weights] : [],
      isKept: true,
      saved: { source: from, image, dims, columns, kind, settings, runs, files: of('sample'), labelFile },
    });
    return undefined;
  };

  const openModel = async ({ model: found, samples, labels, sentence }: Understood) => {
    if (!found) return;
    const { file, others, name } = found;
    const digest = await sha256(new Uint8Array(await file.arrayBuffer()));
    const model = await loadModel(file, others, digest);
    const id = newId();
    const files = [file, ...others];
    await replace({ id, name, model, digest, demo: undefined, files, isKept: false, saved: {} });
    setDropped(samples.length || labels ? { work: id, files: samples, labels } : undefined);
    if (samples.length || labels) toast({ text: sentence });
    go(hashOf(id, samples.length ? 'goal' : 'samples'));
  };

  const openFiles = useCallback(
    (files: File[]) => {
      if (files.length === 0) return;
      const isHere = work !== undefined && !isStart;
      void attempt(files[0]?.name ?? '', async () => {
        const understood = await understand(files, !isHere);
        const { model, samples, labels, unknown, sentence } = understood;
        if (model) {
          if (mayReplace()) await openModel(understood);
          return;
        }
        if (isHere && (samples.length || labels)) {
          setDropped({ work: work.id, files: samples, labels });
          go(hashOf(work.id, 'samples'));
          // The step says how many samples there are.
          if (samples.length && labels) toast({ text: sentence });
        }
        if (unknown.length) {
          toast({
            text: `${unknown
              .map(({ name }) => name)
              .slice(0, 3)
              .join(', ')}: this page does not know what to do with ${unknown.length === 1 ? 'it' : 'them'}.`,
          });
        }
      });
    },
    [work, isStart, busy, isKept],
  );

  const openDemo = (demo: Demo) => {
    if (work?.demo === demo) {
      go(hashOf(work.id, 'try'));
      return;
    }
    if (!mayReplace()) return;
    void attempt(demo.title, async () => {
      let id = idOfDemo(demo);
      const failure = await restore(id);
      if (failure) {
        // Work of an earlier visit that cannot be read now keeps its place.
        if (failure.mayBeThere) id = newId();
        const { bytes } = await demo.load(new AbortController().signal);
        const digest = await sha256(bytes);
        const model = await Model.load(bytes);
        await replace({ id, name: demo.title, model, digest, demo, files: [], isKept: false, saved: {} });
      }
      go(hashOf(id, 'try'));
    });
  };

  // The address may name work that was left, after a reload or on the way back.
  useEffect(() => {
    const id = route.project;
    if (id === undefined || work?.id === id || opening.current !== '') return;
    void attempt('your work', async () => {
      if (busy) {
        if (work) go(hashOf(work.id, 'goal'), { replace: true });
        mayReplace();
      } else {
        const failure = await restore(id);
        if (!failure) return;
        go('#/', { replace: true });
        toast({ text: failure.why });
      }
    });
  }, [route.project]);

  // Lists the work that was left, whenever the start is shown.
  useEffect(() => {
    if (!isStart) return;
    projects().then(
      (found) => {
        setLeft(found);
        if (found.length === 0) void forgetUnfinished();
        if (!work) setUnkept(undefined);
      },
      (problem: unknown) => {
        setLeft([]);
        setUnkept(whyNotKept(problem));
      },
    );
  }, [isStart]);

  // Anything may be dropped anywhere on the page.
  useEffect(() => {
    const over = (event: DragEvent) => event.preventDefault();
    const drop = async (event: DragEvent) => {
      event.preventDefault();
      if (event.dataTransfer) openFiles(await droppedFiles(event.dataTransfer));
    };
    addEventListener('dragover', over);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', over);
      removeEventListener('drop', drop);
    };
  }, [openFiles]);

  // The browser asks before a visitor leaves work that would be lost.
  useEffect(() => {
    if (!busy && (isKept || !work)) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [busy, isKept, work]);

  const forgetAll = () => {
    if (!confirm('Forget all models, samples, runs and settings that this browser keeps of zeropoint?'))
      return;
    Promise.all([forgetEverything(), forgetUnfinished()]).then(
      () => {
        location.hash = '#/';
        location.reload();
      },
      (problem: unknown) => toast({ text: `Not all could be forgotten: ${whyNotKept(problem)}.` }),
    );
  };

  return (
    <>
      <header class="bar">
        <a class="brand" href="#/" aria-label="zeropoint: to the start">
          <Mark /> zeropoint
        </a>
        {work && !isStart && (
          <DropZone
            label="Another model"
            accept=""
            multiple
            disabled={busy || loading !== ''}
            onFiles={openFiles}
          >
            {null}
          </DropZone>
        )}
        <span class="grow" />
        {info && <span class="note engine">{engineLine(info)}</span>}
        <ThemeButton />
      </header>
      <main>
        {error && <ErrorBox error={error} onClose={() => setError(undefined)} />}
        {isStart && (
          <StartScreen
            loading={loading}
            projects={left}
            onFiles={openFiles}
            onDemo={openDemo}
            onForget={(forgotten) => {
              if (forgotten.id === work?.id) {
                if (!mayReplace()) return;
                void work.model.dispose();
                setWork(undefined);
              }
              setLeft((before) => before.filter(({ id }) => id !== forgotten.id));
              const timer = setTimeout(() => {
                forgetProject(forgotten.id).catch((problem: unknown) =>
                  toast({ text: `${forgotten.name} could not be forgotten: ${whyNotKept(problem)}.` }),
                );
              }, 20_000);
              toast({
                text: `${forgotten.name} is forgotten.`,
                undo: {
                  label: 'Undo',
                  run: () => {
                    clearTimeout(timer);
                    projects().then(setLeft, () => undefined);
                  },
                },
              });
            }}
          />
        )}
        {!isStart && (!work || work.id !== route.project) && <p class="note opening">Opening your work…</p>}
        {work && (
          <Workspace
            key={work.id}
            work={work}
            route={route}
            hidden={isStart || work.id !== route.project}
            choices={choices}
            dropped={dropped?.work === work.id ? dropped : undefined}
            onFiles={openFiles}
            onBusy={setBusy}
            onToast={toast}
            onKept={setUnkept}
          />
        )}
      </main>
      <footer>
        <p>
          Your model and your samples stay on your machine: no account, no upload.{' '}
          {isKept ? 'Work is kept in this browser.' : `This browser does not keep your work: ${unkept}.`}{' '}
          <OfflineMark />
        </p>
        <div class="footer-links">
          <button type="button" class="link tall" disabled={busy} onClick={forgetAll}>
            Forget everything
          </button>
          <a href="./api/">For developers: the API</a>
        </div>
      </footer>
      <Toasts
        toasts={toasts}
        onClose={(id) => setToasts((before) => before.filter((each) => each.id !== id))}
      />
    </>
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
