// Reads a model's graph and finds places for its operators, away from the page's thread.
import * as Comlink from 'comlink';
import { type GraphTensor, graphOf, type ModelGraph } from './onnx.ts';
import { type GraphPicture, pictureOf } from './picture.ts';
import { type Spread, spreadOf } from './weights.ts';

let file: Blob | undefined;
let whole: ModelGraph | undefined;

const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer());

const face = {
  async open(model: Blob): Promise<GraphPicture> {
    file = model;
    whole = graphOf(await bytesOf(model));
    return pictureOf(whole);
  },
  /** The graph in an attribute of an operator, and so on in that graph: by branchKey(). No keys: the whole. */
  branch(keys: readonly string[]): GraphPicture {
    let graph = whole;
    // A branch sees the tensors and values around it.
    const [tensors, values] = [new Map(graph?.tensors), new Map(graph?.values)];
    for (const key of keys) {
      graph = graph?.branches.get(key);
      for (const [name, tensor] of graph?.tensors ?? []) tensors.set(name, tensor);
      for (const [name, value] of graph?.values ?? []) values.set(name, value);
    }
    if (!graph) throw new Error('there is no such branch');
    return pictureOf({ ...graph, tensors, values });
  },
  /** How the numbers of a tensor are distributed; undefined: they are not in the file, or cannot be drawn. */
  async spread(tensor: GraphTensor): Promise<Spread | undefined> {
    return file && spreadOf(await bytesOf(file.slice(...tensor.at)), tensor);
  },
};
export type GraphFace = typeof face;
Comlink.expose(face);
