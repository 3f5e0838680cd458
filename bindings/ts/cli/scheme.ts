// The options that say what is quantized, and how: of `quantize` and `inspect`.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { SchemeOptions, TrainingOptions } from '../node.ts';
import { parse } from './common.ts';

export interface SchemeArguments {
  mode?: string;
  activations?: SchemeOptions['activations'];
  weights?: SchemeOptions['weights'];
  perTensor?: boolean;
  symmetric?: boolean;
  reduceRange?: boolean;
  blockSize?: number;
  observer?: string;
  quantizedInputs?: boolean;
  quantizedOutputs?: boolean;
  include?: string[];
  exclude?: string[];
  repair?: string[];
  parameter?: Record<string, number>;
  target?: SchemeOptions['target'];
  runtime?: string;
  sensitivity?: boolean;
  weightBits?: number;
  activationBits?: number;
  scales?: 'learned' | 'moving-average' | 'fixed';
  learnZeroPoints?: boolean;
  intermediate?: string[];
  epochs?: number;
  learningRate?: number;
  batchSize?: number;
  loss?: TrainingOptions['loss'];
  optimizer?: TrainingOptions['optimizer'];
  schedule?: TrainingOptions['schedule'];
  memoryLimit?: string;
  blocks?: boolean;
  freeze?: boolean;
  seed?: number;
}

function target(text: string): SchemeOptions['target'] {
  const [, what, value = ''] = /^(sqnr|drop|size)=(.+)$/.exec(text) ?? [];
  const number = Number(value);
  if (!text.includes('=')) return text; // a runtime's name, which the package checks
  if (what === 'sqnr' && Number.isFinite(number)) return { sqnr: number };
  if (what === 'drop' && Number.isFinite(number)) return { drop: number };
  if (what === 'size') return { size: value };
  throw new InvalidArgumentError('sqnr=30, drop=0.005 or size=2.5MB is needed.');
}

function parameter(text: string, before: Record<string, number> = {}): Record<string, number> {
  const [, name, value] = /^([\w-]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || !Number.isFinite(Number(value))) {
    throw new InvalidArgumentError('name=number is needed.');
  }
  return { ...before, [name]: Number(value) };
}

export function addSchemeOptions(command: Command): Command {
  return command
    .option(
      '--mode <mode>',
      'static, dynamic, weight-only, float16 (values too), qat (trained), or auto: what is best on samples held out (default: auto for quantize with --calibration and without --observer and --repair, else static)',
    )
    .addOption(
      new Option('--activations <type>', 'type of quantized activations').choices([
        'uint8',
        'int8',
        'uint16',
        'int16',
      ]),
    )
    .addOption(
      new Option(
        '--weights <type>',
        'type of quantized weights; those of 4 and 2 bits and float16 are for weight-only',
      ).choices(['int8', 'uint8', 'int4', 'uint4', 'int2', 'uint2', 'float16']),
    )
    .option('--per-tensor', 'one scale for a whole weight instead of one per output channel')
    .option('--symmetric', 'activations: the zero point in the middle of the type')
    .option('--reduce-range', '7-bit weights, for machines whose 8-bit products saturate')
    .option(
      '--block-size <n>',
      'weights of 4 and 2 bits: elements that share a scale (32)',
      parse.positiveInteger,
    )
    .option('--observer <name>', 'how ranges are found from samples (min-max)')
    .option(
      '--quantized-inputs',
      'the model takes integers (mode float16: float16) where its inputs are quantized',
    )
    .option(
      '--quantized-outputs',
      'the model gives integers (mode float16: float16) where its outputs are quantized',
    )
    .option('--include <names>', 'only these nodes and operators', parse.list)
    .option('--exclude <names>', 'not these nodes and operators', parse.list)
    .option(
      '--repair <names>',
      'win accuracy back: equalization, smooth, hqq, gptq, adaround, bias-correction, or none (default: those that are worth their time for everyone)',
      parse.list,
    )
    .option('--parameter <name=number>', 'of an observer or a repair; may be repeated', parameter)
    .option(
      '--target <what>',
      'sqnr=30 (dB), drop=0.005 (of right answers) or size=2.5MB: the layers that are harmed most get 16 bits or float; or where the file is to run, as --runtime',
      target,
    )
    .option(
      '--runtime <name>',
      'where the file is to run: onnxruntime (default), onnxruntime-web, webgpu, openvino, tensorrt, qnn or zeropoint; what each takes is in docs/RUNTIMES.md',
    )
    .option('--sensitivity', 'measure what quantizing each layer alone does to the outputs')
    .option('--weight-bits <n>', 'qat: bits of a weight, 2 to 8', parse.positiveInteger)
    .option('--activation-bits <n>', 'qat: bits of an activation, 2 to 8', parse.positiveInteger)
    .option('--epochs <n>', 'qat: how often each sample is seen (3)', parse.number)
    .option('--learning-rate <n>', 'qat: the largest step (0.001)', parse.number)
    .option('--batch-size <n>', 'qat: samples of one step (32)', parse.positiveInteger)
    .addOption(
      new Option('--loss <name>', 'qat: what is made small (auto)').choices([
        'auto',
        'kl',
        'mse',
        'cross-entropy',
      ]),
    )
    .addOption(new Option('--optimizer <name>', 'qat: how steps are made (adam)').choices(['adam', 'sgd']))
    .addOption(
      new Option('--schedule <name>', 'qat: how the learning rate falls (cosine)').choices([
        'cosine',
        'constant',
        'step',
      ]),
    )
    .addOption(
      new Option(
        '--scales <how>',
        'qat: learned, moving with the ranges of batches, or as calibrated (learned)',
      ).choices(['learned', 'moving-average', 'fixed']),
    )
    .option('--learn-zero-points', 'qat: learn the zero points of activations too')
    .option(
      '--intermediate <names>',
      'qat: values inside the model that are to be as in the float model',
      parse.list,
    )
    .option('--memory-limit <size>', 'qat: what training may take, as in 500MB (2GiB)')
    .option('--blocks', 'qat: train block after block, each towards what the float model makes at its end')
    .option('--freeze', 'qat: leave what comes before an operator without a gradient as it is');
}

export function schemeFrom(options: SchemeArguments): SchemeOptions {
  return {
    mode: options.mode,
    activations: options.activations,
    weights: options.weights,
    perChannel: options.perTensor ? false : undefined,
    symmetric: options.symmetric,
    reduceRange: options.reduceRange,
    blockSize: options.blockSize,
    observer: options.observer,
    inputs: options.quantizedInputs ? 'quantized' : undefined,
    outputs: options.quantizedOutputs ? 'quantized' : undefined,
    include: options.include,
    exclude: options.exclude,
    repairs: options.repair?.filter((name) => name !== 'none'),
    parameters: options.parameter,
    target: options.target,
    runtime: options.runtime,
    sensitivity: options.sensitivity,
    weightBits: options.weightBits,
    activationBits: options.activationBits,
    training: {
      epochs: options.epochs,
      learningRate: options.learningRate,
      batchSize: options.batchSize,
      loss: options.loss,
      optimizer: options.optimizer,
      schedule: options.schedule,
      scales: options.scales,
      zeroPoints: options.learnZeroPoints ? 'learned' : undefined,
      intermediate: options.intermediate,
      memoryLimit: options.memoryLimit,
      blocks: options.blocks,
      freeze: options.freeze,
      seed: options.seed,
    },
  };
}
