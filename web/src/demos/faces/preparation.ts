// How the network takes a picture.
import type { ImageOptions } from 'zeropoint';

export const networkWidth = 320;
export const networkHeight = 240;

export const preparation: ImageOptions = {
  preset: 'unit',
  size: [networkHeight, networkWidth],
  mean: 0.5,
  std: 0.5,
  resize: 'contain',
};
