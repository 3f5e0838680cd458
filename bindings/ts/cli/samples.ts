// The samples that commands are given, and the options that say how they are read.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  concreteDims,
  type Feeds,
  imagePresets,
  readNpy,
  type SampleFile,
  type SampleOptions,
  samplesFromFiles,
  syntheticSamples,
  type ValueInfo,
  writeNpz,
  ZeropointError,
} from '../node.ts';
import { imageChecks } from '../samples/image.ts';
import { groups, parse, WrongCall } from './common.ts';

export interface SampleArguments extends Omit<SampleOptions, 'limit'> {
  dims?: Record<string, number>;
  shape?: Record<string, number[]>;
  seed?: number;
  samples?: number;
}

/** Options of files, whatever is in them. */
const fileOptions: readonly (keyof SampleOptions)[] = [
  ...(Object.keys(imageChecks) as (keyof SampleOptions)[]),
  'audioScale',
  'sampleRate',
];

/** Options of samples that are made up. */
const madeUpOptions = ['dims', 'shape'] as const;

export const flagNamed = (name: string): string =>
  `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** How files become samples. */
export const sampleOptionsOf = (options: SampleArguments): SampleOptions => ({
  ...Object.fromEntries(fileOptions.map((name) => [name, options[name as keyof SampleArguments]])),
  limit: options.samples,
});

export function addSampleOptions(command: Command): Command {
  return command
    .optionsGroup(groups.samples)
    .option('--samples <n>', 'the most samples to use', parse.positiveInteger)
    .optionsGroup(groups.images)
    .addOption(
      new Option('--preset <name>', 'images: how the model was trained').choices(Object.keys(imagePresets)),
    )
    .option('--size <n|HxW>', 'images: height and width', parse.size)
    .option('--mean <n,n,n>', 'images: the mean that is subtracted from each channel of 0...1', parse.numbers)
    .option('--std <n,n,n>', 'images: the deviation that each channel is divided by', parse.numbers)
    .addOption(new Option('--layout <order>', 'images: order of dimensions').choices(['nchw', 'nhwc']))
    .addOption(new Option('--channels <order>', 'images: order of channels').choices(['rgb', 'bgr', 'gray']))
    .addOption(
      new Option('--resize <how>', 'images: how they get their size').choices([
        'stretch',
        'cover',
        'contain',
        'fit-height',
      ]),
    )
    .option(
      '--crop-fraction <n>',
      'images, with --resize cover: the share of the shorter side that is left, as in 0.875',
      parse.number,
    )
    .option('--multiple-of <n>', 'images without a size: sides are multiples of this', parse.positiveInteger)
    .option('--longest-side <n>', 'images without a size: the longer side at most', parse.positiveInteger)
    .option(
      '--audio-scale <n>',
      'sound: every value is multiplied by it (32768: as 16-bit integers)',
      parse.number,
    )
    .option('--sample-rate <n>', 'sound: refuse files of another rate', parse.positiveInteger)
    .optionsGroup(groups.madeUp)
    .option('--dims <names>', 'sizes of named dimensions, as in H=640,W=640', parse.dims)
    .option('--shape <input:sizes>', 'all sizes of an input, as in x:1,3,48,192', parse.shapes)
    .option('--seed <n>', 'the seed of synthetic samples, and of training', parse.positiveInteger);
}

/**
 * Throws for options that would do nothing: options of files without files, and options of made-up samples with files.
 * `files`: the flag that names samples.
 */
export function checkSampleOptions(options: SampleArguments, path: string | undefined, files: string): void {
  const [ignored, why] =
    path === undefined
      ? [fileOptions, `is for samples out of files: give ${files}`]
      : [madeUpOptions, `is for made-up samples, and ${files} was given`];
  const found = ignored.find((name) => options[name as keyof SampleArguments] !== undefined);
  if (found !== undefined) throw new WrongCall(`${flagNamed(found)} ${why}`);
}

const fileAt = (path: string, name: string): SampleFile => ({ name, arrayBuffer: () => readFile(path) });

/** A folder of `<input>.npy` is one sample of several inputs. */
async function sampleInFolder(folder: string, inputs: readonly ValueInfo[]): Promise<SampleFile> {
  return {
    name: folder,
    async arrayBuffer() {
      const arrays: Record<string, ReturnType<typeof readNpy>> = {};
      for (const { name } of inputs) {
        const path = join(folder, `${name}.npy`);
        try {
          arrays[name] = readNpy(await readFile(path), path);
        } catch (error) {
          if (error instanceof ZeropointError) throw error;
          throw new ZeropointError('invalid-sample', `${folder}: there is no ${name}.npy in it`, {
            file: folder,
          });
        }
      }
      return writeNpz(arrays);
    },
  };
}

export const isImageName = (name: string): boolean => /\.(png|jpe?g|webp|gif|avif|tiff?|bmp)$/i.test(name);

/** The files of a folder in the order of their names (numbers as numbers), or the one file. */
export async function* filesAt(path: string, inputs: readonly ValueInfo[]): AsyncGenerator<SampleFile> {
  const found = await stat(path).catch(() => undefined);
  if (!found) throw new WrongCall(`${path}: there is no such file or folder`);
  if (!found.isDirectory()) {
    yield fileAt(path, path);
    return;
  }
  const entries = await readdir(path, { withFileTypes: true });
  entries.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const inner = join(path, entry.name);
    if (entry.isDirectory()) yield await sampleInFolder(inner, inputs);
    else if (isImageName(entry.name) || /\.(npy|npz|wav)$/i.test(entry.name)) yield fileAt(inner, inner);
  }
}

/** Samples from a path; without one made-up samples, and `warn` is told what that costs. */
export async function samplesFor(
  inputs: readonly ValueInfo[],
  path: string | undefined,
  options: SampleArguments,
  { synthetic, warn, cost }: { synthetic: number; warn: (text: string) => void; cost: string },
): Promise<{ samples: () => AsyncIterable<Feeds> | Iterable<Feeds>; count: number; synthetic: boolean }> {
  if (path === undefined) {
    const count = options.samples ?? synthetic;
    const { dims, shape: shapes, seed } = options;
    const sizes = Object.fromEntries(concreteDims(inputs, dims, shapes));
    const words = Object.entries(sizes).map(([name, shape]) => `${name} [${shape.join(', ')}]`);
    warn(`no samples were given: ${count} synthetic samples (normal noise, ${words.join('; ')}). ${cost}`);
    const given = { count, dims, shapes, seed };
    return { samples: () => syntheticSamples(inputs, given), count, synthetic: true };
  }
  const { samples: limit } = options;
  const known = await countFiles(path, inputs);
  if (known === 0) {
    throw new ZeropointError('invalid-sample', `${path}: there is no .npy, .npz, .wav or image file in it`, {
      file: path,
    });
  }
  return {
    samples: () => samplesFromFiles(filesAt(path, inputs), inputs, sampleOptionsOf(options)),
    // A file may hold several samples: the count is only shown.
    count: Math.min(known, limit ?? known),
    synthetic: false,
  };
}

async function countFiles(path: string, inputs: readonly ValueInfo[]): Promise<number> {
  let count = 0;
  for await (const _ of filesAt(path, inputs)) count += 1;
  return count;
}
