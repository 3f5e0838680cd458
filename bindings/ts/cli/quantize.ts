import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Command, type Command as CommandType } from 'commander';
import type { Schema } from '../engine/module.ts';
import type { QuantizeReport } from '../node.ts';
import {
  addCommonOptions,
  addSampleOptions,
  begin,
  bytes,
  type CommonOptions,
  checkOutput,
  decibels,
  inputsOf,
  interrupted,
  json,
  loadModel,
  print,
  type SampleArguments,
  samplesFor,
  sizeChange,
  table,
  terminal,
  WrongCall,
  writeModelFiles,
  writeOutput,
} from './common.ts';
import { labelsFor } from './labels.ts';
import {
  addFileOptions,
  addSchemeOptions,
  fileOptionsFrom,
  type SchemeArguments,
  schemeFrom,
} from './scheme.ts';

interface Options extends CommonOptions, SampleArguments {
  output: string;
  checkpoint?: string;
  calibration?: string;
  labels?: string;
  force?: boolean;
  mode?: string;
  observer?: string;
  repair?: string[];
}

/** `schema`: not there where another command is wanted. */
export function quantizeCommand(schema: Schema | undefined): CommandType {
  const command = new Command('quantize')
    .description('make a smaller, faster model')
    .argument('<model>', 'an ONNX file')
    .requiredOption('-o, --output <file>', 'where the quantized model goes')
    .option('--calibration <path>', 'samples: a folder or file of images, .npy, .npz or .wav')
    .option(
      '--labels <file>',
      'the right classes, for --target drop and to train with: a line NAME,CLASS for each image, or CLASS for each sample; or .npy',
    )
    .option(
      '--checkpoint <file>',
      'qat: the state of training goes there after each epoch; if the file exists, training goes on from it',
    )
    .option('--force', 'overwrite the output if it exists')
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
  $ zeropoint quantize model.onnx -o small.onnx --calibration x.npz --exclude Softmax,conv_1 --json report.json`,
    );
  addSampleOptions(command);
  if (schema) addFileOptions(addSchemeOptions(command, schema), schema);
  return addCommonOptions(command, { jsonFile: true }).action(
    (path: string, options: Options & SchemeArguments) => quantize(schema as Schema, path, options),
  );
}

async function quantize(schema: Schema, path: string, options: Options & SchemeArguments): Promise<void> {
  begin(options);
  await checkOutput(options.output, [path], options.force);
  if (typeof options.json === 'string')
    await checkOutput(options.json, [path, options.output], options.force);
  const model = await loadModel(path);
  await checkOutput(options.output, inputsOf(path, model), options.force);
  if (options.labels !== undefined && options.calibration === undefined)
    throw new WrongCall('--labels are those of --calibration');
  const scheme = schemeFrom(schema, options);
  // With samples, and no word on how, it is worth finding out what suits the model.
  const undecided =
    options.mode === undefined && options.observer === undefined && options.repair === undefined;
  if (undecided && options.calibration !== undefined) scheme.mode = 'auto';
  const quiet = terminal(options.quiet);
  const given =
    options.calibration !== undefined || (await model.needsSamples(scheme))
      ? await samplesFor(model.inputs, options.calibration, options, {
          synthetic: 8,
          warn: quiet.warn,
          cost: 'Ranges of activations found from noise are rarely those of real data: expect less accuracy, and give --calibration before you use the model.',
        })
      : undefined;
  const shown = terminal(options.quiet, given?.count);
  // Ctrl-C ends training with the best so far, and all other work without a result.
  const [cancel, stop] = [new AbortController(), new AbortController()];
  let trains = false;
  interrupted.addEventListener('abort', () => (trains ? stop : cancel).abort());
  const { checkpoint } = options;
  try {
    const { model: small, report } = await model.quantize({
      ...scheme,
      // Noise has means and outliers of its own, which are nothing to repair.
      ...(given?.synthetic && scheme.repairs === undefined ? { repairs: [] } : {}),
      training: {
        ...scheme.training,
        stop: stop.signal,
        ...(checkpoint !== undefined && {
          resume: await readFile(checkpoint).catch((error: NodeJS.ErrnoException) => {
            if (error.code === 'ENOENT') return undefined;
            throw error;
          }),
          onCheckpoint: (bytes) => writeOutput(checkpoint, bytes),
        }),
      },
      calibration: given?.samples,
      labels:
        options.labels === undefined
          ? undefined
          : await labelsFor(options.labels, options.calibration as string, model.inputs),
      ...fileOptionsFrom(schema, options),
      onProgress: (progress) => {
        trains = progress.phase === 'train' && (progress.training?.step ?? 0) > 0;
        shown.progress(progress);
      },
      signal: cancel.signal,
    });
    shown.end();
    // That nothing was done comes first.
    const first = report.warnings.filter((warning) => warning.startsWith('nothing '));
    for (const warning of new Set([...first, ...report.warnings])) shown.warn(warning);
    const files = await small.toFiles({ name: basename(options.output) });
    await writeModelFiles(options.output, files, inputsOf(path, model), options.force);
    const named = { ...report, files: files.map(({ name, size }) => ({ name, size })) };
    const result = { output: options.output, synthetic: given?.synthetic ?? false, ...named };
    if (typeof options.json === 'string') await writeOutput(options.json, json(result));
    if (options.json === true) process.stdout.write(json(result));
    else printReport(options.output, named);
  } finally {
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
      ['written', `${output}, opset ${report.opset}`],
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
