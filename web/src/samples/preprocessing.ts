// How images become a model's input, guessed from the model: a guess that says why, and can be changed.
import { type ImageOptions, type ImagePreset, imagePresets, type Model, type ValueInfo } from 'zeropoint';

export interface PreparationGuess {
  image: ImageOptions;
  /** The reason, after “because”. */
  because: string;
  /** Whether it is likely to be right; otherwise the user should look at it. */
  sure: boolean;
}

export const presetTitles: Readonly<Record<ImagePreset, string>> = {
  unit: 'Numbers from 0 to 1',
  imagenet: 'ImageNet (torchvision, timm)',
  'imagenet-tf': 'ImageNet, −1 to 1 (TensorFlow)',
  'ppocr-det': 'PP-OCR detection',
  'ppocr-rec': 'PP-OCR recognition',
  'ppocr-cls': 'PP-OCR angle',
};

export const presets = Object.keys(imagePresets) as ImagePreset[];

/** Whether a model takes an image: other inputs need no preparing. */
export function takesImages(inputs: readonly ValueInfo[]): boolean {
  const dims = inputs[0]?.dims;
  return (
    inputs.length === 1 &&
    (dims === null || (dims?.length === 4 && (isChannels(dims[1]) || isChannels(dims[3]))))
  );
}

/** A wave: one row of numbers, or rows of them. */
export function takesSound(inputs: readonly ValueInfo[]): boolean {
  const [wave] = inputs;
  const dims = wave?.dims;
  const long = (dim: unknown) => typeof dim === 'string' || (typeof dim === 'number' && dim >= 256);
  return (
    (wave?.type === 'float32' || wave?.type === 'int16') &&
    dims !== null &&
    dims !== undefined &&
    dims.length >= 1 &&
    dims.length <= 3 &&
    long(dims.at(-1)) &&
    dims.slice(0, -1).every((dim) => dim === 1 || typeof dim === 'string')
  );
}

const isChannels = (dim: unknown) => dim === 1 || dim === 3 || typeof dim === 'string';

/** `name`: of the model's file. */
export function guessPreparation(model: Pick<Model, 'inputs' | 'outputs'>, name: string): PreparationGuess {
  const dims = model.inputs[0]?.dims ?? [];
  const [, a, b, c] = dims;
  const outputs = model.outputs.map((output) => output.dims ?? []);
  const last = outputs.map((shape) => shape.at(-1));
  const isLast = c === 3 && a !== 3;
  const [height, width] = isLast ? [a, b] : [b, c];
  const size = `${height} × ${width}`;
  if (dims.length !== 4)
    return { image: { preset: 'unit' }, because: 'the model takes no images', sure: true };
  const isOcr = /paddle|ocr/i.test(name);
  const named = /(?:^|[_.-])(cls|rec|det)(?:[_.-]|$)/i.exec(name)?.[1]?.toLowerCase() as
    | 'cls'
    | 'rec'
    | 'det'
    | undefined;
  if (isOcr && named) {
    return { image: { preset: `ppocr-${named}` }, because: `the file is called ${name}`, sure: true };
  }
  if (height === 48) {
    return width === 192
      ? {
          image: { preset: 'ppocr-cls' },
          because: `the input is ${size}, as PP-OCR's angle model has it`,
          sure: isOcr,
        }
      : {
          image: { preset: 'ppocr-rec' },
          because: "the input has 48 rows, as PP-OCR's recognition has it",
          sure: isOcr,
        };
  }
  const isMap = outputs.length === 1 && outputs[0]?.length === 4 && outputs[0][1] === 1;
  const isOpen = typeof height !== 'number' && typeof width !== 'number';
  if (isMap && isOpen && a === 3) {
    return {
      image: { preset: 'ppocr-det' },
      because: 'any size goes in and one map comes out, as with PP-OCR detection',
      sure: /ocr|det/i.test(name),
    };
  }
  if (last.some((width) => width === 1000 || width === 1001)) {
    return isLast
      ? {
          image: { preset: 'imagenet-tf' },
          because: `it tells ${last[0]} classes, and channels come last`,
          sure: true,
        }
      : {
          image: { preset: 'imagenet' },
          because: `it tells ${last[0]} classes, as ImageNet has them`,
          sure: true,
        };
  }
  if (/ultra|rfb|version-/i.test(name)) {
    return { image: { preset: 'unit', mean: 0.5, std: 0.5 }, because: 'UltraFace takes −1 to 1', sure: true };
  }
  if (/yolo/i.test(name) || outputs.some((shape) => shape.length === 3 && shape.includes(84))) {
    return {
      image: { preset: 'unit', resize: 'contain' },
      because: 'YOLO takes 0 to 1, with the proportions kept',
      sure: true,
    };
  }
  if (isLast)
    return {
      image: { preset: 'imagenet-tf' },
      because: 'channels come last, as TensorFlow has them',
      sure: false,
    };
  if (a === 1) return { image: { preset: 'unit' }, because: 'it has one channel', sure: false };
  return {
    image: { preset: 'unit' },
    because: 'the model does not say how its images were prepared',
    sure: false,
  };
}

/** Ranges that the numbers of a pixel are brought to. */
export const ranges: readonly { id: string; title: string; image: Pick<ImageOptions, 'mean' | 'std'> }[] = [
  { id: 'unit', title: '0 to 1', image: { mean: 0, std: 1 } },
  { id: 'signed', title: '−1 to 1', image: { mean: 0.5, std: 0.5 } },
  {
    id: 'imagenet',
    title: "ImageNet's mean and deviation",
    image: { mean: imagePresets.imagenet.mean, std: imagePresets.imagenet.std },
  },
  { id: 'bytes', title: '0 to 255', image: { mean: 0, std: 1 / 255 } },
];

/** With the values of the preset. */
export const whole = (image: ImageOptions): ImageOptions => ({
  ...(image.preset && imagePresets[image.preset]),
  ...image,
});

/** What a way of preparing is called. */
export function titleOf(image: ImageOptions): string {
  const { preset = 'unit' } = image;
  const range = ranges.find(({ id }) => id === rangeOf(image));
  return preset === 'unit' && range ? `Numbers from ${range.title}` : presetTitles[preset];
}

export function rangeOf(image: ImageOptions): string | undefined {
  const { mean = 0, std = 1 } = whole(image);
  const text = JSON.stringify([mean, std]);
  return ranges.find((range) => JSON.stringify([range.image.mean, range.image.std]) === text)?.id;
}
