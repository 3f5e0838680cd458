// Images to tensors: size, mean, deviation, order of channels and dimensions, as the model was trained with.
import { messageOf, ZeropointError } from '../errors.ts';
import * as check from '../options.ts';
import { platform, type RgbaImage } from '../platform.ts';
import { Tensor } from '../tensor.ts';
import { crop, type Pixels, resize } from './resize.ts';

/** How an image becomes a tensor: size, numbers, order of dimensions and channels. */
export interface ImageOptions {
  /** A named set of the options below. Options given beside it win. */
  preset?: ImagePreset | undefined;
  /** Height and width, or one number for both. Default: the size of the model's input, else the image's own size. */
  size?: number | readonly [height: number, width: number] | undefined;
  /** The mean that is subtracted from each channel of 0...1: one number, or one for each channel. */
  mean?: number | readonly number[] | undefined;
  /** The deviation that each channel is divided by afterwards. */
  std?: number | readonly number[] | undefined;
  /** The order of dimensions. Default: the order of the model's input. */
  layout?: 'nchw' | 'nhwc' | undefined;
  /** The order of channels. Default: rgb. `gray`: one channel, weighted as in ITU-R BT.601. */
  channels?: 'rgb' | 'bgr' | 'gray' | undefined;
  /**
   * How an image gets its size.
   * - `stretch` (default): both sides, whatever the proportions
   * - `cover`: the shorter side, and the middle is cut out
   * - `contain`: the longer side, and the rest is filled, evenly on both sides
   * - `fit-height`: the height; a narrow image is filled on the right, a wide image is squeezed in
   */
  resize?: 'stretch' | 'cover' | 'contain' | 'fit-height' | undefined;
  /** With `cover`: the shorter side is brought to the size divided by this. ImageNet's 224 out of 256 is 0.875. */
  cropFraction?: number | undefined;
  /** Without a size: the sides are rounded to multiples of this, for networks that halve them. */
  multipleOf?: number | undefined;
  /** Without a size: the longer side is brought down to this. */
  longestSide?: number | undefined;
}

const imagenetMean = [0.485, 0.456, 0.406];
const imagenetStd = [0.229, 0.224, 0.225];

/** How well-known families of models were trained. */
export const imagePresets = {
  /** 0...1. */
  unit: { mean: 0, std: 1 },
  /** torchvision, timm: 224 out of 256, ImageNet's mean and deviation. */
  imagenet: { mean: imagenetMean, std: imagenetStd, size: 224, resize: 'cover', cropFraction: 0.875 },
  /** Keras, TensorFlow, EfficientNet-Lite: -1...1. */
  'imagenet-tf': { mean: 0.5, std: 0.5, size: 224, resize: 'cover', cropFraction: 0.875 },
  /** PaddleOCR's text detection. Its constants are in the order of RGB though its channels are BGR. */
  'ppocr-det': { mean: imagenetMean, std: imagenetStd, channels: 'bgr', multipleOf: 32, longestSide: 960 },
  /** PaddleOCR's text recognition: lines of 48 rows. */
  'ppocr-rec': { mean: 0.5, std: 0.5, channels: 'bgr', size: [48, 320], resize: 'fit-height' },
  /** PaddleOCR's angle: is a line upside down? */
  'ppocr-cls': { mean: 0.5, std: 0.5, channels: 'bgr', size: [48, 192], resize: 'fit-height' },
} as const satisfies Record<string, Omit<ImageOptions, 'preset'>>;

/** A name of `imagePresets`. */
export type ImagePreset = keyof typeof imagePresets;

const side = check.integer(1, 16384);
const perChannel = check.anyOf(check.finite, check.listOf(check.finite));

export const imageChecks: Record<string, check.Check> = {
  preset: check.oneOf(Object.keys(imagePresets)),
  size: (value) =>
    side(value) === undefined || (Array.isArray(value) && value.length === 2 && value.every((v) => !side(v)))
      ? undefined
      : 'one number or [height, width], from 1 to 16384, is needed',
  mean: perChannel,
  std: (value) =>
    perChannel(value) ?? ([value].flat().includes(0) ? 'a deviation of 0 cannot be divided by' : undefined),
  layout: check.oneOf(['nchw', 'nhwc']),
  channels: check.oneOf(['rgb', 'bgr', 'gray']),
  resize: check.oneOf(['stretch', 'cover', 'contain', 'fit-height']),
  cropFraction: (value) =>
    typeof value === 'number' && value > 0 && value <= 1
      ? undefined
      : 'a number above 0, at most 1, is needed',
  multipleOf: side,
  longestSide: side,
};

/** Decodes an image file: with the browser's decoders, or sharp in Node. */
export async function decodeImage(bytes: Uint8Array, name = 'image'): Promise<RgbaImage> {
  try {
    const { decodeImage } = platform();
    if (decodeImage) return await decodeImage(new Uint8Array(bytes)); // as they are now
    const bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]), {
      premultiplyAlpha: 'none',
      colorSpaceConversion: 'default',
    });
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('no canvas to decode on');
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, width, height);
  } catch (error) {
    if (error instanceof ZeropointError) throw error;
    throw new ZeropointError(
      'invalid-sample',
      `${name}: the image cannot be decoded: ${messageOf(error)}`,
      { file: name },
      { cause: error },
    );
  }
}

