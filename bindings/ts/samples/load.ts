// Files to samples for a model: the kind of file is seen from its bytes, not from its name.
import type { Dim, ValueInfo } from '../engine/module.ts';
import { messageOf, ZeropointError } from '../errors.ts';
import * as check from '../options.ts';
import type { RgbaImage } from '../platform.ts';
import { Tensor } from '../tensor.ts';
import { converted, fitError, samplesFor } from './fit.ts';
import { decodeImage, type ImageOptions, imageChecks, imagePresets, imageToTensor } from './image.ts';
import { isNpy, readNpy } from './npy.ts';
import { isZip, readNpz } from './npz.ts';
import { isWav, readWav } from './wav.ts';

/** A file by name, whose bytes are read when it is its turn. Browsers' File and Blob are taken too. */
export interface SampleFile {
  name: string;
  arrayBuffer(): Promise<ArrayBuffer | Uint8Array>;
}

/** How files become samples. */
export interface SampleOptions extends ImageOptions {
  /** Sound: every value is multiplied by this. 32768 is for models that were trained on 16-bit integers. */
  audioScale?: number | undefined;
  /** Sound: files of another sampling rate are an error. */
  sampleRate?: number | undefined;
  /** The most samples. Default: all. */
  limit?: number | undefined;
}

export const sampleChecks: Record<string, check.Check> = {
  ...imageChecks,
  audioScale: check.finite,
  sampleRate: check.integer(1, 10_000_000),
  limit: check.integer(1, 2 ** 31),
};

type Sample = Record<string, Tensor>;

const fixed = (dim: Dim | undefined) => (typeof dim === 'number' ? dim : undefined);

/** The one input that an image, a sound or a plain array is for. */
function onlyInput(inputs: readonly ValueInfo[], file: string): ValueInfo {
  const [input] = inputs;
  if (input && inputs.length === 1) return input;
  throw new ZeropointError(
    'invalid-sample',
    `${file}: the model has ${inputs.length} inputs (${inputs.map(({ name }) => name).join(', ')}), the file is for one`,
    { file, hint: 'give samples as .npz files, with an array for each input' },
  );
}

/** Options for an image; those that are missing come from the model's input. */
export function imageOptionsFor(input: ValueInfo, options: ImageOptions): ImageOptions {
  const { dims } = input;
  if (dims?.length !== 4) return options;
  const layout =
    options.layout ?? (dims[1] !== 3 && dims[1] !== 1 && (dims[3] === 3 || dims[3] === 1) ? 'nhwc' : 'nchw');
  const [height, width, channels] =
    layout === 'nchw' ? [fixed(dims[2]), fixed(dims[3]), dims[1]] : [fixed(dims[1]), fixed(dims[2]), dims[3]];
  const preset: Omit<ImageOptions, 'preset'> = options.preset ? imagePresets[options.preset] : {};
  const presetSize = typeof preset.size === 'number' ? [preset.size, preset.size] : preset.size;
  const size = [height ?? presetSize?.[0], width ?? presetSize?.[1]];
  return {
    ...options,
    layout,
    ...(options.size === undefined && size[0] && size[1] ? { size: [size[0], size[1]] as const } : {}),
    ...(options.channels === undefined && channels === 1 ? { channels: 'gray' as const } : {}),
  };
}

/** An image as a sample for a model with one input. */
export function imageSample(
  image: RgbaImage,
  inputs: readonly ValueInfo[],
  options: ImageOptions = {},
  name = 'image',
): Sample {
  const input = onlyInput(inputs, name);
  const tensor: Tensor = imageToTensor(image, imageOptionsFor(input, options));
  const typed = converted(tensor, input.type);
  if (!typed) throw fitError(name, input, tensor);
  const [sample] = samplesFor(typed, input, name);
  return { [input.name]: sample as Tensor };
}

/** Sound as samples: the whole, or windows as long as the model's input. */
function soundSamples(
  bytes: Uint8Array,
  inputs: readonly ValueInfo[],
  options: SampleOptions,
  name: string,
): Sample[] {
  const input = onlyInput(inputs, name);
  const { sampleRate, samples } = readWav(bytes, name);
  if (options.sampleRate !== undefined && sampleRate !== options.sampleRate) {
    throw new ZeropointError(
      'invalid-sample',
      `${name}: the sound has ${sampleRate} samples a second, and ${options.sampleRate} are needed`,
      {
        file: name,
        hint: 'resample the file, with ffmpeg -ar for instance',
      },
    );
  }
  const scale = options.audioScale ?? 1;
  const values = samples.map((v) => v * scale);
  const dims = input.dims ?? [values.length];
  const window = fixed(dims.at(-1)) ?? values.length;
  const leading = dims.slice(0, -1).map((dim) => fixed(dim) ?? 1);
  const found = { type: 'float32', dims: [values.length] };
  if (leading.some((d) => d !== 1) || dims.length === 0 || values.length < window || window === 0) {
    throw fitError(name, input, found);
  }
  return Array.from({ length: Math.floor(values.length / window) }, (_, i) => {
    const tensor = new Tensor('float32', values.slice(i * window, (i + 1) * window), [
      ...leading,
      window,
    ]) as Tensor;
    const typed = converted(tensor, input.type);
    if (!typed) throw fitError(name, input, found);
    return { [input.name]: typed };
  });
}

