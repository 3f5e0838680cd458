import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import {
  type Feeds,
  readNpy,
  readNpz,
  samplesInFile,
  type Tensor,
  writeNpz,
  ZeropointError,
} from '../node.ts';
import {
  addCommonOptions,
  addSampleOptions,
  begin,
  type CommonOptions,
  checkOutput,
  interrupted,
  json,
  loadModel,
  milliseconds,
  print,
  type SampleArguments,
  samplesFor,
  table,
  terminal,
  WrongCall,
  writeOutput,
} from './common.ts';

interface Options extends CommonOptions, SampleArguments {
  input?: Record<string, string>;
  output?: string;
  force?: boolean;
}

const pair = (text: string, before: Record<string, string> | undefined): Record<string, string> => {
  const at = text.indexOf('=');
  if (at < 1) {
    if (/\.npz$/i.test(text)) return { ...before, '': text };
    throw new InvalidArgumentError('NAME=FILE is needed, as in x=x.npy, or a .npz file.');
  }
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
};

export function runCommand(): Command {
  const command = new Command('run')
    .description('run a model once')
    .argument('<model>', 'an ONNX file')
    .option('--input <name=file>', 'a file for an input (.npy, .wav or an image), or one .npz for all', pair)
    .option('-o, --output <file>', 'write the outputs as .npz')
    .option('--force', 'overwrite the output if it exists')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint run model.onnx --input x=x.npy -o out.npz
  $ zeropoint run model.onnx --input image=photo.jpg --preset imagenet
  $ zeropoint run model.onnx --input tokens.npz --json`,
    );
  addSampleOptions(command);
  return addCommonOptions(command).action(run);
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ZeropointError('io', `${path} could not be read: ${(error as Error).message}`, { file: path });
  }
}

async function run(path: string, options: Options): Promise<void> {
  begin(options);
  const files = options.input ?? {};
  if (options.output) await checkOutput(options.output, [path, ...Object.values(files)], options.force);
  const model = await loadModel(path);
  const shown = terminal(options.quiet);
  let feeds: Feeds | undefined;
  if (Object.keys(files).length === 0) {
    const { samples } = await samplesFor(
      model.inputs,
      undefined,
      { ...options, samples: 1 },
      {
        synthetic: 1,
        warn: shown.warn,
        cost: 'The outputs mean nothing.',
      },
    );
    for await (const sample of samples()) feeds = sample;
  } else {
    const found: Record<string, Tensor> = {};
    for (const [name, file] of Object.entries(files)) {
      const bytes = await read(file);
      if (name === '') {
        Object.assign(found, await readNpz(bytes, file));
        continue;
      }
      const input = [...model.inputs, ...model.optionalInputs].find((value) => value.name === name);
      if (!input) {
        const names = model.inputs.map((value) => value.name).join(', ');
        throw new WrongCall(
          `the model has no input '${name}'; there ${model.inputs.length === 1 ? 'is' : 'are'} ${names}`,
        );
      }
      // An array is fed as it is; other files become what the input takes.
      const isArray = bytes[0] === 0x93;
      const { preset, size, mean, std, layout, channels, resize, audioScale } = options;
      const [sample] = isArray
        ? [{ [name]: readNpy(bytes, file) }]
        : await samplesInFile(bytes, file, [input], {
            preset,
            size,
            mean,
            std,
            layout,
            channels,
            resize,
            audioScale,
          });
      Object.assign(found, sample);
    }
    feeds = found;
  }
  const session = await model.createSession({ threads: options.threads });
  const outputs = await session.run(feeds as Feeds, { signal: interrupted });
  for (const warning of await session.warnings()) shown.warn(warning);
  const time = session.lastRunMs;
  if (options.output) await writeOutput(options.output, await writeNpz(outputs));
  if (options.json) {
    process.stdout.write(
      json({ milliseconds: time, outputs: Object.fromEntries(Object.entries(outputs).map(summary)) }),
    );
    return;
  }
  print(
    table(
      Object.entries(outputs)
        .map(summary)
        .map(([name, { type, dims, min, max, mean }]) => [
          name,
          `${type} [${dims.join(', ')}]`,
          min === null ? '' : `${rounded(min)} ... ${rounded(max)}, mean ${rounded(mean)}`,
        ]),
    ),
  );
  print(`${milliseconds(time)}${options.output ? `, written to ${options.output}` : ''}`);
}

const rounded = (value: number | null) => (value === null ? '-' : Number(value.toPrecision(5)).toString());

interface Summary {
  type: string;
  dims: readonly number[];
  min: number | null;
  max: number | null;
  mean: number | null;
  /** The first few elements. */
  first: (number | string)[];
}

function summary([name, tensor]: [string, Tensor]): [string, Summary] {
  const { type, dims, data } = tensor;
  const first = Array.from(data.slice(0, 8) as ArrayLike<number | bigint | string>, (v) =>
    typeof v === 'bigint' ? Number(v) : v,
  );
  if (Array.isArray(data) || data.length === 0)
    return [name, { type, dims, min: null, max: null, mean: null, first }];
  let [min, max, sum] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const v of data) {
    const value = Number(v);
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
  }
  return [name, { type, dims, min, max, mean: sum / data.length, first }];
}
