// Weights of a model that lie in other files, on the engine's side: read into its memory at once, or left where they are
// and read piece by piece (engine/module.ts, WeightFiles).
import { messageOf } from '../errors.ts';
import type { DataSource } from '../external.ts';
import { type OpenFile, platform, type ScratchFile } from '../platform.ts';
import type { PieceInfo, WeightFiles } from './module.ts';

/** Read in one go: memory holds it twice. */
const stretch = 2 ** 26;

/** In workers of browsers alone. */
interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
declare const FileReaderSync: { new (): SyncReader } | undefined;

const canReadBlobs = () => typeof FileReaderSync !== 'undefined';

/** Whether a source can be read without waiting: only then weights can stay in it. */
export function readsAtOnce(source: DataSource): boolean {
  if ('path' in source) return platform().openFile !== undefined;
  return 'bytes' in source || canReadBlobs();
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
  const reader = new (FileReaderSync as NonNullable<typeof FileReaderSync>)();
  const { blob } = source;
  return {
    read(at, into) {
      for (let done = 0; done < into.byteLength; done += stretch) {
        const end = Math.min(done + stretch, into.byteLength);
        into.set(new Uint8Array(reader.readAsArrayBuffer(blob.slice(at + done, at + end))), done);
      }
    },
    close() {},
  };
}

/** Reads pieces when the engine asks, and takes new ones. */
export class OpenWeights implements WeightFiles {
  readonly #pieces: { file: OpenFile; name: string; offset: number }[];
  readonly #files: OpenFile[];
  readonly #scratch: ScratchFile | undefined;
  #closed = false;

  constructor(
    pieces: readonly PieceInfo[],
    sources: readonly DataSource[],
    scratch: ScratchFile | undefined,
  ) {
    const byName = new Map(sources.map((source) => [source.name, openSource(source)]));
    this.#files = [...byName.values()];
    this.#scratch = scratch;
    this.#pieces = pieces.map(({ location, offset }) => ({
      file: byName.get(location) as OpenFile,
      name: location,
      offset,
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

/** A file for results, which nobody else sees and which goes with the program. Undefined where there is none. */
export async function scratchFile(): Promise<ScratchFile | undefined> {
  const { scratch } = platform();
  if (scratch) return scratch();
  if (!canReadBlobs() || typeof navigator === 'undefined' || !navigator.storage?.getDirectory)
    return undefined;
  try {
    const folder = await navigator.storage.getDirectory();
    const name = `zeropoint-${crypto.randomUUID()}`;
    const file = await folder.getFileHandle(name, { create: true });
    const handle = await (
      file as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }
    ).createSyncAccessHandle();
    let size = 0;
    return {
      name,
      append(bytes) {
        const at = size;
        // A view of shared memory cannot be written.
        size += handle.write(bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice(), { at });
        if (size < at + bytes.byteLength) throw new Error('there is no room');
        return at;
      },
      read(at, into) {
        const own = into.buffer instanceof ArrayBuffer ? into : new Uint8Array(into.byteLength);
        if (handle.read(own, { at }) < own.byteLength) throw new Error('it ends too early');
        if (own !== into) into.set(own);
      },
      close() {
        handle.close();
        void folder.removeEntry(name).catch(() => {});
      },
    };
  } catch {
    return undefined; // a page without storage: results stay in memory
  }
}

interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  close(): void;
}
