// Speech, and spectra as the speech models of others want them.
import { execFileSync } from 'node:child_process';
import { phrase, randomFrom, voice } from '../lib/inputs.mjs';

const rate = 16000;

/** espeak-ng's samples, from 22,050 Hz to 16,000, as 16-bit numbers. */
function said(text, random) {
  const voices = ['en', 'en-us', 'en-gb-scotland', 'en-us+f3', 'en+m7', 'en+f2'];
  const how = ['-v', voices[random(voices.length)], '-s', `${140 + random(50)}`, '-p', `${30 + random(45)}`];
  const wav = execFileSync('espeak-ng', [...how, '--stdout', text], { maxBuffer: 2 ** 26 });
  const at = wav.indexOf('data') + 8;
  const { buffer, byteLength } = Uint8Array.from(wav.subarray(at, wav.length - ((wav.length - at) % 2)));
  const source = new Int16Array(buffer, 0, byteLength / 2);
  const step = 22050 / rate;
  return Float32Array.from({ length: Math.floor(source.length / step) - 1 }, (_, i) => {
    const [whole, part] = [Math.floor(i * step), (i * step) % 1];
    return Math.round(source[whole] * (1 - part) + source[whole + 1] * part);
  });
}

let speaks;
/** Whether espeak-ng is installed. Without it there is only something like a voice. */
export function canSpeak() {
  try {
    speaks ??= execFileSync('espeak-ng', ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] }).length > 0;
  } catch {
    speaks = false;
  }
  return speaks;
}

/**
 * So many seconds of speech at 16 kHz, as 16-bit numbers, in a quiet room. `text`: what is said last, and ends a fifth of a
 * second before the end.
 */
export function speech(seconds, seed, text) {
  if (!canSpeak()) return voice(seconds, seed);
  const random = randomFrom(seed + 4000);
  const length = Math.round(seconds * rate);
  const samples = new Float32Array(length);
  const loud = 0.2 + random(50) / 100;
  let end = length - rate / 5;
  for (let saying = text ?? phrase(random, 6); end > 0; saying = phrase(random, 6)) {
    const sound = said(saying, random);
    for (let i = 0; i < sound.length; ++i) {
      const at = end - sound.length + i;
      if (at >= 0) samples[at] = Math.round(loud * sound[i]);
    }
    end -= sound.length + rate / 5 + random(rate / 2);
  }
  for (let i = 0; i < length; ++i) samples[i] += random(41) - 20;
  return samples;
}

/** Hann or Hamming, periodic. */
const windows = {
  hann: (length) => Float64Array.from({ length }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length)),
  hamming: (length) =>
    Float64Array.from({ length }, (_, i) => 0.54 - 0.46 * Math.cos((2 * Math.PI * i) / length)),
};

/** Power spectra of the frames: `frames` rows of size / 2 + 1 bins. Frames begin at `offset`; outside there is silence. */
export function powerSpectra(samples, { size, hop, frames, window = 'hann', offset = 0 }) {
  const bins = Math.floor(size / 2) + 1;
  const weights = windows[window](size);
  const cos = Float64Array.from({ length: size }, (_, i) => Math.cos((2 * Math.PI * i) / size));
  const sin = Float64Array.from({ length: size }, (_, i) => Math.sin((2 * Math.PI * i) / size));
  const powers = new Float32Array(frames * bins);
  const frame = new Float64Array(size);
  for (let f = 0; f < frames; ++f) {
    for (let i = 0; i < size; ++i) frame[i] = (samples[offset + f * hop + i] ?? 0) * weights[i];
    for (let k = 0; k < bins; ++k) {
      let re = 0;
      let im = 0;
      for (let i = 0, at = 0; i < size; ++i) {
        re += frame[i] * cos[at];
        im += frame[i] * sin[at];
        at += k;
        if (at >= size) at -= size;
      }
      powers[f * bins + k] = re * re + im * im;
    }
  }
  return { powers, bins };
}

const toMel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
const toHertz = (mel) => 700 * (10 ** (mel / 2595) - 1);

/** Triangles whose middles lie evenly on the mel scale; each has the same area. */
export function melBands(powers, bins, frames, bands, sampleRate) {
  const edges = Array.from({ length: bands + 2 }, (_, i) =>
    toHertz((toMel(sampleRate / 2) * i) / (bands + 1)),
  );
  const hertz = sampleRate / 2 / (bins - 1);
  const mel = new Float32Array(frames * bands);
  for (let b = 0; b < bands; ++b) {
    const [low, middle, high] = edges.slice(b, b + 3);
    for (let k = Math.ceil(low / hertz); k < bins && k * hertz < high; ++k) {
      const at = k * hertz;
      const height =
        Math.min((at - low) / (middle - low), (high - at) / (high - middle)) * (2 / (high - low));
      for (let f = 0; f < frames; ++f) mel[f * bands + b] += height * powers[f * bins + k];
    }
  }
  return mel;
}

/** Decibels below the loudest, at most 80, as 40 dB around 0: (dB + 40) / 40. */
export function relativeDecibels(powers) {
  const loudest = powers.reduce((most, value) => Math.max(most, value), 1e-10);
  return powers.map((value) => (Math.max(-80, 10 * Math.log10(Math.max(value, 1e-10) / loudest)) + 40) / 40);
}
