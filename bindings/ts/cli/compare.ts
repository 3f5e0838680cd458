import { Command } from 'commander';
import { compare } from '../node.ts';
import {
  addCommonOptions,
  begin,
  type CommonOptions,
  decibels,
  groups,
  interrupted,
  json,
  milliseconds,
  print,
  speedChange,
  table,
} from './common.ts';
import { loadModel } from './paths.ts';
import { addProgressOption, terminal } from './progress.ts';
import { addSampleOptions, checkSampleOptions, type SampleArguments, samplesFor } from './samples.ts';

interface Options extends CommonOptions, SampleArguments {
  inputs?: string;
  layers?: boolean;
}

export function compareCommand(): Command {
  const command = new Command('compare')
    .description('say how far two models agree')
    .argument('<model>', 'an ONNX file: the original; - is standard input')
    .argument('<other>', 'an ONNX file: its quantized form')
    .optionsGroup(groups.files)
    .option('--inputs <path>', 'samples: a folder or file of images, .npy, .npz or .wav')
    .option('--layers', 'also compare the outputs of the layers')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint compare model.onnx small.onnx --inputs samples/ --preset imagenet
  $ zeropoint compare model.onnx small.onnx --inputs x.npz --layers --json`,
    );
  addSampleOptions(command);
  return addProgressOption(addCommonOptions(command)).action(run);
}

async function run(first: string, second: string, options: Options): Promise<void> {
  begin(options);
  checkSampleOptions(options, options.inputs, '--inputs');
  const model = await loadModel(first);
  const other = await loadModel(second);
  const quiet = terminal(options);
  const { samples, count, synthetic } = await samplesFor(model.inputs, options.inputs, options, {
    synthetic: 4,
    warn: quiet.warn,
    cost: 'The agreement of models on noise says little about real data: give --inputs.',
  });
  const shown = terminal(options, count);
  try {
    const result = await compare(model, other, samples, {
      layers: options.layers,
      onProgress: shown.progress,
      signal: interrupted,
    });
    shown.end();
    if (options.json) {
      process.stdout.write(json({ synthetic, ...result }));
      return;
    }
    print(`${result.samples} ${result.samples === 1 ? 'sample' : 'samples'}`);
    print(
      table([
        ['output', 'SQNR', 'cosine', 'max error', 'top-1'],
        ...result.outputs.map(({ output, sqnr, cosine, maxAbs, top1 }) => [
          output,
          decibels(sqnr),
          Number.isNaN(cosine) ? '-' : cosine.toFixed(6),
          Number.isNaN(maxAbs) ? '-' : maxAbs.toPrecision(3),
          Number.isNaN(top1) ? '-' : `${(100 * top1).toFixed(1)} %`,
        ]),
      ]),
    );
    for (const { output, otherShapes } of result.outputs) {
      if (otherShapes === 0) continue;
      print(
        `\n${output} has another shape in the second model in ${otherShapes} of ${result.samples} samples, which its figures leave out`,
      );
    }
    const { reference, candidate } = result.latency;
    print(
      `\nlatency ${milliseconds(reference)} → ${milliseconds(candidate)} (${speedChange(reference, candidate)})`,
    );
    if (result.layers.length) {
      print('\nlayers (signal to noise, accumulated; of the layer alone)');
      print(
        table(
          result.layers.map(({ op, node, sqnr, ownSqnr }) => [
            `  ${op}`,
            node,
            decibels(sqnr),
            decibels(ownSqnr),
          ]),
        ),
      );
    }
  } finally {
    shown.end();
  }
}
