// People who do not exist, drawn by arithmetic: the demo begins with them, and calibrates with them. A photograph would show
// somebody, and belong to somebody.
import type { RgbaImage } from 'zeropoint';
import { random } from '../random.ts';

type Colour = readonly [red: number, green: number, blue: number];

interface Person {
  /** The middle of the face, in pixels, and half of its height. */
  x: number;
  y: number;
  size: number;
  /** In radians. */
  tilt: number;
  /** Where the face looks: -1 left, 1 right. */
  turn: number;
  skin: Colour;
  hair: Colour;
  clothes: Colour;
  /** How far the hair comes down, 0...1. */
  long: number;
  /** How wide the mouth is open, 0...1. */
  open: number;
  glasses: boolean;
  beard: boolean;
  /** Where the light comes from: -1 left, 1 right. */
  light: number;
}

const skins: readonly Colour[] = [
  [238, 200, 175],
  [224, 178, 146],
  [198, 148, 112],
  [164, 112, 80],
  [122, 80, 56],
  [92, 60, 44],
];
const hairs: readonly Colour[] = [
  [28, 22, 20],
  [62, 42, 30],
  [104, 70, 42],
  [176, 136, 82],
  [140, 136, 132],
];
const cloths: readonly Colour[] = [
  [52, 74, 110],
  [150, 58, 52],
  [70, 100, 78],
  [214, 208, 196],
  [44, 44, 50],
  [196, 150, 64],
];

const clamp = (x: number, low = 0, high = 1) => Math.min(high, Math.max(low, x));
/** 1 inside, 0 outside, and soft between: `distance` is negative inside, `softness` half as wide as the edge. */
const inside = (distance: number, softness: number) => clamp(0.5 - distance / (2 * softness));
/** A hill of height 1 around a point. */
const hill = (u: number, v: number, width: number, height: number) =>
  Math.exp(-((u / width) ** 2 + (v / height) ** 2));
/** Below 0 in an ellipse. */
const ellipse = (u: number, v: number, width: number, height: number) =>
  (Math.hypot(u / width, v / height) - 1) * Math.min(width, height);

