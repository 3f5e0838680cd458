import { stat } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import {
  type Feeds,
  type Model,
  readNpy,
  readNpz,
  samplesInFile,
  type Tensor,
  type ValueInfo,
  writeNpy,
  writeNpz,
  ZeropointError,
} from '../node.ts';
import { converted } from '../samples/fit.ts';
import { isNpy } from '../samples/npy.ts';
import { isZip } from '../samples/npz.ts';
import {
  addCommonOptions,
  begin,
  type CommonOptions,
  groups,
  interrupted,
  isStream,
  json,
  keepStandardOutput,
  milliseconds,
  print,
  table,
  WrongCall,
} from './common.ts';
import { checkOutput, inputsOf, loadModel, readBytes, writeOutput } from './paths.ts';
import { terminal } from './progress.ts';
import {
  addSampleOptions,
  checkSampleOptions,
  filesAt,
  type SampleArguments,
  sampleOptionsOf,
  samplesFor,
} from './samples.ts';

interface Options extends CommonOptions, SampleArguments {
  input?: Record<string, string>;
  output?: string;
  force?: boolean;
}

/** Of `--input FILE`, which is for all inputs. */
const all = '';

const pair = (text: string, before: Record<string, string> | undefined): Record<string, string> => {
  const at = text.indexOf('=');
  const [name, file] = at < 1 ? [all, text] : [text.slice(0, at), text.slice(at + 1)];
  if (file === '')
    throw new InvalidArgumentError('NAME=FILE is needed, as in x=x.npy, or a file for all inputs.');
  return { ...before, [name]: file };
};

export function runCommand(): Command {
  const command = new Command('run')
    .description('run a model once')
    .argument('<model>', 'an ONNX file; - is standard input')
    .optionsGroup(groups.files)
    .option(
      '--input <[name=]file>',
      'a file for an input (.npy, .wav or an image); without a name: a sample, as --calibration takes it; - is standard input',
      pair,
    )
    .option(
      '-o, --output <file>',
      'write the outputs: .npz; .npy where there is one output; - is .npz to standard output',
    )
    .option('--force', 'overwrite the output if it exists')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint run model.onnx --input x=x.npy -o out.npz
  $ zeropoint run model.onnx --input image=photo.jpg --preset imagenet
  $ zeropoint run model.onnx --input photo.jpg --preset imagenet -o out.npy
  $ zeropoint run model.onnx --input tokens.npz --json`,
    );
  addSampleOptions(command);
  return addCommonOptions(command).action(run);
}

/** How the outputs are written, by the ending of the file's name. */
function writerFor(
  output: string,
  { outputs }: Model,
): (found: Record<string, Tensor>) => Promise<Uint8Array> {
  if (isStream(output) || /\.npz$/i.test(output)) return writeNpz;
  if (!/\.npy$/i.test(output))
    throw new WrongCall(`${output}: outputs are written as .npz, or as .npy if there is one output`);
  if (outputs.length !== 1)
    throw new WrongCall(
      `${output}: a .npy file holds one array, and the model has ${outputs.length} outputs (${outputs.map(({ name }) => name).join(', ')}): write .npz`,
    );
  return async (found) => writeNpy(Object.values(found)[0] as Tensor);
}

const named = (values: readonly ValueInfo[]) => values.map(({ name }) => name).join(', ');

/** An array as the input takes it: its shape is what it is, its numbers may need another type. */
function typed(tensor: Tensor, input: ValueInfo, file: string): Tensor {
  const fitting = converted(tensor, input.type);
  if (fitting) return fitting;
  throw new ZeropointError(
    'invalid-sample',
    `${file}: input '${input.name}' takes ${input.type}, and the file has ${tensor.type}, whose values do not all fit`,
    { file, tensor: input.name },
  );
}

/** One sample out of a file. */
async function sampleIn(
  bytes: Uint8Array,
  file: string,
  inputs: readonly ValueInfo[],
  options: Options,
): Promise<Feeds> {
  const samples = await samplesInFile(bytes, file, inputs, sampleOptionsOf(options));
  const [sample, ...more] = samples;
  if (sample && more.length === 0) return sample;
  throw new WrongCall(`${file} holds ${samples.length} samples, and a model is run once: give one of them`);
}

async function feedsOf(model: Model, options: Options): Promise<Feeds> {
  const feeds: Record<string, Tensor> = {};
  const known = [...model.inputs, ...model.optionalInputs];
  for (const [name, path] of Object.entries(options.input ?? {})) {
    const input = known.find((value) => value.name === name);
    if (name !== all && !input)
      throw new WrongCall(
        `the model has no input '${name}'; there ${model.inputs.length === 1 ? 'is' : 'are'} ${named(model.inputs)}`,
      );
    const isDirectory = !isStream(path) && (await stat(path).catch(() => undefined))?.isDirectory();
    if (isDirectory) {
      const files = [];
      for await (const file of filesAt(path, model.inputs)) files.push(file);
      const [file, ...more] = files;
      if (!file || more.length > 0)
        throw new WrongCall(
          `${path} holds ${files.length} samples, and a model is run once: name one of them`,
        );
      Object.assign(
        feeds,
        await sampleIn(new Uint8Array(await file.arrayBuffer()), file.name, model.inputs, options),
      );
      continue;
    }
    const bytes = await readBytes(path, 'a sample');
    const file = isStream(path) ? 'standard input' : path;
    // Arrays are fed in the shape that they have; other files become what the input takes.
    if (isZip(bytes) && name === all) {
      for (const [key, tensor] of Object.entries(await readNpz(bytes, file))) {
        const of = known.find((value) => value.name === key);
        feeds[key] = of ? typed(tensor, of, file) : tensor;
      }
    } else if (isNpy(bytes)) {
      const [only, ...others] = model.inputs;
      const of = input ?? only;
      if (!of || (!input && others.length > 0))
        throw new WrongCall(
          `${file} holds one array, and the model has ${model.inputs.length} inputs (${named(model.inputs)}): give --input NAME=${path}`,
        );
      feeds[of.name] = typed(readNpy(bytes, file), of, file);
    } else {
      Object.assign(feeds, await sampleIn(bytes, file, input ? [input] : model.inputs, options));
    }
  }
  return feeds;
}

async function run(path: string, options: Options): Promise<void> {
  begin(options);
  const { output, input } = options;
  const files = Object.values(input ?? {});
  checkSampleOptions(options, files[0], '--input');
  if (options.samples !== undefined) throw new WrongCall('--samples does nothing: a model is run once');
  if (options.seed !== undefined && input)
    throw new WrongCall('--seed is for made-up samples, and --input was given');
  if (output !== undefined) {
    if (isStream(output) && options.json)
      throw new WrongCall('standard output takes the outputs or --json, not both');
    await checkOutput(output, [path, ...files], options.force);
  }
  const model = await loadModel(path);
  const write = output === undefined ? undefined : writerFor(output, model);
  if (output !== undefined) {
    await checkOutput(output, inputsOf(path, model), options.force);
    if (isStream(output)) keepStandardOutput();
  }
  const shown = terminal(options);
  let feeds: Feeds = {};
  if (input) {
    feeds = await feedsOf(model, options);
  } else {
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
  }
  const session = await model.createSession({ threads: options.threads });
  const outputs = await session.run(feeds, { signal: interrupted });
  for (const warning of await session.warnings()) shown.warn(warning);
  const time = session.lastRunMs;
  if (output !== undefined && write) await writeOutput(output, await write(outputs));
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
  print(
    `${milliseconds(time)}${output === undefined ? '' : `, written to ${isStream(output) ? 'standard output' : output}`}`,
  );
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
