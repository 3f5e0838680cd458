// Samples as the page keeps them: as files. Each use reads them; while one model is quantized, the engine keeps what it wants
// again.
import {
  concreteDims,
  type Feeds,
  type ImageOptions,
  labelsInFile,
  type Model,
  samplesInFile,
  syntheticSamples,
  type ValueInfo,
  ZeropointError,
} from 'zeropoint';
import { sha256 } from './checkpoints.ts';

export interface SampleSet {
  /** What is shown beside it. */
  label: string;
  synthetic: boolean;
  /** How many samples, if known. */
  count: number | undefined;
  /** The right class of each sample, in their order, where that is known. */
  labels?: (() => Promise<readonly number[]>) | undefined;
  /** What right answers are counted on. */
  test?: LabelledSamples | undefined;
  /** The same for the same samples, and for no others; undefined: cannot be told. */
  identity: string | undefined;
  feeds(limit?: number): AsyncIterable<Feeds>;
}

/** Samples with the right class of each. */
export interface LabelledSamples {
  /** What they are, in words. */
  what: string;
  labels(): Promise<readonly number[]>;
  feeds(): AsyncIterable<Feeds>;
}

export interface FileCheck {
  file: File;
  samples: number;
  /** SHA-256 of what is in it. */
  digest: string | undefined;
  error?: ZeropointError;
  preview?: string;
}

/** Whether a file says classes, and holds no sample. */
export const isLabels = (file: File): boolean => /\.(csv|tsv|txt)$/i.test(file.name);

export const isImage = (file: File): boolean => file.type.startsWith('image/');

/** Names of the dimensions that the model leaves open, with the sizes that are usual for them. */
export function openDims(inputs: readonly ValueInfo[]): Record<string, number> {
  const names: Record<string, number> = {};
  if (inputs.some(({ dims }) => dims === null)) return names;
  const sizes = concreteDims(inputs);
  for (const { name, dims } of inputs) {
    dims?.forEach((dim, axis) => {
      if (typeof dim === 'string' && dim !== '?') names[dim] ??= sizes.get(name)?.[axis] ?? 1;
    });
  }
  return names;
}

export function syntheticSet(model: Model, dims: Record<string, number>, count = 8): SampleSet {
  return {
    label: `${count} made-up samples`,
    synthetic: true,
    count,
    identity: JSON.stringify(['synthetic', count, dims]),
    async *feeds(limit = count) {
      yield* syntheticSamples(model.inputs, { count: Math.min(limit, count), dims });
    },
  };
}

/** Reads each file once, to say at once which ones do not fit. */
export async function checkFiles(
  files: readonly File[],
  model: Model,
  options: ImageOptions,
): Promise<FileCheck[]> {
  const checks: FileCheck[] = [];
  for (const file of files) {
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      const digest = await sha256(bytes);
      const samples = await samplesInFile(bytes, file.name, model.inputs, options);
      const check: FileCheck = { file, samples: samples.length, digest };
      if (isImage(file) && checks.length < 8) check.preview = URL.createObjectURL(file);
      checks.push(check);
    } catch (error) {
      checks.push({ file, samples: 0, digest: undefined, error: asError(error) });
    }
  }
  return checks;
}

export function fileSet(
  checks: readonly FileCheck[],
  model: Model,
  options: ImageOptions,
  labels?: readonly number[],
): SampleSet | undefined {
  const good = checks.filter(({ error }) => !error);
  const count = good.reduce((sum, { samples }) => sum + samples, 0);
  if (count === 0) return undefined;
  const set: SampleSet = {
    label: `${count} ${count === 1 ? 'sample' : 'samples'} from ${good.length} ${good.length === 1 ? 'file' : 'files'}`,
    synthetic: false,
    count,
    identity: good.every(({ digest }) => digest !== undefined)
      ? JSON.stringify(['files', options, good.map(({ digest }) => digest)])
      : undefined,
    async *feeds(limit = Number.POSITIVE_INFINITY) {
      let left = limit;
      for (const { file } of good) {
        const bytes = new Uint8Array(await file.arrayBuffer());
        for (const sample of await samplesInFile(bytes, file.name, model.inputs, options)) {
          if (left-- <= 0) return;
          yield sample;
        }
      }
    },
  };
  if (!labels) return set;
  const told = async () => labels;
  return {
    ...set,
    labels: told,
    test: { what: 'your samples', labels: told, feeds: () => set.feeds() },
  };
}

/** The right class of each sample out of a file: see labelsInFile. */
export async function labelsFor(file: File, checks: readonly FileCheck[]): Promise<readonly number[]> {
  const names = checks.flatMap(({ file, samples }) => Array.from({ length: samples }, () => file.name));
  const labels = await labelsInFile(new Uint8Array(await file.arrayBuffer()), file.name, names);
  if (labels.length === names.length) return labels;
  throw new ZeropointError(
    'invalid-argument',
    `${file.name} says ${labels.length} ${labels.length === 1 ? 'class' : 'classes'}, and there are ${names.length} samples`,
    { hint: 'give one for each sample, in their order, or each behind the name of its file' },
  );
}

export const asError = (error: unknown): ZeropointError =>
  error instanceof ZeropointError
    ? error
    : new ZeropointError(
        'internal',
        error instanceof Error ? error.message : String(error),
        {},
        { cause: error },
      );