/** The colours, with what is transparent on white, as pages show it. */
function toPixels({ data, width, height }: RgbaImage): Pixels {
  const pixels = new Float32Array(width * height * 3);
  for (let i = 0; i < width * height; ++i) {
    const alpha = (data[i * 4 + 3] as number) / 255;
    for (let c = 0; c < 3; ++c) pixels[i * 3 + c] = (data[i * 4 + c] as number) * alpha + 255 * (1 - alpha);
  }
  return { data: pixels, width, height };
}

/** What `multipleOf` and `longestSide` make of an image's own size. */
function ownSize(image: Pixels, { multipleOf = 1, longestSide }: ImageOptions): [number, number] {
  const shrink = longestSide ? Math.min(1, longestSide / Math.max(image.width, image.height)) : 1;
  const rounded = (length: number) =>
    Math.max(multipleOf, Math.round((length * shrink) / multipleOf) * multipleOf);
  return [rounded(image.height), rounded(image.width)];
}

function toSize(image: Pixels, height: number, width: number, options: ImageOptions, fill: number): Pixels {
  switch (options.resize ?? 'stretch') {
    case 'stretch':
      return resize(image, width, height);
    case 'cover': {
      const scale = Math.max(width / image.width, height / image.height) / (options.cropFraction ?? 1);
      const scaled = resize(image, Math.round(image.width * scale), Math.round(image.height * scale));
      const x = Math.round((scaled.width - width) / 2);
      const y = Math.round((scaled.height - height) / 2);
      return crop(scaled, x, y, width, height, fill);
    }
    case 'contain': {
      const scale = Math.min(width / image.width, height / image.height);
      const scaled = resize(
        image,
        Math.max(1, Math.round(image.width * scale)),
        Math.max(1, Math.round(image.height * scale)),
      );
      const x = Math.round((scaled.width - width) / 2);
      const y = Math.round((scaled.height - height) / 2);
      return crop(scaled, x, y, width, height, fill);
    }
    case 'fit-height': {
      const natural = Math.max(1, Math.round((image.width * height) / image.height));
      return crop(resize(image, Math.min(natural, width), height), 0, 0, width, height, fill);
    }
  }
}

/**
 * An image as a float32 tensor of one sample: [1, channels, height, width], or [1, height, width, channels].
 *
 * ```ts
 * imageToTensor(context.getImageData(0, 0, 640, 480), { preset: 'imagenet', size: 224 });
 * ```
 */
export function imageToTensor(image: RgbaImage, options: ImageOptions = {}): Tensor<'float32'> {
  check.checkOptions(options, imageChecks);
  if (image.data.length !== image.width * image.height * 4 || image.width < 1 || image.height < 1) {
    throw new ZeropointError(
      'invalid-argument',
      'image: { data, width, height } with four bytes a pixel is needed',
    );
  }
  const preset: Omit<ImageOptions, 'preset'> = options.preset ? imagePresets[options.preset] : {};
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const all: ImageOptions = { ...preset, ...given };

  const source = toPixels(image);
  const [height, width] =
    typeof all.size === 'number' ? [all.size, all.size] : (all.size ?? ownSize(source, all));
  const gray = all.channels === 'gray';
  const channelCount = gray ? 1 : 3;
  const mean = spread(all.mean ?? 0, channelCount, 'mean');
  const std = spread(all.std ?? 1, channelCount, 'std');
  // What is filled is the mean, which the network sees as 0.
  const fill = (mean.reduce((a, b) => a + b, 0) / mean.length) * 255;
  const { data: pixels } = toSize(source, height, width, all, fill);

  const plane = height * width;
  const data = new Float32Array(plane * channelCount);
  const channelsFirst = (all.layout ?? 'nchw') === 'nchw';
  for (let i = 0; i < plane; ++i) {
    for (let c = 0; c < channelCount; ++c) {
      const value = gray
        ? 0.299 * (pixels[i * 3] as number) +
          0.587 * (pixels[i * 3 + 1] as number) +
          0.114 * (pixels[i * 3 + 2] as number)
        : (pixels[i * 3 + (all.channels === 'bgr' ? 2 - c : c)] as number);
      const at = channelsFirst ? c * plane + i : i * channelCount + c;
      data[at] = (value / 255 - (mean[c] as number)) / (std[c] as number);
    }
  }
  const dims = channelsFirst ? [1, channelCount, height, width] : [1, height, width, channelCount];
  return new Tensor('float32', data, dims);
}

function spread(value: number | readonly number[], channels: number, name: string): readonly number[] {
  if (typeof value === 'number') return new Array<number>(channels).fill(value);
  if (value.length === channels) return value;
  throw new ZeropointError('invalid-argument', `${name}: one number, or ${channels}, are needed`);
}
