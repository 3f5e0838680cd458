// Made-up sounds: the demo listens to them before the visitor brings a sound, and calibrates with them. Speech is syllables
// without a meaning, from a voice that goes through the formants of a mouth (after Klatt 1980).
import { soundRate as rate } from '../../samples/sound.ts';
import { random } from '../random.ts';

type Three = readonly [number, number, number];

/** Frequencies of the first three formants of vowels, in Hz (Peterson and Barney 1952). */
const vowels: readonly Three[] = [
  [730, 1090, 2440],
  [270, 2290, 3010],
  [300, 870, 2240],
  [530, 1840, 2480],
  [570, 840, 2410],
  [660, 1720, 2410],
  [490, 1350, 1690],
];

/** What the voice does at a moment; between two moments everything changes evenly. */
interface Moment {
  /** Seconds. */
  at: number;
  /** Hz. */
  pitch: number;
  formants: Three;
  /** How loud the vocal cords and the hiss of air are, 0...1. */
  voice: number;
  hiss: number;
  /** Where the hiss is loudest, in Hz. */
  hissAt: number;
}

/** Lets frequencies near one through (Klatt 1980, equation 2). */
class Resonator {
  #a = 0;
  #b = 0;
  #c = 0;
  #before = 0;
  #twoBefore = 0;

  /** `width`: of the frequencies that come through. Both in Hz. */
  tune(frequency: number, width: number): void {
    this.#c = -Math.exp((-2 * Math.PI * width) / rate);
    this.#b = 2 * Math.exp((-Math.PI * width) / rate) * Math.cos((2 * Math.PI * frequency) / rate);
    this.#a = 1 - this.#b - this.#c;
  }