/** Arrays by name as samples: each fits one input, and all give as many samples. */
function arraySamples(arrays: Sample, inputs: readonly ValueInfo[], name: string): Sample[] {
  const names = Object.keys(arrays);
  let pairs = inputs.map((input) => [input, arrays[input.name]] as const);
  const anonymous = names.every((n) => /^arr_\d+$/.test(n)); // np.savez without names
  if (
    names.length === inputs.length &&
    (anonymous || inputs.length === 1) &&
    pairs.some(([, array]) => !array)
  ) {
    pairs = inputs.map((input, i) => [input, arrays[names[i] as string]] as const);
  }
  const missing = pairs.filter(([, array]) => !array).map(([input]) => input.name);
  const known = new Set(inputs.map((input) => input.name));
  const unknown = missing.length ? names.filter((n) => !known.has(n)) : [];
  if (missing.length) {
    throw new ZeropointError(
      'invalid-sample',
      `${name}: no array for ${missing.join(', ')}${unknown.length ? `; it has ${unknown.join(', ')}` : ''}`,
      { file: name, tensor: missing[0] as string },
    );
  }
  const columns = pairs.map(([input, array]) => ({
    input,
    tensors: samplesFor(array as Tensor, input, name),
  }));
  const count = Math.max(...columns.map(({ tensors }) => tensors.length));
  for (const { input, tensors } of columns) {
    if (tensors.length !== count && tensors.length !== 1) {
      throw new ZeropointError(
        'invalid-sample',
        `${name}: ${tensors.length} samples for '${input.name}', ${count} for another input`,
        {
          file: name,
          tensor: input.name,
        },
      );
    }
  }
  return Array.from({ length: count }, (_, i) =>
    Object.fromEntries(
      columns.map(({ input, tensors }) => [input.name, (tensors[i] ?? tensors[0]) as Tensor]),
    ),
  );
}

/** The samples in one file: .npy, .npz, .wav, or an image. */
export async function samplesInFile(
  bytes: Uint8Array,
  name: string,
  inputs: readonly ValueInfo[],
  options: SampleOptions = {},
): Promise<Sample[]> {
  if (isNpy(bytes)) {
    const input = onlyInput(inputs, name);
    return arraySamples({ [input.name]: readNpy(bytes, name) }, inputs, name);
  }
  if (isZip(bytes)) return arraySamples(await readNpz(bytes, name), inputs, name);
  if (isWav(bytes)) return soundSamples(bytes, inputs, options, name);
  const { audioScale, sampleRate, limit, ...imageOptions } = options;
  return [imageSample(await decodeImage(bytes, name), inputs, imageOptions, name)];
}

/**
 * Samples out of files, for a model's inputs: read one after the other, when they are asked for.
 *
 * ```ts
 * const samples = samplesFromFiles(fileInput.files, model.inputs, { preset: 'imagenet' });
 * await model.quantize({ mode: 'static', calibration: samples });
 * ```
 */
export function samplesFromFiles(
  files: Iterable<SampleFile> | AsyncIterable<SampleFile>,
  inputs: readonly ValueInfo[],
  options: SampleOptions = {},
): AsyncIterable<Sample> {
  check.checkOptions(options, sampleChecks);
  return {
    async *[Symbol.asyncIterator]() {
      let left = options.limit ?? Number.POSITIVE_INFINITY;
      for await (const file of files) {
        let bytes: Uint8Array;
        try {
          const read = await file.arrayBuffer();
          bytes = read instanceof Uint8Array ? read : new Uint8Array(read);
        } catch (error) {
          if (error instanceof ZeropointError) throw error;
          throw new ZeropointError(
            'io',
            `${file.name} could not be read: ${messageOf(error)}`,
            { file: file.name },
            { cause: error },
          );
        }
        for (const sample of await samplesInFile(bytes, file.name, inputs, options)) {
          yield sample;
          left -= 1;
          if (left <= 0) return;
        }
      }
    },
  };
}
