import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Command, type Command as CommandType } from 'commander';
import type { Schema } from '../engine/module.ts';
import type { FileOptions, Model, QuantizeEstimate, QuantizeReport, Recipe, SchemeOptions } from '../node.ts';
import { recipeText } from '../recipe.ts';
import { dimsOf } from '../samples/synthetic.ts';
import { byItself } from '../schema.ts';
import {
  addCommonOptions,
  begin,
  bytes,
  type CommonOptions,
  decibels,
  duration,
  exitCodes,
  groups,
  interrupted,
  isStream,
  json,
  print,
  roughDuration,
  sizeChange,
  table,
  WrongCall,
} from './common.ts';
import { doJobs, type Job, jobsOf } from './jobs.ts';
import { labelsFor } from './labels.ts';
import {
  checkOutput,
  digestOf,
  inputsOf,
  loadModel,
  modelsAt,
  modelsWords,
  scratchFor,
  writeModelFiles,
  writeOutput,
} from './paths.ts';
import { addProgressOption, terminal } from './progress.ts';
import { mergedWith, readConfig, recipeFor, sampleArguments } from './recipe.ts';
import {
  addSampleOptions,
  checkSampleOptions,
  filesAt,
  flagNamed,
  isImageName,
  type SampleArguments,
  samplesFor,
} from './samples.ts';
import {
  addFileOptions,
  addSchemeOptions,
  fileOptionsFrom,
  refuseIgnored,
  type SchemeArguments,
  schemeFrom,
  trainingModes,
} from './scheme.ts';

interface Options extends CommonOptions, SampleArguments {
  output: string;
  estimate?: boolean;
  checkpoint?: string;
  calibration?: string;
  labels?: string;
  config?: string;
  saveRecipe?: string;
  report?: string;
  force?: boolean;
}

