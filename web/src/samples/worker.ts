// Reads, decodes and resizes files, away from the page's thread: a photograph of 12 megapixels takes a second.
import * as Comlink from 'comlink';
import { type ImageOptions, samplesInFile, type TensorLike, type ValueInfo, ZeropointError } from 'zeropoint';
import { sha256 } from '../digest.ts';
import { isImage, pictureOf } from './picture.ts';

export type Sample = Record<string, TensorLike>;

export interface Prepared {
  samples: Sample[];
  /** SHA-256 of the file. */
  digest: string | undefined;
  /** The first sample as the network sees it, where that is a picture. */
  picture: Blob | undefined;
}

/** Errors lose their class on the way between threads. */
export interface Refused {
  code: ZeropointError['code'];
  message: string;
  details: ZeropointError['details'];
}

async function prepare(
  file: File,
  inputs: readonly ValueInfo[],
  options: ImageOptions,
): Promise<Prepared | Refused> {
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const digest = await sha256(bytes);
    const found = await samplesInFile(bytes, file.name, inputs, options);
    const samples = found.map((sample) =>
      Object.fromEntries(
        Object.entries(sample).map(([name, { type, data, dims }]) => [name, { type, data, dims }]),
      ),
    ) as Sample[];
    const [first] = Object.values(samples[0] ?? {});
    const picture = first && isImage(file) ? await pictureOf(first, options) : undefined;
    const buffers = new Set(
      samples.flatMap((sample) =>
        Object.values(sample).flatMap(({ data }) =>
          ArrayBuffer.isView(data) ? [data.buffer as ArrayBuffer] : [],
        ),
      ),
    );
    return Comlink.transfer({ samples, digest, picture }, [...buffers]);
  } catch (error) {
    if (error instanceof ZeropointError) {
      return { code: error.code, message: error.message, details: error.details };
    }
    return { code: 'internal', message: error instanceof Error ? error.message : String(error), details: {} };
  }
}

const face = { prepare };
export type PrepareFace = typeof face;
Comlink.expose(face);
