// Reads a model's graph and finds places for its operators, away from the page's thread.
import * as Comlink from 'comlink';
import { graphOf } from './onnx.ts';
import { type GraphPicture, pictureOf } from './picture.ts';

const face = {
  async open(file: Blob): Promise<GraphPicture> {
    return pictureOf(graphOf(new Uint8Array(await file.arrayBuffer())));
  },
};
export type GraphFace = typeof face;
Comlink.expose(face);