/** `schema`: not there where another command is wanted. */
export function quantizeCommand(schema: Schema | undefined): CommandType {
  const command = new Command('quantize')
    .description('make smaller, faster models')
    .argument('<models...>', modelsWords)
    .optionsGroup(groups.files)
    .option(
      '-o, --output <path>',
      'where the quantized model goes: a file, a folder (with a / at its end, or one that is there), or - for standard output',
    )
    .option('--estimate', 'print the memory and time that it would take, and do nothing: needs no -o')
    .option('--calibration <path>', 'samples: a folder or file of images, .npy, .npz or .wav')
    .option(
      '--labels <file>',
      'the right classes, for --target drop and for training: a line NAME,CLASS for each image, or CLASS for each sample; or .npy',
    )
    .option(
      '--config <file>',
      'a recipe of --save-recipe or of the page: flags given here replace its entries; - is standard input',
    )
    .option('--save-recipe <path>', 'write a recipe that makes the same file from the same model and samples')
    .option(
      '--report <path>',
      'write the report of the page, in one HTML file: your samples with the answers of both models, figures, layers',
    )
    .option(
      '--checkpoint <file>',
      'qat: the state of training is saved there after each epoch; if the file exists, training resumes from it',
    )
    .option('--force', 'overwrite outputs that exist')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint quantize model.onnx -o small.onnx --calibration samples/ --preset imagenet
  $ zeropoint quantize model.onnx -o small.onnx --calibration images/ --labels classes.csv --target drop=0.005
  $ zeropoint quantize model.onnx -o small.onnx --mode static --calibration samples/ --preset imagenet
  $ zeropoint quantize model.onnx -o small.onnx --calibration x.npz --repair adaround,bias-correction
  $ zeropoint quantize model.onnx -o small.onnx --mode dynamic
  $ zeropoint quantize model.onnx -o small.onnx --mode weight-only --weights int4
  $ zeropoint quantize model.onnx -o model_q4.onnx --mode weight-only --weights int4 --external-data
  $ zeropoint quantize model.onnx -o small.onnx --calibration x.npz --runtime tensorrt
  $ zeropoint quantize model.onnx -o small.onnx --mode static --format qoperator --calibration x.npz
  $ zeropoint quantize model.onnx -o small.onnx --mode weight-only --weights int2 --block-size 16 --calibration x.npz
  $ zeropoint quantize model.onnx -o small.onnx --calibration samples/ --preset imagenet --mode qat --weights int4 --epochs 5
  $ zeropoint quantize model.onnx -o small.onnx --calibration x.npz --exclude Softmax,conv_1 --json report.json
Many models, and the standard streams:
  $ zeropoint quantize models/ "more/*.onnx" -o small/ --mode dynamic
  $ curl -s https://example.org/model.onnx | zeropoint quantize - -o - --mode dynamic > small.onnx
What it would take of memory and time:
  $ zeropoint quantize model.onnx --estimate --calibration samples/ --preset imagenet
Again, and what became of the answers:
  $ zeropoint quantize model.onnx -o small.onnx --calibration samples/ --preset imagenet --save-recipe recipe.json
  $ zeropoint quantize model.onnx -o again.onnx --calibration samples/ --config recipe.json
  $ zeropoint quantize model.onnx -o small.onnx --calibration samples/ --preset imagenet --report report.html

Exit codes: ${exitCodes.done} all models were quantized, ${exitCodes.failed} one of them was not, ${exitCodes.wrongCall} the call was wrong.`,
    );
  addSampleOptions(command);
  if (schema) addFileOptions(addSchemeOptions(command, schema), schema);
  return addProgressOption(addCommonOptions(command, { jsonFile: true })).action(
    (words: string[], options: Options & SchemeArguments) =>
      quantize(schema as Schema, words, options, command),
  );
}

/** All of a call that is the same for each model. */
interface Task {
  schema: Schema;
  options: Options;
  samples: SampleArguments;
  recipe: Recipe | undefined;
  scheme: SchemeOptions;
  file: FileOptions;
  mode: string;
}

async function taskOf(
  schema: Schema,
  options: Options & SchemeArguments,
  command: CommandType,
): Promise<Task> {
  const { calibration } = options;
  checkSampleOptions(options, calibration, '--calibration');
  if (options.labels !== undefined && calibration === undefined)
    throw new WrongCall('--labels are the classes of the samples of --calibration, which is missing');
  const recipe = options.config === undefined ? undefined : await readConfig(options.config, schema);
  const { training, ...scheme } = schemeFrom(schema, options);
  const file = fileOptionsFrom(schema, options);
  const isOfFile = ([name]: [string, unknown]) => name in file;
  const told = Object.entries(recipe?.options ?? {});
  const chosen: SchemeOptions = mergedWith(
    Object.fromEntries(told.filter((entry) => !isOfFile(entry))),
    scheme,
  );
  // With samples, and no word on how, it is worth finding out what suits the model.
  const undecided =
    chosen.mode === undefined && chosen.observer === undefined && chosen.repairs === undefined;
  if (undecided && calibration !== undefined) chosen.mode = 'auto';
  const mode = chosen.mode ?? byItself(schema, 'mode');
  refuseIgnored(schema, command, mode);
  const trains = trainingModes(schema).includes(mode);
  // --seed is of made-up samples too: where nothing is trained, the file is told nothing of training.
  if (trains) chosen.training = mergedWith(chosen.training, training ?? {});
  const isSearch =
    mode === 'auto' || typeof chosen.target === 'object' || chosen.sensitivity === true || trains;
  if (options.labels !== undefined && !isSearch)
    throw new WrongCall(
      `--labels do nothing in mode ${mode} without a search: they are for --mode auto, --target, --sensitivity and training`,
    );
  if (options.checkpoint !== undefined && !trains)
    throw new WrongCall(
      `--checkpoint does nothing in mode ${mode}: it is for ${trainingModes(schema).join(', ')}`,
    );
  if (options.seed !== undefined && calibration !== undefined && !trains)
    throw new WrongCall(
      `--seed is for made-up samples and training: in mode ${mode} with samples it does nothing`,
    );
  return {
    schema,
    options,
    samples: sampleArguments(options, recipe),
    recipe,
    scheme: chosen,
    file: mergedWith(Object.fromEntries(told.filter(isOfFile)), file),
    mode,
  };
}

async function quantize(
  schema: Schema,
  words: readonly string[],
  options: Options & SchemeArguments,
  command: CommandType,
): Promise<void> {
  begin(options);
  if (options.output === undefined && !options.estimate)
    throw new WrongCall('-o, --output <path> is missing: it says where the quantized model goes');
  const task = await taskOf(schema, options, command);
  if (options.estimate) return estimateAll(task, words);
  const jobs = await jobsOf(words, options, {
    recipe: { flag: '--save-recipe', path: options.saveRecipe, ending: '.recipe.json' },
    report: { flag: '--report', path: options.report, ending: '.report.html' },
  });
  if (options.checkpoint !== undefined && jobs.length > 1)
    throw new WrongCall(`--checkpoint is the state of one model, and there are ${jobs.length} models`);
  await doJobs(jobs, options, 'quantized', (job) => quantizeOne(task, job));
}

/** The samples to compare on: those of calibration, or made-up ones. */
async function reportSamples(model: Model, calibration: string | undefined, samples: SampleArguments) {
  const given = await samplesFor(model.inputs, calibration, samples, {
    synthetic: 8,
    warn: () => {}, // the report says it
    cost: '',
  });
  const names: string[] = [];
  if (calibration !== undefined)
    for await (const { name } of filesAt(calibration, model.inputs)) names.push(name);
  return {
    ...given,
    names: names.length > 0 && names.every(isImageName) ? names.map((n) => basename(n)) : undefined,
  };
}

type Given = Awaited<ReturnType<typeof samplesFor>> | undefined;

/** Samples to quantize from, where the settings or the call ask for some. */
async function samplesOf(
  { scheme, samples, options }: Task,
  model: Model,
  warn: (text: string) => void,
): Promise<Given> {
  const { calibration } = options;
  if (calibration === undefined && !(await model.needsSamples(scheme))) return undefined;
  return await samplesFor(model.inputs, calibration, samples, {
    synthetic: 8,
    warn,
    cost: 'Ranges of activations from noise rarely fit real data: expect less accuracy, and give --calibration before you use the model.',
  });
}

/** The settings of one model. */
const schemeOf = ({ scheme, recipe }: Task, given: Given): SchemeOptions => ({
  ...scheme,
  // Noise has means and outliers of its own, which are nothing to repair.
  ...(given?.synthetic && !recipe && scheme.repairs === undefined ? { repairs: [] } : {}),
});

/** The estimate of a quantization. The first sample stands for the sizes of all. */
async function estimateOf(task: Task, model: Model, given: Given): Promise<QuantizeEstimate> {
  const { dims, shape } = task.samples;
  let shapes: Record<string, readonly number[]> | undefined = shape;
  if (given && !given.synthetic)
    for await (const feeds of given.samples()) {
      shapes = Object.fromEntries(
        model.inputs.flatMap(({ name }) => {
          const sizes = (feeds[name] as { dims?: readonly number[] } | undefined)?.dims;
          return sizes ? [[name, [...sizes]]] : [];
        }),
      );
      break;
    }
  return model.estimate({ ...schemeOf(task, given), samples: given?.count ?? 0, dims, shapes });
}

async function estimateAll(task: Task, words: readonly string[]): Promise<void> {
  const { options } = task;
  const models = await modelsAt(words, '-');
  const found: object[] = [];
  for (const { path } of models) {
    const model = await loadModel(path);
    try {
      const given = await samplesOf(task, model, terminal(options).warn);
      const estimate = await estimateOf(task, model, given);
      found.push({ ...(models.length > 1 && { model: path }), ...estimate });
      if (options.json !== undefined) continue;
      if (models.length > 1) print(path);
      printEstimate(estimate);
    } finally {
      await model.dispose();
    }
  }
  const result = models.length > 1 ? { models: found } : found[0];
  if (typeof options.json === 'string') await writeOutput(options.json, json(result));
  if (options.json === true) process.stdout.write(json(result));
}

function printEstimate(estimate: QuantizeEstimate): void {
  const { peakBytes, limitBytes, seconds, sizeAfter, phases, fits, complete, instead } = estimate;
  print(
    table([
      ['memory', `about ${bytes(peakBytes)} of ${bytes(limitBytes)}${fits ? '' : ': it does not fit'}`],
      ['time', roughDuration(seconds)],
      ['size', `about ${bytes(sizeAfter)}`],
      ...phases.map((phase) => [`  ${phase.name}`, `${bytes(phase.bytes)}, ${duration(phase.seconds)}`]),
    ]),
  );
  if (!complete) print('the model computes the sizes of some values: it may take more');
  if (instead)
    print(
      `this would fit, with about ${bytes(instead.peakBytes)}: ${Object.entries(instead.options)
        .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(',') || 'none' : String(value)}`)
        .join(', ')}`,
    );
}

