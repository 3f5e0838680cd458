// Draws and decodes pictures, away from the page's thread: a photograph of 12 megapixels takes a second.
import * as Comlink from 'comlink';
import { decodeImage, imageToTensor, type RgbaImage } from 'zeropoint';
import { drawGroup, drawSample } from './draw.ts';
import type { Picture } from './find.ts';
import { networkHeight, networkWidth, preparation } from './preparation.ts';

/** Pictures beyond this are shown smaller. */
const longestSide = 1280;

const valuesOf = (image: RgbaImage) =>
  imageToTensor(image, { ...preparation, layout: 'nchw' }).data as Float32Array<ArrayBuffer>;

/** The same, no larger than it is shown. */
function shown(image: RgbaImage): Pick<Picture, 'data' | 'width' | 'height'> {
  const { width, height } = image;
  const scale = longestSide / Math.max(width, height);
  const data = new Uint8ClampedArray(image.data);
  if (scale >= 1) return { data, width, height };
  const [small, whole] = [
    new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale)),
    new OffscreenCanvas(width, height),
  ];
  const context = small.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no canvas to draw on');
  whole.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0);
  context.imageSmoothingQuality = 'high';
  context.drawImage(whole, 0, 0, small.width, small.height);
  return {
    data: context.getImageData(0, 0, small.width, small.height).data,
    width: small.width,
    height: small.height,
  };
}

function given(name: string, image: RgbaImage): Picture {
  const { width, height } = image;
  const picture = { name, ...shown(image), whole: { width, height }, values: valuesOf(image) };
  return Comlink.transfer(picture, [picture.data.buffer, picture.values.buffer]);
}

const face = {
  /** The picture that the demo begins with. */
  group: (name: string) => given(name, drawGroup()),
  /** A photograph; undefined: it is none. */
  async open(file: File): Promise<Picture | undefined> {
    try {
      return given(file.name, await decodeImage(new Uint8Array(await file.arrayBuffer()), file.name));
    } catch {
      return undefined;
    }
  },
  /** A sample as the network takes it. */
  sample(index: number): Float32Array<ArrayBuffer> {
    const values = valuesOf(drawSample(index, networkWidth, networkHeight));
    return Comlink.transfer(values, [values.buffer]);
  },
};
export type PicturesFace = typeof face;
Comlink.expose(face);
