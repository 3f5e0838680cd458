// The package in Node: the same as in browsers, with files, sharp for images, and worker threads.
import * as local from './engine/local.ts';
import { messageOf, ZeropointError } from './errors.ts';
import { nodePlatform } from './node-threads.ts';
import { type RgbaImage, setPlatform } from './platform.ts';

/** npx puts packages in a folder of its own, where what is installed in the project is not found. */
const isUnderNpx = /[\\/]_npx[\\/]/.test(import.meta.url);

async function decodeImage(bytes: Uint8Array): Promise<RgbaImage> {
  let sharp: typeof import('sharp')['default'];
  try {
    ({ default: sharp } = await import('sharp'));
  } catch (error) {
    throw new ZeropointError(
      'invalid-sample',
      `images are read with the package 'sharp', which could not be loaded: ${messageOf(error)}`,
      {
        hint: isUnderNpx
          ? 'with npx: npx --package=zeropoint --package=sharp zeropoint ...; or give the samples as .npy or .npz'
          : 'npm install sharp, or give the samples as .npy or .npz',
      },
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

setPlatform({ ...nodePlatform, decodeImage, loadLocal: () => local });

export * from './api.ts';
