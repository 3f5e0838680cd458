// Handwritten digits as tools/digits.mjs packs them: a byte that says which one it is, and 28 × 28 of grey; gzip.
import { Tensor } from 'zeropoint';
import testUrl from '../../../../build/digits/test.bin?url';
import trainingUrl from '../../../../build/digits/training.bin?url';
import { packed } from '../demo.ts';

/** Rows and columns of an image. */
export const side = 28;

export interface Digit {
  /** 0...9, where it is known. */
  label: number | undefined;
  /** `side` × `side` of grey: 0 is paper, 255 ink. */
  grey: Uint8Array;
}

async function unpack(url: string): Promise<(Digit & { label: number })[]> {
  const file = new Blob([await packed(url, 'digits')]);
  const unpacked = new Response(file.stream().pipeThrough(new DecompressionStream('gzip')));
  const bytes = new Uint8Array(await unpacked.arrayBuffer());
  const each = 1 + side * side;
  return Array.from({ length: bytes.length / each }, (_, i) => ({
    label: bytes[i * each] as number,
    grey: bytes.subarray(i * each + 1, (i + 1) * each),
  }));
}

/** Loads on the first call, and again after a failure. */
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | undefined;
  return () => {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
}

/** Some that the network was trained on. */
export const trainingDigits = once(() => unpack(trainingUrl));
/** Some that it never saw. */
export const testDigits = once(() => unpack(testUrl));

/** The network's input for one digit or several: 0...1. */
export function digitsTensor(digits: readonly Digit[]): Tensor<'float32'> {
  const data = new Float32Array(digits.length * side * side);
  digits.forEach(({ grey }, i) => {
    const first = i * side * side;
    // A loop: Float32Array.from with a function takes far longer, and digits come by the hundred.
    for (let at = 0; at < grey.length; ++at) data[first + at] = (grey[at] as number) / 255;
  });
  return new Tensor('float32', data, [digits.length, 1, side, side]);
}
