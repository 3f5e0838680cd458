// RIFF WAVE files: PCM of 8, 16, 24 and 32 bits, and IEEE floats of 32 and 64 bits.
import { ZeropointError } from '../errors.ts';

/** A sound: samples of each channel, and their rate. */
export interface Wav {
  sampleRate: number;
  channels: number;
  /** The mean of the channels, -1...1. */
  samples: Float32Array<ArrayBuffer>;
}

const text = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

export const isWav = (bytes: Uint8Array): boolean =>
  bytes.length >= 12 && text(bytes, 0) === 'RIFF' && text(bytes, 8) === 'WAVE';

interface Format {
  tag: number;
  channels: number;
  sampleRate: number;
  bits: number;
}

const floats = 3;
const extensible = 0xfffe;

type Read = (view: DataView, at: number) => number;

/** How one sample is read, by format tag and bits; 8-bit samples are unsigned, all others signed. */
const readers: Record<string, Read> = {
  '1:8': (v, at) => (v.getUint8(at) - 128) / 128,
  '1:16': (v, at) => v.getInt16(at, true) / 2 ** 15,
  '1:24': (v, at) => (v.getUint16(at, true) + v.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  '1:32': (v, at) => v.getInt32(at, true) / 2 ** 31,
  [`${floats}:32`]: (v, at) => v.getFloat32(at, true),
  [`${floats}:64`]: (v, at) => v.getFloat64(at, true),
};

/** A sound out of the bytes of a .wav file. Throws `invalid-sample` with the `name` of the file. */
export function readWav(bytes: Uint8Array, name = '.wav'): Wav {
  const fail = (problem: string) =>
    new ZeropointError('invalid-sample', `${name}: ${problem}`, { file: name });
  if (!isWav(bytes)) throw fail('not a .wav file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let format: Format | undefined;
  let data: { at: number; length: number } | undefined;
  for (let at = 12; at + 8 <= bytes.length && !data; ) {
    const id = text(bytes, at);
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    if (id === 'data') {
      // Recorders that were cut off leave 0 or 0xffffffff here: what follows is the data.
      const rest = bytes.length - start;
      if (length > rest && length !== 0xffffffff)
        throw fail(`the header announces ${length} bytes of sound, and the file has ${rest}`);
      data = { at: start, length: Math.min(length, rest) };
    } else if (id === 'fmt ') {
      if (length < 16 || start + length > bytes.length) throw fail('the format chunk is malformed');
      const tag = view.getUint16(start, true);
      format = {
        tag: tag === extensible && length >= 26 ? view.getUint16(start + 24, true) : tag,
        channels: view.getUint16(start + 2, true),
        sampleRate: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true),
      };
    }
    at = start + length + (length % 2); // chunks start at even places
  }
  if (!format) throw fail('there is no format chunk before the data');
  if (!data) throw fail('there is no data chunk');
  const { tag, bits, channels, sampleRate } = format;
  const read = readers[`${tag}:${bits}`];
  if (!read)
    throw fail(`format ${tag} with ${bits} bits cannot be read; PCM of 8, 16, 24, 32 bits and floats can`);
  if (channels < 1) throw fail('it has no channels');
  const frameBytes = (bits / 8) * channels;
  const frames = Math.floor(data.length / frameBytes);
  const samples = new Float32Array(frames);
  for (let i = 0; i < frames; ++i) {
    let sum = 0;
    for (let c = 0; c < channels; ++c) sum += read(view, data.at + i * frameBytes + (c * bits) / 8);
    samples[i] = sum / channels;
  }
  return { sampleRate, channels, samples };
}
