// Resizing with a triangle filter that widens as the image shrinks (bilinear with antialiasing, as Pillow and
// torchvision do), so that a sample is the same whatever decoded it, in every browser and in Node.

export interface Pixels {
  /** Red, green, blue, in turn, 0...255. */
  data: Float32Array<ArrayBuffer>;
  width: number;
  height: number;
}

interface Taps {
  first: number;
  weights: Float32Array;
}

function tapsFor(from: number, to: number): Taps[] {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.max(first + 1, Math.floor(centre + support + 0.5)));
    const weights = Float32Array.from({ length: last - first }, (_, k) =>
      Math.max(0, 1 - Math.abs((first + k + 0.5 - centre) / support)),
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
}

/** Filters one direction: `lines` lines of `from` pixels, `step` floats apart, `pitch` floats between lines. */
function filter(
  source: Float32Array,
  target: Float32Array,
  taps: Taps[],
  lines: number,
  [sourceStep, sourcePitch]: [number, number],
  [targetStep, targetPitch]: [number, number],
): void {
  for (let line = 0; line < lines; ++line) {
    for (const [i, { first, weights }] of taps.entries()) {
      for (let c = 0; c < 3; ++c) {
        let sum = 0;
        let at = line * sourcePitch + first * sourceStep + c;
        for (const weight of weights) {
          sum += weight * (source[at] as number);
          at += sourceStep;
        }
        target[line * targetPitch + i * targetStep + c] = sum;
      }
    }
  }
}

export function resize(image: Pixels, width: number, height: number): Pixels {
  let current = image;
  if (width !== current.width) {
    const data = new Float32Array(width * current.height * 3);
    filter(
      current.data,
      data,
      tapsFor(current.width, width),
      current.height,
      [3, current.width * 3],
      [3, width * 3],
    );
    current = { data, width, height: current.height };
  }
  if (height !== current.height) {
    const data = new Float32Array(width * height * 3);
    filter(current.data, data, tapsFor(current.height, height), width, [width * 3, 3], [width * 3, 3]);
    current = { data, width, height };
  }
  return current;
}

/** A part of an image; where it reaches outside, `fill`. */
export function crop(
  image: Pixels,
  x: number,
  y: number,
  width: number,
  height: number,
  fill: number,
): Pixels {
  const data = new Float32Array(width * height * 3).fill(fill);
  const left = Math.max(0, -x);
  const right = Math.min(width, image.width - x);
  for (let row = Math.max(0, -y); row < Math.min(height, image.height - y); ++row) {
    const from = ((y + row) * image.width + x + left) * 3;
    data.set(image.data.subarray(from, from + Math.max(0, right - left) * 3), (row * width + left) * 3);
  }
  return { data, width, height };
}
