// Digits side by side as the pixels of one picture: it is drawn for each answer that comes in.
import { type Digit, side } from '../demos/digits/data.ts';
import type { Rgb } from '../theme.ts';

export const gap = 4;

/** What a digit's pixels can have: for each grey from paper to ink, the bytes of red, green, blue and opacity. */
export type Palette = Uint32Array;

export function paletteOf(paper: Rgb, ink: Rgb): Palette {
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let grey = 0; grey < 256; ++grey) {
    for (const c of [0, 1, 2] as const) bytes[4 * grey + c] = paper[c] + ((ink[c] - paper[c]) * grey) / 255;
    bytes[4 * grey + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/** `columns` digits in a row, with gaps that let through what is below. */
export function wallOf(
  digits: readonly Digit[],
  columns: number,
  paletteAt: (index: number, column: number) => Palette,
): { data: Uint8ClampedArray<ArrayBuffer>; width: number; height: number } {
  const tile = side + gap;
  const [width, height] = [columns * tile, Math.ceil(digits.length / columns) * tile];
  const pixels = new Uint32Array(width * height);
  digits.forEach(({ grey }, index) => {
    const column = index % columns;
    const palette = paletteAt(index, column);
    const first = (Math.floor(index / columns) * tile + gap / 2) * width + column * tile + gap / 2;
    for (let y = 0; y < side; ++y) {
      for (let x = 0; x < side; ++x) {
        pixels[first + y * width + x] = palette[grey[y * side + x] as number] as number;
      }
    }
  });
  return { data: new Uint8ClampedArray(pixels.buffer), width, height };
}
