// Where a model's bytes come from.
import { messageOf, throwIfAborted, ZeropointError } from './errors.ts';
import { isNode, platform } from './platform.ts';

/** Bytes, a Blob or File, or an address: a URL, a URL as a string or, in Node, a file's path. */
export type ModelSource = ArrayBufferLike | ArrayBufferView | Blob | URL | string;

async function fetched(url: URL | string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const file = String(url);
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
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
export const isAddress = (text: string) => /^[a-z][a-z0-9+.-]+:/i.test(text);

/**
 * The bytes, which belong to who asked and may be moved. Those that the source holds are copied before the first await:
 * what their owner does with them afterwards does not matter.
 */
export async function bytesFrom(source: ModelSource, signal: AbortSignal | undefined): Promise<Uint8Array> {
  throwIfAborted(signal);
  if (typeof source === 'string') {
    if (isNode && !isAddress(source)) return readPath(source);
    if (isNode && /^file:/i.test(source)) return bytesFrom(new URL(source), signal);
    return fetched(source, signal);
  }
  if (source instanceof URL) {
    if (isNode && source.protocol === 'file:') return readPath(source);
    return fetched(source, signal);
  }
  if (typeof Blob !== 'undefined' && source instanceof Blob) {
    try {
      return new Uint8Array(await source.arrayBuffer());
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
  const isView = ArrayBuffer.isView(source);
  if (
    isView ||
    source instanceof ArrayBuffer ||
    (typeof SharedArrayBuffer !== 'undefined' && source instanceof SharedArrayBuffer)
  ) {
    const [buffer, from, length] = isView
      ? [source.buffer, source.byteOffset, source.byteLength]
      : [source, 0, source.byteLength];
    try {
      return new Uint8Array(new Uint8Array(buffer, from, length));
    } catch (error) {
      throw new ZeropointError(
        'invalid-argument',
        `source: its bytes cannot be read: ${messageOf(error)}`,
        { hint: 'bytes that were transferred to another thread are not here any more' },
        { cause: error },
      );
    }
  }
  throw new ZeropointError(
    'invalid-argument',
    'source: bytes (Uint8Array, ArrayBuffer), a Blob or File, a URL or (in Node) a path is needed',
  );
}
