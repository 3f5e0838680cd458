// Finds faces with UltraFace: for each of 4420 places a score for "no face" and "face", and the corners of a box.
import { type Session, Tensor, type TensorLike } from 'zeropoint';
import { type Box, iou, matched } from '../../answers/boxes.tsx';
import { networkHeight, networkWidth } from './preparation.ts';

/** The least score of a face. */
const leastScore = 0.6;
/** Boxes that overlap more are around the same face. */
const mostOverlap = 0.4;

interface Size {
  width: number;
  height: number;
}

/** Faces in the network's outputs, the surest first, as shares of a picture of this size. */
export function facesIn(outputs: Readonly<Record<string, TensorLike>>, { width, height }: Size): Box[] {
  const { scores, boxes } = outputs;
  if (scores?.type !== 'float32' || boxes?.type !== 'float32') throw new Error('this is not a face detector');
  const [told, corners] = [scores.data as Float32Array, boxes.data as Float32Array];
  // The picture is in the middle of what the network sees, as large as fits.
  const scale = Math.min(networkWidth / width, networkHeight / height);
  const [across, down] = [(width * scale) / networkWidth, (height * scale) / networkHeight];
  const shareOf = (value: number, part: number) => Math.min(1, Math.max(0, (value - (1 - part) / 2) / part));
  const all: Box[] = [];
  for (let place = 0; 2 * place < told.length; ++place) {
    const score = told[2 * place + 1] as number;
    if (score < leastScore) continue;
    const [left = 0, top = 0, right = 0, bottom = 0] = corners.subarray(4 * place, 4 * place + 4);
    const box = {
      left: shareOf(left, across),
      top: shareOf(top, down),
      right: shareOf(right, across),
      bottom: shareOf(bottom, down),
      class: 1,
      score,
    };
    if (box.right > box.left && box.bottom > box.top) all.push(box);
  }
  all.sort((a, b) => b.score - a.score);
  const kept: Box[] = [];
  for (const box of all) if (kept.every((other) => iou(box, other) <= mostOverlap)) kept.push(box);
  return kept;
}

/** A picture to look at, and the network's input for it. */
export interface Picture extends Size {
  name: string;
  /** Red, green, blue and opacity of each pixel. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Of the whole photograph: the picture that is shown may be smaller. */
  whole: Size;
  values: Float32Array<ArrayBuffer>;
}

export interface Seen {
  faces: readonly Box[];
  milliseconds: number;
}

/** The faces that a model finds in a picture. */
export async function look(session: Session, picture: Picture, signal: AbortSignal): Promise<Seen> {
  const [input = 'input'] = session.inputNames;
  const feeds = { [input]: new Tensor('float32', picture.values, [1, 3, networkHeight, networkWidth]) };
  const outputs = await session.run(feeds, { signal });
  return { faces: facesIn(outputs, picture), milliseconds: session.lastRunMs };
}

/** How the faces that two models find differ. */
export interface Difference {
  both: number;
  lost: number;
  added: number;
  /** The least overlap of two boxes around the same face (IoU); 1 where there are none. */
  overlap: number;
  /** The largest change of a score. */
  shift: number;
}

export function differenceOf(original: readonly Box[], quantized: readonly Box[]): Difference {
  const pairs = matched(original, quantized).flatMap((other, i) =>
    other ? [[original[i] as Box, other] as const] : [],
  );
  return {
    both: pairs.length,
    lost: original.length - pairs.length,
    added: quantized.length - pairs.length,
    overlap: Math.min(1, ...pairs.map(([a, b]) => iou(a, b))),
    shift: Math.max(0, ...pairs.map(([a, b]) => Math.abs(a.score - b.score))),
  };
}
