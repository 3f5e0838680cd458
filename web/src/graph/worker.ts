// Reads a model's graph and finds places for its operators, away from the page's thread.
import * as Comlink from 'comlink';
import { type GraphTensor, graphOf } from './onnx.ts';
import { type GraphPicture, pictureOf } from './picture.ts';
import { type Spread, spreadOf } from './weights.ts';

let file: Blob | undefined;

const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer());

const face = {
  async open(model: Blob): Promise<GraphPicture> {
    file = model;
    return pictureOf(graphOf(await bytesOf(model)));
  },
  /** How the numbers of a tensor are distributed; undefined: they are not in the file, or cannot be drawn. */
  async spread(tensor: GraphTensor): Promise<Spread | undefined> {
    return file && spreadOf(await bytesOf(file.slice(...tensor.at)), tensor);
  },
};
export type GraphFace = typeof face;
Comlink.expose(face);
