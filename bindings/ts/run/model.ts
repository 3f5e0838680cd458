import { LoadedModel, type LoadOptions, loadModel } from '../loaded.ts';
import type { ModelSource } from '../source.ts';

/** An ONNX model, to be run: a float one, or one that is quantized. */
export class Model extends LoadedModel {
  /**
   * Reads a model from bytes, a Blob or File, a Response, a URL or (in Node) a file's path. Bytes are copied in the call and stay the
   * caller's. Weights in other files are found beside a path or an address; else they are given as `externalData`.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    return new Model(await loadModel(source, options));
  }
}
