// A drawing, brought to the form of the digits that the network knows.
import { type Digit, side } from './data.ts';

/** Rows and columns of the canvas that is drawn on. */
export const canvasSide = 280;

/** The digits of MNIST fill a box of so many rows or columns, with their centre of mass in the middle. */
const boxSide = 20;

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

export function clear(context: Context): void {
  context.fillStyle = '#000';
  context.fillRect(0, 0, canvasSide, canvasSide);
}

/** A stroke between two points, or a dot where they are one. */
export function draw(context: Context, from: [number, number], to: [number, number]): void {
  context.strokeStyle = '#fff';
  context.lineWidth = canvasSide / 13;
  context.lineCap = 'round';
  context.lineJoin = 'round';
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/** Shows a digit, enlarged. */
export function show(context: Context, { grey }: Digit): void {
  const pixels = new ImageData(side, side);
  for (const [i, value] of grey.entries()) pixels.data.set([value, value, value, 255], 4 * i);
  const small = new OffscreenCanvas(side, side);
  small.getContext('2d')?.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvasSide, canvasSide);
}

/** Grey levels of a canvas: white is 255. */
function greyOf(context: Context, width: number): Uint8Array {
  const { data } = context.getImageData(0, 0, width, width);
  return Uint8Array.from({ length: width * width }, (_, i) => data[4 * i] as number);
}

/** The drawing as a digit; undefined: there is none. */
export function digitOf(canvas: HTMLCanvasElement, context: CanvasRenderingContext2D): Digit | undefined {
  const drawn = greyOf(context, canvasSide);
  let [left, top, right, bottom] = [canvasSide, canvasSide, 0, 0];
  let [mass, massX, massY] = [0, 0, 0];
  for (const [i, grey] of drawn.entries()) {
    if (grey === 0) continue;
    const [x, y] = [i % canvasSide, Math.floor(i / canvasSide)];
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y + 1);
    mass += grey;
    massX += grey * (x + 0.5);
    massY += grey * (y + 0.5);
  }
  if (mass === 0) return undefined;
  const scale = boxSide / Math.max(right - left, bottom - top);
  const small = new OffscreenCanvas(side, side).getContext('2d', { willReadFrequently: true });
  if (!small) return undefined;
  small.fillStyle = '#000';
  small.fillRect(0, 0, side, side);
  small.imageSmoothingQuality = 'high';
  small.drawImage(
    canvas,
    side / 2 - (massX / mass) * scale,
    side / 2 - (massY / mass) * scale,
    canvasSide * scale,
    canvasSide * scale,
  );
  return { label: undefined, grey: greyOf(small, side) };
}
