// A sample as the network sees it: the tensor, turned back into a picture.
import { type ImageOptions, imagePresets, type TensorLike } from 'zeropoint';
import type { Pixels } from '../answers/kind.ts';

/** By its type, or where that is not known by its name. */
export const isImage = ({ name, type }: File): boolean =>
  type.startsWith('image/') || (type === '' && /\.(jpe?g|png|webp|avif|gif|bmp)$/i.test(name));

/** Pictures beyond this are shown smaller: they are for looking at. */
export const longestSide = 384;

const spread = (value: number | readonly number[] | undefined, otherwise: number): readonly number[] =>
  value === undefined ? [otherwise] : typeof value === 'number' ? [value] : value;

/** The pixels of a tensor that was made of an image with these options; undefined: it is no image. */
export function pixelsOf(tensor: TensorLike, given: ImageOptions): Pixels | undefined {
  const { dims, data } = tensor;
  const [n, a = 0, b = 0, c = 0] = dims;
  if (dims.length !== 4 || n !== 1 || tensor.type !== 'float32') return undefined;
  const isFirst = a === 3 || a === 1;
  if (!isFirst && c !== 3 && c !== 1) return undefined;
  const [channels, height, width] = isFirst ? [a, b, c] : [c, a, b];
  const options: ImageOptions = { ...(given.preset && imagePresets[given.preset]), ...given };
  const [mean, std] = [spread(options.mean, 0), spread(options.std, 1)];
  const plane = height * width;
  const image: Pixels = { width, height, data: new Uint8ClampedArray(4 * plane) };
  for (let channel = 0; channel < 3; ++channel) {
    const from = channels === 1 ? 0 : options.channels === 'bgr' ? 2 - channel : channel;
    const [m, s] = [mean[from] ?? mean[0] ?? 0, std[from] ?? std[0] ?? 1];
    for (let i = 0; i < plane; ++i) {
      const value = data[isFirst ? from * plane + i : i * channels + from] as number;
      image.data[4 * i + channel] = 255 * (value * s + m);
    }
  }
  for (let i = 0; i < plane; ++i) image.data[4 * i + 3] = 255;
  return image;
}

/** The same as a file. */
export async function pictureOf(tensor: TensorLike, options: ImageOptions): Promise<Blob | undefined> {
  const pixels = pixelsOf(tensor, options);
  return pixels && fileOf(pixels);
}

/** Pixels as a file for looking at. */
export async function fileOf({ data, width, height }: Pixels): Promise<Blob> {
  const whole = new OffscreenCanvas(width, height);
  whole.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0);
  const scale = longestSide / Math.max(width, height);
  const type = 'image/webp'; // browsers that do not write it write PNG
  if (scale >= 1) return whole.convertToBlob({ type, quality: 0.9 });
  const small = new OffscreenCanvas(
    Math.max(1, Math.round(width * scale)),
    Math.max(1, Math.round(height * scale)),
  );
  small.getContext('2d')?.drawImage(whole, 0, 0, small.width, small.height);
  return small.convertToBlob({ type, quality: 0.9 });
}