/** Draws a person over the picture. Coordinates of a face: u to its left and right, v down, 1 is half of its height. */
function drawPerson({ data, width, height }: RgbaImage, person: Person): void {
  const { size, tilt, turn, skin, hair, clothes, long, open, light } = person;
  const [cos, sin] = [Math.cos(tilt), Math.sin(tilt)];
  const edge = 1 / size;
  const left = Math.max(0, Math.floor(person.x - 2 * size));
  const right = Math.min(width, Math.ceil(person.x + 2 * size));
  const top = Math.max(0, Math.floor(person.y - 1.7 * size));
  const pixel: [number, number, number] = [0, 0, 0];
  const put = (colour: Colour, share: number, shade = 1) => {
    if (share <= 0) return;
    for (let c = 0; c < 3; ++c)
      pixel[c] = (pixel[c] as number) * (1 - share) + (colour[c] as number) * shade * share;
  };
  for (let y = top; y < height; ++y) {
    for (let x = left; x < right; ++x) {
      const [dx, dy] = [(x - person.x) / size, (y - person.y) / size];
      const [u, v] = [dx * cos + dy * sin, dy * cos - dx * sin];
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; ++c) pixel[c] = data[at + c] as number;

      const fold = 0.94 + 0.06 * Math.sin(6 * u + 2 * v);
      // Shoulders, which do not lean with the head, hair behind the face, neck.
      const body = dy < 2.75 ? ellipse(dx, dy - 2.75, 1.85, 1.35) : Math.abs(dx) - 1.85;
      put(clothes, inside(body, edge), fold * (0.8 + 0.2 * light * u));
      const back = Math.min(
        ellipse(u, v + 0.2, 0.88, 1.02),
        Math.max(Math.abs(u) - 0.84, v - 0.2 - long, -v - 0.2),
      );
      const strand = 0.9 + 0.1 * Math.sin(46 * u + 5 * Math.sin(4 * v));
      put(hair, inside(back, 2 * edge), 0.85 * strand);
      const neck = Math.max(Math.abs(u) - 0.38 - 0.1 * clamp(v - 0.9), 0.5 - v, v - 1.55);
      put(skin, inside(neck, 2 * edge), 0.72 - 0.18 * hill(u, v - 0.95, 0.6, 0.22));
      put(skin, inside(ellipse(Math.abs(u) - 0.74, v - 0.02, 0.1, 0.2), 2 * edge), 0.75);

      // The face: an egg, lit from one side. Its parts move as it turns.
      const narrow = 0.74 - 0.2 * clamp(v) ** 2;
      const head = ellipse(u, v, narrow, 0.98);
      const cover = inside(head, 2 * edge);
      if (cover > 0) {
        const across = clamp(u / narrow, -1, 1);
        const depth = Math.sqrt(Math.max(0, 1 - across ** 2 - (v / 0.98) ** 2));
        let shade = 0.7 + 0.3 * depth + 0.16 * light * across - 0.1 * v;
        const p = u - 0.22 * turn * depth;
        const q = Math.abs(p);
        // Sockets, the sides of the nose and what is under it, under the lip, cheeks.
        shade -= 0.3 * hill(q - 0.27, v + 0.14, 0.17, 0.1);
        shade -= 0.12 * hill(q - 0.1, v - 0.1, 0.05, 0.16);
        shade += 0.12 * hill(p, v - 0.08, 0.045, 0.2);
        shade -= 0.22 * hill(p, v - 0.33, 0.13, 0.045);
        shade -= 0.14 * hill(p, v - 0.68, 0.17, 0.05);
        shade += 0.08 * hill(q - 0.4, v - 0.22, 0.16, 0.14);
        const fringe = inside(
          v + 0.56 - 0.3 * (u + 0.25 * turn) ** 2 - 0.04 * Math.sin(13 * u + 2),
          3 * edge,
        );
        put(skin, cover * (1 - fringe), shade);
        put([178, 84, 72], 0.16 * cover * hill(q - 0.42, v - 0.26, 0.18, 0.14), shade);
        if (person.beard) {
          const beard = clamp(4 * (v - 0.36 - 0.25 * (1 - Math.min(1, 2 * q)))) * (v > 0.3 ? 1 : 0);
          put(hair, 0.75 * cover * beard, 0.9 * strand);
        }
        put([30, 16, 14], 0.75 * inside(ellipse(q - 0.055, v - 0.3, 0.035, 0.018), edge));
        // Eyes: white, iris, pupil, a light in it, the lid over them.
        const eye = inside(ellipse(q - 0.27, v + 0.12, 0.13, 0.062), 1.5 * edge);
        put([236, 232, 226], eye, 0.9);
        const look = p - Math.sign(p) * 0.27 - 0.03 * turn;
        put(hair, eye * inside(ellipse(look, v + 0.12, 0.062, 0.062), 1.5 * edge), 0.8);
        put([12, 10, 10], eye * inside(ellipse(look, v + 0.12, 0.032, 0.032), edge));
        put([255, 255, 255], 0.8 * eye * hill(look - 0.02, v + 0.14, 0.014, 0.014));
        const lid = Math.abs(v + 0.185 - 1.6 * (q - 0.27) ** 2) - 0.014;
        put([30, 20, 18], 0.85 * inside(Math.max(lid, Math.abs(q - 0.27) - 0.15), 1.5 * edge));
        const brow = Math.abs(v + 0.33 - 1.1 * (q - 0.24) ** 2) - 0.03;
        put(hair, 0.85 * inside(Math.max(brow, Math.abs(q - 0.28) - 0.17), 2 * edge), 0.8);
        // The mouth: lips, and the gap between them.
        const smile = v - 0.53 + 0.5 * q ** 2;
        put([168, 70, 66], 0.8 * inside(ellipse(p, smile, 0.25, 0.07 + 0.06 * open), 2 * edge), shade);
        put([70, 22, 22], inside(ellipse(p, smile, 0.22, 0.014 + 0.05 * open), 1.5 * edge));
        put([236, 230, 222], open * inside(ellipse(p, smile + 0.02, 0.17, 0.02), edge));
        if (person.glasses) {
          const rim = Math.abs(Math.hypot((q - 0.28) / 1.15, v + 0.1) - 0.19) - 0.016;
          const bridge = Math.max(Math.abs(v + 0.12) - 0.016, q - 0.08);
          const arm = Math.max(Math.abs(v + 0.13) - 0.016, 0.48 - q);
          put([26, 26, 30], 0.9 * cover * inside(Math.min(rim, bridge, arm), edge));
        }
        put(hair, cover * fringe, 0.85 * strand); // over the forehead
      }
      for (let c = 0; c < 3; ++c) data[at + c] = pixel[c] as number;
    }
  }
}

