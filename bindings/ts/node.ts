// The package in Node: the same as in browsers, with files, sharp for images, and worker threads.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { messageOf, ZeropointError } from './errors.ts';
import { nodeFiles } from './node-files.ts';
import { type RgbaImage, setPlatform } from './platform.ts';

async function decodeImage(bytes: Uint8Array): Promise<RgbaImage> {
  let sharp: typeof import('sharp')['default'];
  try {
    ({ default: sharp } = await import('sharp'));
  } catch (error) {
    throw new ZeropointError(
      'invalid-sample',
      `images are read with the package 'sharp', which could not be loaded: ${messageOf(error)}`,
      { hint: 'npm install sharp, or give the samples as .npy or .npz' },
      { cause: error },
    );
  }
  const { data, info } = await sharp(bytes)
    .rotate() // as the camera was held: browsers do the same
    .toColourspace('srgb')
    .ensureAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}

setPlatform({
  ...nodeFiles,
  decodeImage,
  cores: availableParallelism,
  startThread() {
    const thread = new Worker(new URL('./thread.js', import.meta.url));
    const endpoint = nodeEndpoint(thread);
    return {
      ...endpoint,
      addEventListener(...args: Parameters<typeof endpoint.addEventListener>) {
        endpoint.addEventListener(...args);
        thread.unref(); // each listener counts as a reason to stay alive
      },
    };
  },
});

export * from './index.ts';
