// Lines of text as images: the demo shows some of them, and calibrates with others.
import { random } from '../random.ts';

export const lineHeight = 48;

const families = ['sans-serif', 'serif', 'monospace'];
const words =
  'harbour quiet signal 2026 market window paper north 48 bridge copper garden Invoice total 19.90 river stone Monday light field 7 orange Platform departure 10:42 winter camera'.split(
    ' ',
  );

export interface LineStyle {
  family: string;
  weight: number;
  size: number;
  ink: string;
  paper: string;
  /** Standard deviation of the noise, in grey levels. */
  noise: number;
  /** Degrees. */
  tilt: number;
}

export const plain: LineStyle = {
  family: 'sans-serif',
  weight: 400,
  size: 30,
  ink: '#1b1b1b',
  paper: '#ffffff',
  noise: 0,
  tilt: 0,
};

/** A line of text, `lineHeight` high and as wide as it needs. */
export function drawLine(text: string, style: LineStyle, next: () => number = random(1)): ImageData {
  const font = `${style.weight} ${style.size}px ${style.family}`;
  const canvas = new OffscreenCanvas(16, lineHeight);
  const measuring = canvas.getContext('2d');
  if (!measuring) throw new Error('this browser gives no canvas to draw on');
  measuring.font = font;
  canvas.width = Math.min(1280, Math.max(48, Math.ceil(measuring.measureText(text).width) + 24));
  const context = canvas.getContext('2d', { willReadFrequently: true }) as OffscreenCanvasRenderingContext2D;
  context.fillStyle = style.paper;
  context.fillRect(0, 0, canvas.width, lineHeight);
  context.translate(canvas.width / 2, lineHeight / 2);
  context.rotate((style.tilt * Math.PI) / 180);
  context.font = font;
  context.fillStyle = style.ink;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(text, 0, 1, canvas.width - 12);
  const image = context.getImageData(0, 0, canvas.width, lineHeight);
  if (style.noise > 0) {
    for (let i = 0; i < image.data.length; i += 4) {
      const shift = (next() + next() + next() - 1.5) * 2 * style.noise;
      for (let c = 0; c < 3; ++c) image.data[i + c] = (image.data[i + c] ?? 0) + shift;
    }
  }
  return image;
}

/** The `index`-th line to calibrate with: other words, fonts, colours and noise each time, the same in every run. */
export function calibrationLine(index: number): ImageData {
  const next = random(index + 17);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const text = Array.from({ length: 2 + Math.floor(next() * 3) }, () => pick(words)).join(' ');
  const dark = next() < 0.2;
  const grey = (from: number, to: number) => {
    const level = Math.round(from + next() * (to - from));
    return `rgb(${level} ${level} ${level})`;
  };
  return drawLine(
    text,
    {
      family: pick(families),
      weight: pick([400, 400, 700]),
      size: 24 + Math.floor(next() * 12),
      ink: dark ? grey(200, 255) : grey(0, 90),
      paper: dark ? grey(0, 70) : grey(190, 255),
      noise: next() * 14,
      tilt: (next() - 0.5) * 3,
    },
    next,
  );
}
