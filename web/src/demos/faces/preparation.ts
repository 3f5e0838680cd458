// How the network takes a picture: UltraFace subtracts 127 and divides by 128.
import type { ImageOptions } from 'zeropoint';

export const networkWidth = 320;
export const networkHeight = 240;

export const preparation: ImageOptions = {
  preset: 'unit',
  size: [networkHeight, networkWidth],
  mean: 127 / 255,
  std: 128 / 255,
  resize: 'contain',
};