/** Work that is said to be long before it begins: seconds, and bytes of memory. */
const [longSeconds, longBytes] = [30, 1e9];
/** Bytes of a model, times its samples, below which nothing is long. */
const worthAnEstimate = 2 ** 28;

async function sayWhatIsLong(
  task: Task,
  model: Model,
  given: Given,
  say: (text: string) => void,
): Promise<void> {
  if (model.size * (given?.count ?? 1) < worthAnEstimate) return;
  const { seconds, peakBytes } = await estimateOf(task, model, given);
  if (seconds >= longSeconds || peakBytes >= longBytes)
    say(`this takes ${roughDuration(seconds)} and ${bytes(peakBytes)} of memory`);
}

async function quantizeOne(task: Task, job: Job<'recipe' | 'report'>): Promise<Record<string, unknown>> {
  const model = await loadModel(job.source.path, { scratch: scratchFor(job.output) });
  try {
    return await quantizeLoaded(task, job, model);
  } finally {
    await model.dispose();
  }
}

async function quantizeLoaded(
  task: Task,
  job: Job<'recipe' | 'report'>,
  model: Model,
): Promise<Record<string, unknown>> {
  const { schema, options, recipe, file, samples: sampleArgs, mode } = task;
  const { calibration, labels, checkpoint } = options;
  const { path } = job.source;
  const inputs = inputsOf(path, model);
  await checkOutput(job.output, inputs, options.force, true);
  // Mistakes are reported before the work.
  if (calibration === undefined) dimsOf(model.inputs, sampleArgs.dims, sampleArgs.shape);
  const digest =
    recipe || job.also.recipe !== undefined || job.also.report !== undefined
      ? await digestOf(path)
      : undefined;
  const early = terminal(options, 0, job.of);
  if (recipe?.model.sha256 !== undefined && digest !== recipe.model.sha256 && job.of === undefined)
    early.warn(`the recipe was made with another file (${recipe.model.name}): the result is not the same`);
  const given = await samplesOf(task, model, early.warn);
  if (!given && job.also.report === undefined) {
    const ignored = (['samples', 'dims', 'shape', 'seed'] as const).find(
      (name) => options[name] !== undefined,
    );
    if (ignored)
      throw new WrongCall(`${flagNamed(ignored)} does nothing in mode ${mode}, which reads no samples`);
  }
  const scheme = schemeOf(task, given);
  const shown = terminal(options, given?.count, job.of);
  // Ctrl-C ends training with the best so far, and all other work without a result.
  const [cancel, stop] = [new AbortController(), new AbortController()];
  let trains = false;
  const end = () => (trains ? stop : cancel).abort();
  if (interrupted.aborted) end();
  interrupted.addEventListener('abort', end);
  try {
    if (!options.quiet) await sayWhatIsLong(task, model, given, shown.note);
    if (model.left > 0 && !options.quiet)
      shown.note(
        `a call that was stopped left ${model.left} tensors: those that these settings need are not made again`,
      );
    const { model: small, report } = await model.quantize({
      ...scheme,
      ...file,
      training: {
        ...scheme.training,
        stop: stop.signal,
        ...(checkpoint !== undefined && {
          resume: await readFile(checkpoint).catch((error: NodeJS.ErrnoException) => {
            if (error.code === 'ENOENT') return undefined;
            throw error;
          }),
          onCheckpoint: (state) => writeOutput(checkpoint, state),
        }),
      },
      calibration: given?.samples,
      labels: labels === undefined ? undefined : await labelsFor(labels, calibration as string, model.inputs),
      onProgress: (progress) => {
        trains = progress.phase === 'train' && (progress.training?.step ?? 0) > 0;
        shown.progress(progress);
      },
      signal: cancel.signal,
    });
    try {
      shown.end();
      // That nothing was done comes first.
      const first = report.warnings.filter((warning) => warning.startsWith('nothing '));
      for (const warning of new Set([...first, ...report.warnings])) shown.warn(warning);
      const files = await small.toFiles({
        name: isStream(job.output) ? 'model.onnx' : basename(job.output),
      });
      await writeModelFiles(job.output, files, inputs, options.force);
      const named = { ...report, files: files.map(({ name, size }) => ({ name, size })) };
      const made = recipeFor({
        path,
        digest,
        report,
        calibration,
        samples: sampleArgs,
        given,
        options: { ...scheme, ...file },
      });
      if (job.also.recipe !== undefined) await writeOutput(job.also.recipe, recipeText(made));
      if (job.also.report !== undefined) {
        const { writeReport } = await import('zeropoint-report');
        const own = await reportSamples(model, calibration, sampleArgs);
        const text = await writeReport({
          ...own,
          original: model,
          quantized: small,
          report,
          image: made.samples.image ?? {},
          how: schema.modes.find(({ name }) => name === report.mode)?.title ?? report.mode,
          words: ['npx', 'zeropoint', ...process.argv.slice(2)],
          recipe: made,
          signal: interrupted,
          onProgress: shown.progress,
        });
        shown.end();
        await writeOutput(job.also.report, text);
      }
      if (options.json !== true) printReport(job.output, named);
      return { output: job.output, synthetic: given?.synthetic ?? false, ...named };
    } finally {
      await small.dispose();
    }
  } finally {
    interrupted.removeEventListener('abort', end);
    shown.end();
  }
}

