// Reads texts, away from the page's thread: the pieces of thousands of sentences take a second.
import * as Comlink from 'comlink';
import { encoderOf } from './pieces.ts';
import pieces from './pieces.txt?raw';
import { sentencesOf, textIn } from './sentences.ts';
import { most, type Text } from './text.ts';

const encode = encoderOf(pieces);

function read(name: string, text: string): Text {
  const all = sentencesOf(text);
  const sentences = all.slice(0, most.sentences);
  const encoded = sentences.map(encode);
  return {
    name,
    sentences,
    ids: encoded.map(({ ids }) => ids),
    cut: encoded.filter(({ isCut }) => isCut).length,
    left: all.length - sentences.length,
  };
}

const face = {
  encode: (sentences: readonly string[]) => sentences.map((each) => encode(each).ids),
  read,
  /** Of a file; undefined: it is no text, or too large. */
  async open(file: File): Promise<Text | undefined> {
    if (file.size > most.bytes) return undefined;
    const text = textIn(new Uint8Array(await file.arrayBuffer()));
    return text === undefined ? undefined : read(file.name, text);
  },
};
export type ReaderFace = typeof face;
Comlink.expose(face);
