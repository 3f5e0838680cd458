// The long calls: quantize, compare, measure. Each reports progress and stops when its signal fires.

import {
  type Comparison,
  type ImageOptions,
  type Model,
  type Progress,
  type QuantizeOptions,
  type QuantizeReport,
  type StepInfo,
  type TrainingProgress,
  ZeropointError,
} from 'zeropoint';
import { accuracyOf } from './accuracy.ts';
import type { Judgement } from './answers/index.ts';
import { judgeThread } from './answers/thread.ts';
import { worstSqnr, worstTop1 } from './figures.ts';
import { newId } from './format.ts';
import type { Checkpoint } from './kept.ts';
import { compareModels, judgeModels, measure } from './measures.ts';
import type { SampleSet } from './samples/sample-set.ts';
import { fileNameOf, type Settings, toOptions } from './settings.ts';

export { worstCosine, worstSqnr, worstTop1 } from './figures.ts';

export interface Step {
  /** What is being done, in words. */
  label: string;
  /** 0...1, or undefined while it is not known. */
  share: number | undefined;
  /** How much of how much, in words. */
  detail?: string | undefined;
}

export interface Latency {
  original: number;
  quantized: number;
  runs: number;
}

/** Shares of right answers, 0...1. */
export interface Accuracy {
  original: number;
  quantized: number;
  /** What they were counted on, in words. */
  of: string;
}

/** A model that was quantized, with all that is known of it. It can be kept. */
export interface Run {
  id: string;
  /** Among those of its project, from 1. */
  number: number;
  /** What the user calls it. */
  name?: string | undefined;
  pinned?: boolean | undefined;
  /** Milliseconds since 1970. */
  at: number;
  settings: Settings;
  /** The model's file, and those with its weights. */
  files: readonly { name: string; blob: Blob }[];
  report: QuantizeReport;
  /** Undefined: nothing was run, because the memory that it takes is not there. */
  comparison: Comparison | undefined;
  /** Of no runs where nothing was run. */
  latency: Latency;
  /** The time that all of it took. */
  milliseconds?: number | undefined;
  /** Where right answers are known. */
  accuracy: Accuracy | undefined;
  /** What became of the answers; undefined: they cannot be read. */
  judgement: Judgement | undefined;
  /** Of each sample of the judgement. */
  shown: readonly Shown[];
  samples: string;
  /** SampleSet.identity. */
  identity: string | undefined;
  image: ImageOptions | undefined;
  synthetic: boolean;
  /** Of a model that was trained. */
  training?: {
    before: { sqnr: number; top1: number; accuracy: number | undefined };
    progress: TrainingProgress;
    points: readonly LossPoint[];
  };
}

/** A sample to look at. */
export interface Shown {
  name: string;
  /** As the network sees it. */
  picture: Blob | undefined;
}

const labels: Record<string, string> = {
  prepare: 'Simplifying the model',
  decide: 'Choosing what to quantize',
  calibrate: 'Calibrating: running your samples',
  place: 'Placing scales',
  collect: 'Reading your samples',
  search: 'Trying ways to win accuracy back',
  sensitivity: 'Quantizing each layer alone, to measure its harm',
  'mixed precision': 'Finding the layers to leave in float',
  equalization: 'Equalizing channels',
  smooth: 'Moving outliers into weights',
  hqq: 'Fitting scales to weights',
  gptq: 'Rounding weights',
  adaround: 'Learning how to round',
  'bias-correction': 'Correcting biases',
  train: 'Training',
  report: 'Writing the report',
  write: 'Packing the weights',
  measure: 'Measuring each layer',
  compare: 'Comparing outputs',
};

/**
 * Names each phase of a quantization. Stages that have nothing to do are passed through too: the name before them stays,
 * `first` before all.
 */
function phaseNames(
  first: string,
  { mode }: QuantizeOptions,
  hasSamples: boolean,
): (phase: string) => string {
  let name = first;
  return (phase) => {
    const isIdle = (phase === 'calibrate' && !hasSamples) || (phase === 'train' && mode !== 'qat');
    if (!isIdle) name = labels[phase] ?? name;
    return name;
  };
}

