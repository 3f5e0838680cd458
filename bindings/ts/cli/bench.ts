import { Command } from 'commander';
import { engineInfo, type Feeds, type Model, type StepInfo } from '../node.ts';
import {
  addCommonOptions,
  begin,
  bytes,
  type CommonOptions,
  interrupted,
  json,
  milliseconds,
  parse,
  print,
  speedChange,
  table,
} from './common.ts';
import { loadModel } from './paths.ts';
import { addProgressOption, terminal } from './progress.ts';
import { addSampleOptions, checkSampleOptions, type SampleArguments, samplesFor } from './samples.ts';

interface Options extends CommonOptions, SampleArguments {
  inputs?: string;
  runs: number;
  warmup: number;
  steps?: boolean;
}

export function benchCommand(): Command {
  const command = new Command('bench')
    .description('measure how long a model takes, or a model and its quantized form')
    .argument('<model>', 'an ONNX file; - is standard input')
    .argument('[other]', 'another model, run in turns with the first')
    .optionsGroup('Measuring:')
    .option('--inputs <path>', 'samples; without them synthetic samples, which take as long')
    .option('--runs <n>', 'measured runs of each model', parse.positiveInteger, 20)
    .option(
      '--warmup <n>',
      'runs before measuring: the engine gets faster during its first runs',
      parse.positiveInteger,
      5,
    )
    .option('--steps', 'also the time of each step, with its node, operator and kernel')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint bench model.onnx
  $ zeropoint bench model.onnx --steps
  $ zeropoint bench model.onnx small.onnx --threads 4 --dims H=640,W=640 --json`,
    );
  addSampleOptions(command);
  return addProgressOption(addCommonOptions(command)).action(run);
}

const slowestShown = 20;

function medianOf(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

/** The steps of runs of one plan; samples of other shapes have plans of their own, and only the last one's runs count. */
function mediansOfSteps(runs: readonly StepInfo[][]): StepInfo[] {
  const last = runs.at(-1) ?? [];
  const same = runs.filter((steps) => steps.length === last.length);
  return last.map((step, i) => ({
    ...step,
    milliseconds: medianOf(same.map((steps) => steps[i]?.milliseconds ?? 0)),
  }));
}

async function run(first: string, second: string | undefined, options: Options): Promise<void> {
  begin(options);
  checkSampleOptions(options, options.inputs, '--inputs');
  const paths = second === undefined ? [first] : [first, second];
  const models: Model[] = [];
  for (const path of paths) models.push(await loadModel(path));
  const [model] = models;
  if (!model) return;
  const shown = terminal(options, options.runs + options.warmup);
  const { samples } = await samplesFor(
    model.inputs,
    options.inputs,
    { ...options, samples: options.samples ?? 1 },
    {
      synthetic: 1,
      // How long a run takes does not depend on the values.
      warn: () => {},
      cost: '',
    },
  );
  const feeds: Feeds[] = [];
  for await (const sample of samples()) feeds.push(sample);

  const sessions = await Promise.all(models.map((m) => m.createSession({ threads: options.threads })));
  const times: number[][] = sessions.map(() => []);
  const steps: StepInfo[][][] = sessions.map(() => []); // of each run
  try {
    for (let i = 0; i < options.warmup + options.runs; ++i) {
      for (const [index, session] of sessions.entries()) {
        await session.run(feeds[i % feeds.length] as Feeds, { signal: interrupted });
        if (i < options.warmup) continue;
        times[index]?.push(session.lastRunMs);
        if (options.steps) steps[index]?.push(await session.steps());
      }
      shown.progress({
        phase: i < options.warmup ? 'warm up' : 'measure',
        done: i + 1,
        total: options.warmup + options.runs,
      });
    }
  } finally {
    shown.end();
  }
  const info = await engineInfo();
  const results = paths.map((path, index) => {
    const own = times[index] ?? [];
    return {
      model: path,
      size: models[index]?.size ?? 0,
      median: medianOf(own),
      min: Math.min(...own),
      runs: own.length,
      steps: options.steps ? mediansOfSteps(steps[index] ?? []) : undefined,
    };
  });
  const threads = Math.min(options.threads ?? info.threads, info.maxThreads);
  if (options.json) {
    process.stdout.write(json({ build: info.build, threads, relaxedDot: info.relaxedDot, results }));
    return;
  }
  print(
    table([
      ['model', 'size', 'median', 'fastest'],
      ...results.map(({ model: path, size, median, min }) => [
        path,
        bytes(size),
        milliseconds(median),
        milliseconds(min),
      ]),
    ]),
  );
  for (const { model: path, steps: own } of results) {
    if (!own) continue;
    const total = own.reduce((sum, step) => sum + step.milliseconds, 0);
    print(`\nslowest steps of ${path}`);
    print(
      table([
        ['node', 'operator', 'kernel', 'median', 'share'],
        ...own
          .toSorted((x, y) => y.milliseconds - x.milliseconds)
          .slice(0, slowestShown)
          .map(({ node, op, kernel, milliseconds: ms }) => [
            node,
            op,
            kernel,
            `${ms.toFixed(3)} ms`,
            `${((100 * ms) / total).toFixed(1)} %`,
          ]),
      ]),
    );
  }
  const [a, b] = results;
  if (a && b) print(speedChange(a.median, b.median));
  print(`build ${info.build}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${options.runs} runs`);
}
