// Where a model's bytes come from.
import { messageOf, throwIfAborted, ZeropointError } from './errors.ts';
import { isNode, platform } from './platform.ts';

/** Bytes, a Blob or File, or an address: a URL, a URL as a string or, in Node, a file's path. */
export type ModelSource = ArrayBufferLike | ArrayBufferView | Blob | URL | string;

/** Bytes, and whether they are ours alone (and so may be moved to the engine instead of copied). */
export interface SourceBytes {
  bytes: Uint8Array;
  owned: boolean;
}

async function fetched(url: URL | string, signal: AbortSignal | undefined): Promise<SourceBytes> {
  const file = String(url);
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
    if (response.ok) return { bytes: new Uint8Array(await response.arrayBuffer()), owned: true };
  } catch (error) {
    throwIfAborted(signal);
    throw new ZeropointError(
      'io',
      `'${file}' could not be fetched: ${messageOf(error)}`,
      { file, hint: 'check the address; from another origin, its server must allow it (CORS)' },
      { cause: error },
    );
  }
  throw new ZeropointError('io', `'${file}' could not be fetched: HTTP ${response.status}`, { file });
}

/** Reads a file in Node. */
export async function readPath(path: string | URL): Promise<Uint8Array> {
  const file = String(path);
  const { readFile } = platform();
  if (!readFile) throw new ZeropointError('io', `'${file}': there are no files here`, { file });
  try {
    return await readFile(path);
  } catch (error) {
    throw new ZeropointError(
      'io',
      `'${file}' could not be read: ${messageOf(error)}`,
      { file },
      { cause: error },
    );
  }
}

/** `C:\model.onnx` is a path, not an address with the scheme `c:`. */
const isAddress = (text: string) => /^[a-z][a-z0-9+.-]+:/i.test(text);

export async function bytesFrom(source: ModelSource, signal: AbortSignal | undefined): Promise<SourceBytes> {
  throwIfAborted(signal);
  if (typeof source === 'string') {
    if (isNode && !isAddress(source)) return { bytes: await readPath(source), owned: true };
    if (isNode && /^file:/i.test(source)) return bytesFrom(new URL(source), signal);
    return fetched(source, signal);
  }
  if (source instanceof URL) {
    if (isNode && source.protocol === 'file:') {
      return { bytes: await readPath(source), owned: true };
    }
    return fetched(source, signal);
  }
  if (typeof Blob !== 'undefined' && source instanceof Blob) {
    try {
      return { bytes: new Uint8Array(await source.arrayBuffer()), owned: true };
    } catch (error) {
      const file = (source as Partial<File>).name ?? 'the blob';
      throw new ZeropointError(
        'io',
        `${file} could not be read: ${messageOf(error)}`,
        { file },
        { cause: error },
      );
    }
  }
  if (ArrayBuffer.isView(source)) {
    return { bytes: new Uint8Array(source.buffer, source.byteOffset, source.byteLength), owned: false };
  }
  if (
    source instanceof ArrayBuffer ||
    (typeof SharedArrayBuffer !== 'undefined' && source instanceof SharedArrayBuffer)
  ) {
    return { bytes: new Uint8Array(source), owned: false };
  }
  throw new ZeropointError(
    'invalid-argument',
    'source: bytes (Uint8Array, ArrayBuffer), a Blob or File, a URL or (in Node) a path is needed',
  );
}
