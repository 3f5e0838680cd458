// Weights of a model that lie in other files, on the engine's side: read into its memory at once, or left where they are
// and read piece by piece (engine/module.ts, WeightFiles).
import { messageOf } from '../errors.ts';
import type { DataSource } from '../external.ts';
import { isPageWorker, type OpenFile, platform } from '../platform.ts';
import { version } from '../version.ts';
import type { NotedTensor, PieceInfo, WeightFiles } from './module.ts';
import type { Kept, Scratch } from './scratch.ts';

/** Read in one go: memory holds it twice. */
const stretch = 2 ** 26;

/** In workers of browsers alone. */
interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
declare const FileReaderSync: { new (): SyncReader };

/**
 * What tensors are made of, and by which version: a line that is equal only where they would be equal. Undefined where
 * nothing tells whether a source has changed.
 */
export function workOn(pieces: readonly PieceInfo[], sources: readonly DataSource[]): string | undefined {
  if (sources.some(({ changed }) => changed === undefined)) return undefined;
  const files = sources.map(({ name, size, changed }) => ({ name, size, changed }));
  return JSON.stringify({ version, files, pieces });
}

/** Whether a source can be read without waiting: only then weights can stay in it. */
export function readsAtOnce(source: DataSource): boolean {
  if ('path' in source) return platform().openFile !== undefined;
  return 'bytes' in source || isPageWorker();
}

function openSource(source: DataSource): OpenFile {
  if ('path' in source) {
    const file = platform().openFile?.(source.path);
    if (!file) throw new Error('there are no files here');
    return file;
  }
  if ('bytes' in source) {
    const { bytes } = source;
    return { read: (at, into) => into.set(bytes.subarray(at, at + into.byteLength)), close() {} };
  }
  const reader = new FileReaderSync();
  const { blob } = source;
  return {
    read(at, into) {
      for (let done = 0; done < into.byteLength; done += stretch) {
        const end = Math.min(done + stretch, into.byteLength);
        into.set(new Uint8Array(reader.readAsArrayBuffer(blob.slice(at + done, at + end))), done);
        // Chromium gives back the memory of earlier reads when a script asks for a buffer of its own.
        new ArrayBuffer(8);
      }
    },
    close() {},
  };
}

/** Reads pieces when the engine asks, and takes new ones. */
export class OpenWeights implements WeightFiles {
  /** `key`: what notes call it. Made tensors without a note have none: the next program cannot know them. */
  readonly #pieces: { file: OpenFile; name: string; offset: number; key?: string }[];
  readonly #files: OpenFile[];
  readonly #scratch: Scratch | undefined;
  #closed = false;

  constructor(pieces: readonly PieceInfo[], sources: readonly DataSource[], scratch: Scratch | undefined) {
    const byName = new Map(sources.map((source) => [source.name, openSource(source)]));
    this.#files = [...byName.values()];
    this.#scratch = scratch;
    this.#pieces = pieces.map(({ location, offset }, index) => ({
      file: byName.get(location) as OpenFile,
      name: location,
      offset,
      key: `${index}`,
    }));
  }

  read(piece: number, into: Uint8Array): string {
    const found = this.#pieces[piece];
    if (!found) return 'a piece of the weights is missing';
    try {
      found.file.read(found.offset, into);
      return '';
    } catch (error) {
      return `'${found.name}' could not be read: ${messageOf(error)}`;
    }
  }

  put(bytes: Uint8Array): number | string {
    if (!this.#scratch) return -1;
    try {
      const offset = this.#scratch.append(bytes);
      return this.#pieces.push({ file: this.#scratch, name: this.#scratch.name, offset }) - 1;
    } catch (error) {
      return `'${this.#scratch.name}', which holds results while they are made, could not be written: ${messageOf(error)}`;
    }
  }

  noted(piece: number, how: string): NotedTensor[] | null {
    const of = this.#pieces[piece]?.key;
    if (of === undefined || !this.#scratch) return null;
    const file = this.#scratch;
    const key = `${of} ${how}`;
    const found = file.noted(key);
    if (!found) return null;
    return found.map(({ offset, ...rest }, index) => {
      const number = this.#pieces.push({ file, name: file.name, offset, key: `${key} ${index}` }) - 1;
      return { ...rest, piece: number };
    });
  }

  note(piece: number, how: string, tensors: readonly NotedTensor[]): string {
    const of = this.#pieces[piece]?.key;
    if (of === undefined || !this.#scratch) return '';
    const key = `${of} ${how}`;
    const kept: Kept[] = [];
    for (const [index, { piece: number, ...rest }] of tensors.entries()) {
      const made = this.#pieces[number];
      if (made?.file !== this.#scratch) return '';
      made.key = `${key} ${index}`;
      kept.push({ ...rest, offset: made.offset });
    }
    try {
      this.#scratch.note(key, kept);
      return '';
    } catch (error) {
      return `'${this.#scratch.name}', which holds results while they are made, could not be written: ${messageOf(error)}`;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#files) file.close();
    this.#scratch?.close();
  }
}

/** Fills memory of the engine's, whose `view` is asked for anew whenever it may have moved. */
export async function fill(
  source: DataSource,
  offset: number,
  bytes: number,
  view: () => Uint8Array,
): Promise<void> {
  if (!('blob' in source)) {
    const file = openSource(source);
    try {
      file.read(offset, view());
    } finally {
      file.close();
    }
    return;
  }
  for (let done = 0; done < bytes; done += stretch) {
    const end = Math.min(done + stretch, bytes);
    const part = await source.blob.slice(offset + done, offset + end).arrayBuffer();
    view().set(new Uint8Array(part), done);
  }
}
