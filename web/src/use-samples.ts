// Where samples come from, and their state: files that are prepared, labels that are read.
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { ImageOptions, Model } from 'zeropoint';
import type { Demo } from './demos/demo.ts';
import type { Source } from './kept.ts';
import {
  type Columns,
  guessColumns,
  type Labels,
  labelsFrom,
  type Table,
  tableOf,
} from './samples/labels.ts';
import { type Entry, Preparation } from './samples/prepare.ts';
import { guessPreparation, type PreparationGuess } from './samples/preprocessing.ts';
import { asError, demoSet, fileSet, openDims, type SampleSet, syntheticSet } from './samples/sample-set.ts';

/** The samples that a visit begins with: none, or those that an earlier visit left. */
export interface SavedSamples {
  source?: Source | undefined;
  files?: readonly File[] | undefined;
  labelFile?: File | undefined;
  image?: ImageOptions | undefined;
  dims?: Record<string, number> | undefined;
  columns?: Columns | undefined;
}

export interface Samples {
  source: Source;
  setSource(source: Source): void;
  files: readonly File[];
  add(files: readonly File[], labels?: File | undefined): void;
  /** Takes all files away, and gives them back where that is undone. */
  clear(): () => void;
  /** Of each file; undefined while it is prepared. */
  entries: readonly (Entry | undefined)[];
  done: number;
  isPreparing: boolean;
  image: ImageOptions;
  guess: PreparationGuess;
  setImage(image: ImageOptions): void;
  dims: Record<string, number>;
  setDims(dims: Record<string, number>): void;
  labelFile: File | undefined;
  setLabelFile(file: File | undefined): void;
  table: Table | undefined;
  columns: Columns | undefined;
  setColumns(columns: Columns): void;
  labels: Labels | undefined;
  labelProblem: string | undefined;
  /** Undefined: there are none yet. */
  set: SampleSet | undefined;
}

export function useSamples(model: Model, name: string, demo: Demo | undefined, saved: SavedSamples): Samples {
  const guess = useMemo(
    (): PreparationGuess =>
      demo?.image
        ? { image: demo.image, because: 'the demo prepares its pictures in this way', sure: true }
        : guessPreparation(model, name),
    [model, name, demo],
  );
  const [source, setSource] = useState<Source>(saved.source ?? (demo ? 'demo' : 'files'));
  const [files, setFiles] = useState<readonly File[]>(saved.files ?? []);
  const [image, setImage] = useState<ImageOptions>(saved.image ?? guess.image);
  const [dims, setDims] = useState(() => saved.dims ?? openDims(model.inputs));
  const [labelFile, setLabelFile] = useState<File | undefined>(saved.labelFile);
  const [read, setRead] = useState<{ of: File; table?: Table; problem?: string } | undefined>();
  const [chosen, setColumns] = useState<{ of: File; columns: Columns } | undefined>(
    saved.labelFile && saved.columns && { of: saved.labelFile, columns: saved.columns },
  );
  const [, setDone] = useState(0);
  const preparation = useRef<{ key: string; now: Preparation } | undefined>(undefined);

  // Begins in the same task as the choice: no click can come between.
  const key = JSON.stringify(image);
  const current = preparation.current;
  if (!current || current.key !== key || current.now.files !== files) {
    current?.now.stop();
    let frame = 0;
    const now = new Preparation(
      files,
      model.inputs,
      image,
      current?.key === key ? current.now : undefined,
      () => {
        cancelAnimationFrame(frame);
        frame = requestAnimationFrame(() => setDone((count) => count + 1));
        // A page in the background has no frames.
        if (now.isDone) setDone((count) => count + 1);
      },
    );
    preparation.current = { key, now };
  }
  const now = preparation.current?.now as Preparation;
  useEffect(() => () => preparation.current?.now.stop(), []);

  useEffect(() => {
    if (!labelFile) return;
    let isCurrent = true;
    tableOf(labelFile).then(
      (table) => isCurrent && setRead({ of: labelFile, table }),
      (error) => isCurrent && setRead({ of: labelFile, problem: asError(error).message }),
    );
    return () => {
      isCurrent = false;
    };
  }, [labelFile]);

  const { isDone, done } = now;
  const entries = now.entries;
  const names = useMemo(
    () =>
      isDone
        ? entries.flatMap((entry) => Array.from({ length: entry?.count ?? 0 }, () => entry?.file.name ?? ''))
        : [],
    [now, isDone],
  );
  const table = read && read.of === labelFile ? read.table : undefined;
  const columns = useMemo(
    () =>
      table &&
      (chosen?.of === labelFile
        ? chosen?.columns
        : guessColumns(
            table,
            files.map((file) => file.name),
          )),
    [table, chosen, files, labelFile],
  );
  const labels = useMemo(
    () => (table && columns && names.length ? labelsFrom(table, columns, names) : undefined),
    [table, columns, names],
  );
  const known = typeof labels === 'object' ? labels : undefined;

  const set = useMemo((): SampleSet | undefined => {
    if (source === 'demo' && demo) return demoSet(demo, model);
    if (source === 'synthetic') return syntheticSet(model, dims);
    // Labels that are being read belong to them.
    if (!isDone || (labelFile && !read)) return undefined;
    return fileSet(entries as readonly Entry[], image, known);
  }, [source, demo, model, dims, now, isDone, key, known, labelFile, read]);

  return {
    source,
    setSource,
    files,
    add: useCallback((added, classes) => {
      if (classes) setLabelFile(classes);
      if (added.length) setFiles((before) => [...before, ...added]);
      if (added.length || classes) setSource('files');
    }, []),
    clear() {
      const [before, labelsBefore] = [files, labelFile];
      setFiles([]);
      setLabelFile(undefined);
      return () => {
        setFiles(before);
        setLabelFile(labelsBefore);
      };
    },
    entries,
    done,
    isPreparing: source === 'files' && files.length > 0 && !isDone,
    image,
    guess,
    setImage,
    dims,
    setDims,
    labelFile,
    setLabelFile,
    table,
    columns,
    setColumns: (columns) => labelFile && setColumns({ of: labelFile, columns }),
    labels: known,
    labelProblem:
      read?.of === labelFile && read?.problem
        ? read.problem
        : typeof labels === 'string'
          ? labels
          : undefined,
    set,
  };
}
