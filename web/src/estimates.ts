// What each goal would probably bring for this model: its size, speed and the time that it takes, from what is known so far.
import { bytes, seconds, times } from './format.ts';
import { type Goal, goalOf, goals, type Settings } from './settings.ts';
import type { Run } from './work.ts';

/** What the engine would make of a model. */
export interface GoalPlan {
  weightBytesBefore: number;
  weightBytesAfter: number;
  layersQuantized: number;
  /** The part of its work that integers would do, 0...1. */
  integerShare: number;
}

export interface Known {
  /** Bytes of the model. */
  size: number;
  plans: Readonly<Record<string, GoalPlan | undefined>>;
  /** Milliseconds of a run of the original on a sample, here; undefined: not measured. */
  runTime: number | undefined;
  /** How many samples there are; undefined: none. */
  samples: number | undefined;
  runs: readonly Pick<Run, 'number' | 'settings' | 'report' | 'latency' | 'milliseconds'>[];
}

/** How much faster integer kernels are in the middle of many models: int8ModelsVsOwnFloat in docs/PERFORMANCE.md. */
const integerSpeed = 1.7;
/** How often samples are run, about, before both models are compared; and milliseconds that are spent in any case. */
const passes: Readonly<Record<string, number>> = { auto: 25, static: 5 };
const [comparedOutputs, comparedAnswers, always] = [16, 64, 4000];

/** What the nodes and scales of a quantized layer take in a file, about. */
const [layerBytes, weightLayerBytes] = [700, 250];

const usesIntegers = ({ mode }: Partial<Settings>) => mode === 'static' || mode === 'auto';

function expectedTime({ settings }: Goal, { runTime, samples }: Known): number | undefined {
  if (runTime === undefined || samples === undefined) return undefined;
  const quantizing = (passes[settings.mode ?? ''] ?? 0) * samples;
  const comparing = 2 * (Math.min(samples, comparedOutputs) + Math.min(samples, comparedAnswers));
  return runTime * (quantizing + comparing) + always;
}

/** Rounded as a guess is. */
function roughly(milliseconds: number): string {
  const minutes = milliseconds / 60_000;
  if (minutes < 0.9) return minutes < 0.4 ? 'about half a minute or less' : 'about a minute';
  return minutes < 90 ? `about ${counted(Math.round(minutes))}` : `about ${Math.round(minutes / 60)} hours`;
}
const counted = (minutes: number) => `${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;

const speedWords = (ratio: number) =>
  Math.abs(ratio - 1) < 0.05
    ? 'as fast as the original'
    : ratio > 1
      ? `${times(ratio)} as fast`
      : `${times(1 / ratio)} slower`;

function wordsOf(goal: Goal, known: Known): string[] {
  const done = known.runs.filter(({ settings }) => goalOf(settings) === goal.id).at(-1);
  if (done) {
    const { report, latency, milliseconds, number } = done;
    return [
      `run ${number}: ${bytes(report.sizeAfter)}`,
      ...(latency.runs > 0 ? [speedWords(latency.original / latency.quantized)] : []),
      ...(milliseconds === undefined ? [] : [`took ${seconds(milliseconds / 1000)}`]),
    ];
  }
  const plan = known.plans[goal.id];
  const time = expectedTime(goal, known);
  if (!plan) return [];
  const added =
    plan.layersQuantized *
    (usesIntegers(goal.settings) ? layerBytes : goal.settings.mode === 'weight-only' ? weightLayerBytes : 0);
  const size = known.size - plan.weightBytesBefore + plan.weightBytesAfter + added;
  const share = usesIntegers(goal.settings) ? plan.integerShare : 0;
  const ratio = 1 / (1 - share + share / integerSpeed);
  return [
    `estimate: ${bytes(size)} of ${bytes(known.size)}`,
    `here perhaps ${speedWords(ratio)}`,
    ...(time === undefined ? [] : [`takes ${roughly(time)}`]),
  ];
}

/** Of each goal, by its id: a few words each. What was measured in a run takes the place of what is guessed. */
export const estimatesOf = (known: Known): Record<string, readonly string[]> =>
  Object.fromEntries(goals.map((goal) => [goal.id, wordsOf(goal, known)]));