/** A wall with a few things on it, out of focus. */
function drawRoom({ data, width, height }: RgbaImage, next: () => number): void {
  const grey = () => 60 + 150 * next();
  const tint = (level: number): Colour => [
    level + 30 * next() - 15,
    level + 30 * next() - 15,
    level + 30 * next() - 15,
  ];
  const [wall, floor] = [tint(grey()), tint(grey())];
  const things = Array.from({ length: 3 + Math.floor(5 * next()) }, () => ({
    x: next() * width,
    y: next() * height,
    w: (0.05 + 0.25 * next()) * width,
    h: (0.05 + 0.35 * next()) * height,
    colour: tint(grey()),
  }));
  const soft = 0.012 * width;
  const pixel: [number, number, number] = [0, 0, 0];
  for (let y = 0; y < height; ++y) {
    for (let x = 0; x < width; ++x) {
      const down = y / height;
      const at = 4 * (y * width + x);
      for (let c = 0; c < 3; ++c) {
        pixel[c] = (wall[c] as number) * (1 - down) + (floor[c] as number) * down;
      }
      for (const { x: left, y: top, w, h, colour } of things) {
        const share = inside(Math.max(Math.abs(x - left) - w / 2, Math.abs(y - top) - h / 2), soft);
        if (share === 0) continue;
        for (let c = 0; c < 3; ++c)
          pixel[c] = (pixel[c] as number) * (1 - share) + (colour[c] as number) * share;
      }
      for (let c = 0; c < 3; ++c) data[at + c] = pixel[c] as number;
      data[at + 3] = 255;
    }
  }
}

/** Noise as cameras have it. */
function addNoise({ data }: RgbaImage, deviation: number, next: () => number): void {
  for (let i = 0; i < data.length; i += 4) {
    const shift = (next() + next() + next() - 1.5) * 2 * deviation;
    for (let c = 0; c < 3; ++c) data[i + c] = (data[i + c] as number) + shift;
  }
}

function someone(next: () => number): Omit<Person, 'x' | 'y' | 'size'> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  return {
    tilt: (next() - 0.5) * 0.5,
    turn: (next() - 0.5) * 1.6,
    skin: pick(skins),
    hair: pick(hairs),
    clothes: pick(cloths),
    long: next() < 0.5 ? 0 : 0.4 + 0.8 * next(),
    open: next() < 0.4 ? next() : 0,
    glasses: next() < 0.25,
    beard: next() < 0.2,
    light: 2 * next() - 1,
  };
}

const blank = (width: number, height: number): RgbaImage => ({
  data: new Uint8ClampedArray(4 * width * height),
  width,
  height,
});

/** The picture that the demo begins with: five people side by side. */
export function drawGroup(width = 960, height = 540): RgbaImage {
  const image = blank(width, height);
  const next = random(26);
  drawRoom(image, next);
  const places = [
    [0.3, 0.36, 0.1],
    [0.69, 0.34, 0.105],
    [0.12, 0.5, 0.14],
    [0.88, 0.52, 0.135],
    [0.5, 0.5, 0.17],
  ] as const;
  for (const [i, [x, y, size]] of places.entries()) {
    drawPerson(image, {
      ...someone(next),
      tilt: (next() - 0.5) * 0.2,
      skin: skins[(2 * i + 1) % skins.length] as Colour,
      hair: hairs[i % hairs.length] as Colour,
      clothes: cloths[i % cloths.length] as Colour,
      x: x * width,
      y: y * height,
      size: size * width * 0.75,
    });
  }
  addNoise(image, 3, next);
  return image;
}

/** The `index`-th picture to calibrate with: other people, places, light and noise each time, the same in every run. */
export function drawSample(index: number, width: number, height: number): RgbaImage {
  const next = random(index + 101);
  const image = blank(width, height);
  drawRoom(image, next);
  const count = 1 + Math.floor(next() * 4);
  for (let i = 0; i < count; ++i) {
    const size = (height * (0.12 + 0.25 * next())) / Math.sqrt(count);
    drawPerson(image, {
      ...someone(next),
      x: (width * (i + 0.5 + 0.4 * (next() - 0.5))) / count,
      y: height * (0.3 + 0.4 * next()),
      size,
    });
  }
  const bright = 0.6 + 0.7 * next();
  for (let i = 0; i < image.data.length; ++i) {
    if (i % 4 !== 3) image.data[i] = (image.data[i] as number) * bright;
  }
  addNoise(image, 10 * next(), next);
  return image;
}
