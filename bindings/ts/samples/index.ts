// Samples out of people's files: arrays, images, sound, or nothing.
export {
  decodeImage,
  type ImageOptions,
  type ImagePreset,
  imagePresets,
  imageToTensor,
} from './image.ts';
export { labelsInFile } from './labels.ts';
export { imageSample, type SampleFile, type SampleOptions, samplesFromFiles, samplesInFile } from './load.ts';
export { readNpy, writeNpy } from './npy.ts';
export { readNpz, writeNpz } from './npz.ts';
export { concreteDims, type SyntheticOptions, syntheticSamples } from './synthetic.ts';
export { readWav, type Wav } from './wav.ts';
