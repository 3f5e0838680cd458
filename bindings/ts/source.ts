// Where a model's bytes come from.
import { messageOf, throwIfAborted, ZeropointError } from './errors.ts';
import { isNode, platform } from './platform.ts';
import { isDetached } from './tensor.ts';

/** Bytes, a Blob or File, a Response, or an address: a URL, a URL as a string or, in Node, a file's path. */
export type ModelSource = ArrayBufferLike | ArrayBufferView | Blob | Response | URL | string;

/** What kind of object a value is, of whatever realm: frames and Node's `vm` have classes of their own. */
const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

async function fetched(url: URL | string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const file = String(url);
  return bytesOfResponse(() => fetch(url, signal ? { signal } : {}), file, signal);
}

async function bytesOfResponse(
  ask: () => Promise<Response> | Response,
  file: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await ask();
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

export const isBlob = (value: unknown): value is Blob => ['Blob', 'File'].includes(tagOf(value));

/** Reads a file in Node. */
export async function readPath(path: string | URL): Promise<Uint8Array> {
  const file = String(path);
  const { readFile } = platform();
  if (!readFile) throw new ZeropointError('io', `'${file}': files cannot be read here`, { file });
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
  const tag = tagOf(source);
  if (tag === 'Response') {
    const response = source as Response;
    if (response.bodyUsed) {
      throw new ZeropointError('invalid-argument', 'source: the body of the Response was read before');
    }
    return bytesOfResponse(() => response, response.url || 'the Response', signal);
  }
  if (isBlob(source)) {
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
  if (ArrayBuffer.isView(source) || tag === 'ArrayBuffer' || tag === 'SharedArrayBuffer') {
    const [buffer, from, length] = ArrayBuffer.isView(source)
      ? [source.buffer, source.byteOffset, source.byteLength]
      : [source as ArrayBuffer, 0, (source as ArrayBuffer).byteLength];
    try {
      if (isDetached({ buffer })) throw new Error('they are detached');
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
    'source: bytes (Uint8Array, ArrayBuffer), a Blob or File, a Response, a URL or (in Node) a path is needed',
  );
}
