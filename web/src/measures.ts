// What two models are compared by, on the page and for the command line's report.
import { type Comparison, compare, type Feeds, type Model } from 'zeropoint';
import { type Example, exampleOf, type Judgement, type Names } from './answers/index.ts';
import type { SampleSet } from './samples/sample-set.ts';
import type { Latency, Run, Shown, Step } from './work.ts';

/** Samples beyond this add time, and little knowledge. */
const compareLimit = 16;

export function compareModels(
  original: Model,
  quantized: Model,
  samples: SampleSet,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Comparison> {
  const limit = Math.min(samples.count ?? compareLimit, compareLimit);
  return compare(original, quantized, samples.feeds(limit), {
    signal,
    onProgress: ({ done }) =>
      onStep({
        label: 'Comparing outputs',
        share: done / limit,
        detail: `${Math.floor(done)} of ${limit}`,
      }),
  });
}

/** Samples whose answers are read: fewer of large models. */
const [mostAnswers, mostAnswersOfLarge, large] = [64, 16, 2e9];

/** Reads answers and compares them, here or in a worker. */
export interface AnswerJudge {
  begin(names: Names, kind: string | undefined): unknown;
  add(float: Example, quantized: Example): unknown;
  end(): Promise<Judgement | undefined> | Judgement | undefined;
}

/** Runs both models, and says what became of the answers. `kind`: what the user says that they are. */
export async function judgeModels(
  original: Model,
  quantized: Model,
  samples: SampleSet,
  judge: AnswerJudge,
  kind: string | undefined,
  onStep: (step: Step) => void,
  signal: AbortSignal,
): Promise<Pick<Run, 'judgement' | 'shown'>> {
  const { macs } = await original.inspect({ mode: 'weight-only' });
  const limit = Math.min(samples.count ?? mostAnswers, macs > large ? mostAnswersOfLarge : mostAnswers);
  const sessions = [await original.createSession(), await quantized.createSession()] as const;
  try {
    await judge.begin((await samples.names?.()) ?? {}, kind);
    const shown: Shown[] = [];
    for await (const feeds of samples.feeds(limit)) {
      const [input] = Object.values(feeds);
      const dims = input && typeof input === 'object' && 'dims' in input ? [...input.dims] : [];
      const [float, other] = [
        exampleOf(await sessions[0].run(feeds, { signal }), dims),
        exampleOf(await sessions[1].run(feeds, { signal }), dims),
      ];
      await judge.add(float, other);
      const index = shown.length;
      shown.push({ name: samples.nameOf(index), picture: await samples.picture?.(index) });
      onStep({
        label: 'Comparing answers',
        share: shown.length / limit,
        detail: `${shown.length} of ${limit}`,
      });
    }
    return { judgement: await judge.end(), shown };
  } finally {
    for (const session of sessions) await session.dispose();
  }
}

const median = (values: number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
};

/** Medians of runs that take turns, after a warm-up in which the browser compiles the kernels well. */
export async function measure(
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
