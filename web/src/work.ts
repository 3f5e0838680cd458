// The long calls: quantize, compare, measure. Each reports progress and stops when its signal fires.
import { type Comparison, compare, type Feeds, type Model, type QuantizeReport } from 'zeropoint';
import type { SampleSet } from './sample-set.ts';
import { type Settings, toOptions } from './settings.ts';

export interface Step {
  /** What is being done, in words. */
  label: string;
  /** 0...1, or undefined while it is not known. */
  share: number | undefined;
}

export interface Latency {
  original: number;
  quantized: number;
  runs: number;
}

export interface Result {
  id: number;
  settings: Settings;
  model: Model;
  report: QuantizeReport;
  comparison: Comparison;
  latency: Latency;
  samples: string;
  synthetic: boolean;
}

const labels: Record<string, string> = {
  prepare: 'Simplifying the model',
  decide: 'Choosing what to quantize',
  calibrate: 'Calibrating: running your samples',
  place: 'Placing scales',
  collect: 'Reading your samples',
  search: 'Trying ways to win accuracy back',
  sensitivity: 'Quantizing each layer alone, to see what it harms',
  'mixed precision': 'Finding the layers to leave in float',
  equalization: 'Equalizing channels',
  smooth: 'Moving outliers into weights',
  hqq: 'Fitting scales to weights',
  gptq: 'Rounding weights',
  adaround: 'Learning how to round',
  'bias-correction': 'Correcting biases',
  report: 'Writing the report',
  measure: 'Measuring each layer',
  compare: 'Comparing outputs',
};

/** Samples beyond this add time, and little knowledge. */
const compareLimit = 16;

let made = 0;

export async function quantizeAndCompare(
  original: Model,
  samples: SampleSet,
  settings: Settings,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Result> {
  onStep({ label: 'Starting', share: undefined });
  const { model, report } = await original.quantize({
    ...toOptions(settings),
    calibration: samples.feeds(),
    signal,
    onProgress: ({ phase, done, total }) =>
      onStep({
        label: labels[phase] ?? phase,
        share:
          total > 0
            ? done / total
            : samples.count && phase === 'calibrate'
              ? done / samples.count
              : undefined,
      }),
  });
  try {
    const limit = Math.min(samples.count ?? compareLimit, compareLimit);
    const comparison = await compare(original, model, samples.feeds(limit), {
      signal,
      onProgress: ({ done }) => onStep({ label: 'Comparing outputs', share: done / limit }),
    });
    const latency = await measure(original, model, samples, onStep, signal);
    made += 1;
    return {
      id: made,
      settings,
      model,
      report,
      comparison,
      latency,
      samples: samples.label,
      synthetic: samples.synthetic,
    };
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
};

/** Medians of runs that take turns, after a warm-up in which the browser compiles the kernels well. */
async function measure(
  original: Model,
  quantized: Model,
  samples: SampleSet,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Latency> {
  const sessions = [await original.createSession(), await quantized.createSession()] as const;
  try {
    let feeds: Feeds | undefined;
    for await (const sample of samples.feeds(1)) feeds = sample;
    if (!feeds) return { original: 0, quantized: 0, runs: 0 };
    const warmUp = 3;
    const budget = 2500; // milliseconds
    const most = 40;
    const spent: [number[], number[]] = [[], []];
    const start = performance.now();
    for (let round = 0; round < most + warmUp; ++round) {
      for (const [i, session] of sessions.entries()) {
        await session.run(feeds, { signal });
        if (round >= warmUp) spent[i as 0 | 1].push(session.lastRunMs);
      }
      const elapsed = performance.now() - start;
      onStep({
        label: 'Timing both models',
        share: Math.min(1, Math.max(elapsed / budget, round / (most + warmUp))),
      });
      if (elapsed > budget && round >= warmUp + 2) break;
    }
    return { original: median(spent[0]), quantized: median(spent[1]), runs: spent[0].length };
  } finally {
    for (const session of sessions) await session.dispose();
  }
}