  next(value: number): number {
    const result = this.#a * value + this.#b * this.#before + this.#c * this.#twoBefore;
    [this.#before, this.#twoBefore] = [result, this.#before];
    return result;
  }
}

/** Syllables, one after the other, for so many seconds. */
function syllables(seconds: number, next: () => number): Moment[] {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const deep = 95 + 110 * next();
  const moments: Moment[] = [];
  let at = 0;
  const add = (length: number, moment: Omit<Moment, 'at' | 'pitch'>, lift = 1) => {
    const pitch = deep * lift * (1 - 0.18 * (at / seconds));
    moments.push({ at: at + Math.min(0.02, length / 3), pitch, ...moment });
    at += length;
    moments.push({ at, pitch, ...moment });
  };
  const quiet = { voice: 0, hiss: 0, hissAt: 3000 };
  while (at < seconds) {
    const formants = pick(vowels);
    const consonant = pick(['hiss', 'hush', 'stop', 'nose', 'glide']);
    if (consonant === 'hiss') add(0.09, { ...quiet, formants, hiss: 0.4, hissAt: 5500 });
    else if (consonant === 'hush') add(0.09, { ...quiet, formants, hiss: 0.4, hissAt: 2800 });
    else if (consonant === 'stop') {
      add(0.05, { ...quiet, formants });
      add(0.015, { ...quiet, formants, hiss: 0.6 });
    } else if (consonant === 'nose') add(0.07, { ...quiet, formants: [250, 1100, 2300], voice: 0.4 });
    else add(0.06, { ...quiet, formants: [350, 1200, 1800], voice: 0.6 });
    add(0.1 + 0.1 * next(), { ...quiet, formants, voice: 1, hiss: 0.01 }, 0.95 + 0.3 * next());
    if (next() < 0.15) add(0.08, { ...quiet, formants });
  }
  return moments;
}

/** The mouth moves once in so many samples. */
const pace = 40;
/** Of the five formants, in Hz; the last two stay where they are. */
const widths = [60, 90, 150, 250, 300];
const still = [3500, 4500];

function speech(seconds: number, next: () => number): Float32Array {
  const moments = syllables(seconds, next);
  const throat = widths.map(() => new Resonator());
  const teeth = new Resonator();
  const sound = new Float32Array(Math.round(seconds * rate));
  let [index, phase, voice, hiss, pitch] = [0, 0, 0, 0, 0];
  for (let i = 0; i < sound.length; ++i) {
    if (i % pace === 0) {
      const now = i / rate;
      while (index < moments.length - 1 && (moments[index + 1] as Moment).at <= now) index += 1;
      const a = moments[index] as Moment;
      const b = moments[index + 1] ?? a;
      const share = b.at > a.at ? Math.min(1, Math.max(0, (now - a.at) / (b.at - a.at))) : 0;
      const between = (x: number, y: number) => x + share * (y - x);
      voice = between(a.voice, b.voice);
      hiss = between(a.hiss, b.hiss);
      pitch = between(a.pitch, b.pitch) * (1 + 0.02 * (next() - 0.5));
      const places = [...a.formants.map((place, k) => between(place, b.formants[k] as number)), ...still];
      throat.forEach((each, k) => {
        each.tune(places[k] as number, widths[k] as number);
      });
      teeth.tune(between(a.hissAt, b.hissAt), 1500);
    }
    phase = (phase + pitch / rate) % 1;
    // The vocal cords open, and close with a snap.
    const open = phase / 0.6;
    const noise = next() - 0.5;
    let value = voice * ((open < 1 ? open * (2 - 3 * open) : 0) + 0.05 * noise);
    for (const each of throat) value = each.next(value);
    sound[i] = value + teeth.next(hiss * noise);
  }
  return sound;
}

/** Notes of a glass that is struck. */
function music(seconds: number, next: () => number): Float32Array {
  const beat = 0.32;
  const notes = Array.from(
    { length: Math.ceil(seconds / beat) },
    () => 1047 * 2 ** (Math.floor(next() * 8) / 12),
  );
  return Float32Array.from({ length: Math.round(seconds * rate) }, (_, i) => {
    const now = i / rate;
    const turns = 2 * Math.PI * (notes[Math.floor(now / beat)] as number) * now;
    return Math.exp(-9 * (now % beat)) * (Math.sin(turns) + 0.4 * Math.sin(2.76 * turns));
  });
}

/** The hiss of air, as in a car. */
function noise(seconds: number, next: () => number): Float32Array {
  let smooth = 0;
  return Float32Array.from({ length: Math.round(seconds * rate) }, () => {
    smooth += 0.2 * (next() - 0.5 - smooth);
    return smooth;
  });
}

const makers = { speech, music, noise, quiet: (seconds: number) => new Float32Array(seconds * rate) };

/** The sounds in their order, and how many seconds each of them lasts. */
export type Score = readonly (readonly [keyof typeof makers, number])[];

/** The sounds of a score, one after the other, -1...1, in a room that is never quite still. */
export function play(score: Score, seed: number, loudness = 0.4): Float32Array<ArrayBuffer> {
  const next = random(seed);
  const parts = score.map(([kind, seconds]) => {
    const part = makers[kind](seconds, next);
    const most = part.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
    return most ? part.map((value) => (loudness * value) / most) : part;
  });
  const sound = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    sound.set(part, at);
    at += part.length;
  }
  return sound.map((value) => value + 0.004 * (next() - 0.5));
}

export const first: Score = [
  ['quiet', 0.8],
  ['speech', 2.4],
  ['quiet', 0.8],
  ['music', 1.6],
  ['quiet', 0.4],
  ['speech', 2],
  ['noise', 1.2],
  ['quiet', 0.6],
];

/** The `index`-th sound to calibrate with: another voice and another loudness each time, the same in every run. */
export const calibrationSound = (index: number): Float32Array<ArrayBuffer> =>
  play(
    [
      ['quiet', 0.3],
      ['speech', 1.4],
      [index % 2 ? 'noise' : 'music', 0.6],
      ['speech', 0.9],
    ],
    index + 101,
    0.1 + 0.2 * (index % 4),
  );
