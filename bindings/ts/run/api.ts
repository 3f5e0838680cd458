// The interface of zeropoint/run: the part of the package's interface that loads and runs models.
export * from '../common.ts';
export { readNpy } from '../samples/npy.ts';
export { readNpz } from '../samples/npz.ts';
export { Model } from './model.ts';