function printReport(output: string, report: QuantizeReport): void {
  const share =
    report.macs > 0 ? `, ${((100 * report.macsQuantized) / report.macs).toFixed(1)} % of the operations` : '';
  const { sizeBefore, sizeAfter, layersQuantized } = report;
  const layers = `${layersQuantized} of ${report.layers.length} layers`;
  if (layersQuantized === 0) print(`nothing was quantized: ${layers}`);
  print(
    table([
      ['written', `${isStream(output) ? 'to standard output' : output}, opset ${report.opset}`],
      ...report.files
        .slice(1)
        .map(({ name, size }) => ['weights', `${join(dirname(output), name)}, ${bytes(size)}`]),
      ['size', `${bytes(sizeBefore)} → ${bytes(sizeAfter)} (${sizeChange(sizeBefore, sizeAfter)})`],
      ['quantized', `${layers}${share}`],
      ['samples', report.samples > 0 ? `${report.samples}` : '-'],
    ]),
  );
  for (const sentence of report.repairs) print(sentence);
  if (report.trials.length > 0) {
    const labelled = report.trials.some(({ accuracy }) => !Number.isNaN(accuracy));
    const answers = labelled ? 'right answers' : 'answers that are the float model’s';
    print(`\ntried, on samples held out (signal to noise of the outputs; ${answers}; * kept):`);
    const share = (value: number) => (Number.isNaN(value) ? '-' : `${(100 * value).toFixed(1)} %`);
    print(
      table(
        report.trials.map(({ what, sqnr, drop, accuracy, weightBytes, kept }) => [
          kept ? '  *' : '   ',
          what,
          decibels(sqnr),
          share(labelled ? accuracy : 1 - drop),
          bytes(weightBytes),
        ]),
      ),
    );
  }
  const sensitive = report.layers
    .flatMap(({ op, node, sensitivity }) => (sensitivity ? [{ op, node, ...sensitivity }] : []))
    .sort((a, b) => a.sqnr - b.sqnr)
    .slice(0, 5);
  if (sensitive.length > 0) {
    print('\nlayers that harm the outputs most when they alone are quantized:');
    print(table(sensitive.map(({ op, node, sqnr }) => [`  ${op}`, node, decibels(sqnr)])));
  }
  if (report.findings.length > 0) {
    print('\nwhat stands out:');
    for (const { op, node, text } of report.findings.slice(0, 5)) print(`  ${op} ${node}: ${text}`);
    const more = report.findings.length - 5;
    if (more > 0) print(`  and ${more} more: --json lists them`);
  }
  const measured = report.layers.flatMap(({ error }) => (error?.quantized ? [error] : []));
  if (measured.length === 0) return;
  const worst = measured.sort((a, b) => a.sqnr - b.sqnr).slice(0, 5);
  print('\nlayers with the largest errors (signal to noise, accumulated; of the layer alone):');
  print(
    table(worst.map(({ op, node, sqnr, ownSqnr }) => [`  ${op}`, node, decibels(sqnr), decibels(ownSqnr)])),
  );
}