/** What a run is about. */
export interface Task {
  original: Model;
  /** The original's file name. */
  name: string;
  samples: SampleSet;
  settings: Settings;
  /** What the user said that the model answers with. */
  kind?: string | undefined;
  number: number;
}

/** What running both models says of them. */
type Measured = Pick<Run, 'comparison' | 'latency' | 'accuracy' | 'judgement' | 'shown'>;

const notMeasured: Measured = {
  comparison: undefined,
  latency: { original: 0, quantized: 0, runs: 0 },
  accuracy: undefined,
  judgement: undefined,
  shown: [],
};

async function measured(
  task: Task,
  model: Model,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Measured> {
  const { original, samples } = task;
  try {
    return {
      comparison: await compareModels(original, model, samples, onStep, signal),
      ...(await judgeAgain(task, model, onStep, signal)),
      accuracy: await rightAnswers(original, model, samples, onStep, signal),
      latency: await measure(original, model, samples, onStep, signal),
    };
  } catch (error) {
    // The model is made, and takes less memory than both do together.
    if (error instanceof ZeropointError && error.code === 'out-of-memory') return notMeasured;
    throw error;
  }
}

/** Without samples it only quantizes. */
export async function quantizeAndCompare(
  task: Omit<Task, 'samples'> & { samples: SampleSet | undefined },
  onStep: (step: Step) => void,
  signal: AbortSignal,
  options: QuantizeOptions = toOptions(task.settings),
  onProgress?: (progress: Progress) => unknown,
): Promise<Run> {
  const { original, samples, settings } = task;
  const startedAt = performance.now();
  const first = samples ? 'Reading the first sample' : 'Reading the model';
  const nameOf = phaseNames(first, options, samples !== undefined);
  onStep({ label: first, share: undefined });
  const { model, report } = await original.quantize({
    ...options,
    calibration: samples && (() => samples.feeds()),
    // Training learns from what the original answers: labels would be its targets instead.
    labels: options.mode === 'qat' ? undefined : await samples?.labels?.(),
    signal,
    onProgress: (progress) => {
      const { phase, done } = progress;
      const total = progress.total || (phase === 'calibrate' ? (samples?.count ?? 0) : 0);
      onStep({
        label: nameOf(phase),
        share: total > 0 ? done / total : undefined,
        detail: total > 1 ? `${Math.min(total, Math.floor(done))} of ${total}` : undefined,
      });
      return onProgress?.(progress);
    },
  });
  try {
    const found = samples ? await measured({ ...task, samples }, model, onStep, signal) : notMeasured;
    const written = await model.toFiles({ name: fileNameOf(task.name, settings) });
    return {
      id: newId(),
      number: task.number,
      at: Date.now(),
      settings,
      files: await Promise.all(written.map(async (file) => ({ name: file.name, blob: await file.blob() }))),
      report,
      ...found,
      milliseconds: performance.now() - startedAt,
      samples: samples?.label ?? 'none',
      identity: samples?.identity,
      image: samples?.image,
      synthetic: samples?.synthetic ?? false,
    };
  } finally {
    // The view opens it again from its file, so that memory holds one model at a time.
    await model.dispose();
  }
}

export interface LossPoint {
  step: number;
  loss: number;
  /** On samples kept aside, where it was measured after this step. */
  validation?: number;
}

/** A switch that work waits at. */
export class Pause {
  #go: (() => void) | undefined;
  #over = false;
  /** Fulfilled at once, or when the pause is over. */
  waiting: Promise<void> | undefined;

  get on(): boolean {
    return this.waiting !== undefined;
  }
  toggle(): void {
    if (this.waiting) {
      this.#go?.();
      this.waiting = undefined;
    } else if (!this.#over) {
      this.waiting = new Promise((resolve) => {
        this.#go = resolve;
      });
    }
  }
  end(): void {
    this.#over = true;
    if (this.waiting) this.toggle();
  }
}

/** Points beyond this would not be told apart in the chart. */
const mostPoints = 400;

/** Trains a quantized model until it answers as the original does, and compares. */
export async function trainAndCompare(
  task: Task,
  {
    onStep,
    onTraining,
    onCheckpoint,
    resume,
    pause,
    stop,
    signal,
  }: {
    onStep: (step: Step) => void;
    onTraining: (progress: TrainingProgress, points: readonly LossPoint[]) => void;
    /** After each epoch; training waits for it. */
    onCheckpoint: (saved: Pick<Checkpoint, 'epoch' | 'state' | 'points'>) => Promise<void>;
    resume: Checkpoint | undefined;
    pause: Pause;
    stop: AbortSignal;
    signal: AbortSignal;
  },
): Promise<Run> {
  const { original, samples, settings: given } = task;
  const settings: Settings = { ...given, mode: 'qat', target: undefined, picked: undefined };
  const options = toOptions(settings);
  const nameOf = phaseNames('Reading the first sample', options, true);
  // Before training: the same bits, without a step.
  const untrained = await original.quantize({
    ...options,
    training: { epochs: 0 },
    layerErrors: 0,
    calibration: () => samples.feeds(),
    signal,
    onProgress: ({ phase }) => onStep({ label: nameOf(phase), share: undefined }),
  });
  const judge = async () => ({
    comparison: await compareModels(original, untrained.model, samples, onStep, signal),
    accuracy: await rightAnswers(original, untrained.model, samples, onStep, signal),
  });
  const before = await judge().finally(() => untrained.model.dispose());
  signal.addEventListener('abort', () => pause.end());
  let points = [...(resume?.points ?? [])];
  let state: Uint8Array | undefined;
  let progress: TrainingProgress | undefined;
  const result = await quantizeAndCompare(
    { ...task, settings },
    onStep,
    signal,
    {
      ...options,
      training: {
        ...options.training,
        stop,
        resume: resume?.state,
        ...(!given.training?.blocks && {
          onCheckpoint(bytes) {
            state = bytes;
          },
        }),
      },
    },
    async ({ training: now }) => {
      if (!now) return;
      const validated = now.validationLoss !== progress?.validationLoss;
      progress = now;
      const { step, loss, validationLoss } = now;
      const last = points.at(-1);
      if (validated) {
        points = [...points.filter((p) => p.step !== step), { step, loss, validation: validationLoss }];
      } else if (!last || step - last.step >= Math.max(1, now.steps / mostPoints)) {
        points = [...points, { step, loss }];
      }
      onTraining(now, points);
      if (state) await onCheckpoint({ epoch: now.savedEpoch, state, points });
      state = undefined;
      await pause.waiting;
    },
  );
  if (!progress) throw new Error('training reported no progress');
  return {
    ...result,
    training: {
      before: {
        sqnr: worstSqnr(before),
        top1: worstTop1(before),
        accuracy: before.accuracy?.quantized,
      },
      progress,
      points,
    },
  };
}

/** Runs both models, and says what became of the answers. */
export async function judgeAgain(
  { original, samples, kind }: Task,
  quantized: Model,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Pick<Run, 'judgement' | 'shown'>> {
  return judgeModels(original, quantized, samples, judgeThread(), kind, onStep, signal);
}

/** Of originals, which do not change. */
const accuracies = new WeakMap<SampleSet, number>();

async function rightAnswers(
  original: Model,
  quantized: Model,
  samples: SampleSet,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Accuracy | undefined> {
  const { test } = samples;
  if (!test) return undefined;
  const count = (model: Model) =>
    accuracyOf(model, test, signal, (share) => onStep({ label: 'Counting right answers', share }));
  const before = accuracies.get(samples) ?? (await count(original));
  accuracies.set(samples, before);
  return { original: before, quantized: await count(quantized), of: test.what };
}

/** How long each step of a run takes: of the last of three, when all is planned and compiled. */
export async function stepTimes(model: Model, samples: SampleSet): Promise<StepInfo[]> {
  const session = await model.createSession();
  try {
    for await (const feeds of samples.feeds(1)) {
      for (let run = 0; run < 3; ++run) await session.run(feeds);
    }
    return await session.steps();
  } finally {
    await session.dispose();
  }
}
