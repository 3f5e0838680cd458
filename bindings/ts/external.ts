// Weights in files beside a model (ONNX's external data): which there have to be, and where each comes from.
import type { PieceInfo } from './engine/module.ts';
import { messageOf, throwIfAborted, ZeropointError } from './errors.ts';
import { isNode, platform } from './platform.ts';
import { bytesFrom, isAddress, isBlob, type ModelSource } from './source.ts';

/**
 * The files that a model keeps weights in: by name, a list of Files, or a function that is asked for each name. A name is
 * what the model calls the file: `model.onnx_data`.
 */
export type ExternalData =
  | Readonly<Record<string, ModelSource>>
  | readonly File[]
  | ((name: string) => ModelSource | undefined | Promise<ModelSource | undefined>);

/** A file of weights, as it can be sent to the engine's thread. `changed`: when, where that is known. */
export type DataSource = { name: string; size: number; changed?: number | undefined } & (
  | { blob: Blob }
  | { bytes: Uint8Array }
  | { path: string }
);

/** What is wrong with `externalData` as an option. */
export function checkExternalData(value: unknown): string | undefined {
  if (typeof value === 'function') return undefined;
  if (Array.isArray(value))
    return value.every((file) => typeof (file as Partial<File> | undefined)?.name === 'string')
      ? undefined
      : 'a list of Files is needed, because their names are needed';
  return typeof value === 'object' && value !== null
    ? undefined
    : 'files by name, a list of Files, or a function is needed';
}

const lastPart = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/** Of files that were chosen together, the one that a model calls so: by the longest path that fits. */
function fileNamed(files: readonly File[], name: string): File | undefined {
  const pathOf = (file: File) => (file as { webkitRelativePath?: string }).webkitRelativePath || file.name;
  return (
    files.find((file) => pathOf(file) === name) ??
    files.find((file) => pathOf(file).endsWith(`/${name}`)) ??
    files.find((file) => file.name === lastPart(name))
  );
}

async function given(data: ExternalData, name: string): Promise<ModelSource | undefined> {
  if (typeof data === 'function') return data(name);
  if (Array.isArray(data)) return fileNamed(data, name);
  const byName = data as Readonly<Record<string, ModelSource>>;
  for (const key of [name, lastPart(name)]) if (Object.hasOwn(byName, key)) return byName[key];
  return undefined;
}

/** Beside a model on a server: below its folder. */
const addressBeside = (model: string, name: string) => {
  const here = (globalThis as { location?: { href: string } }).location?.href;
  const path = name.split('/').map(encodeURIComponent).join('/');
  return new URL(path, here === undefined ? model : new URL(model, here));
};

/** The path of a source that is a file of Node's. */
function pathOf(source: ModelSource): string | URL | undefined {
  if (!isNode) return undefined;
  if (source instanceof URL) return source.protocol === 'file:' ? source : undefined;
  if (typeof source !== 'string') return undefined;
  if (/^file:/i.test(source)) return new URL(source);
  return isAddress(source) ? undefined : source;
}

async function fileSource(path: string | URL, name: string): Promise<DataSource> {
  const { sizeOfFile } = platform();
  if (!sizeOfFile) throw new ZeropointError('io', `'${path}': files cannot be read here`, { file: name });
  return { name, ...(await sizeOfFile(path)) };
}

async function sourceOf(
  model: ModelSource,
  data: ExternalData | undefined,
  { tensor, location: name }: PieceInfo,
  signal: AbortSignal | undefined,
): Promise<DataSource> {
  const missing = (problem: string, hint: string, cause?: unknown) =>
    new ZeropointError(
      'io',
      `tensor '${tensor}' lies in the file '${name}', which ${problem}`,
      { tensor, file: name, hint },
      { cause },
    );
  try {
    let source: ModelSource | undefined;
    if (data !== undefined) {
      source = await given(data, name);
      if (source === undefined)
        throw missing('is not among the given files', `give it as externalData, by the name '${name}'`);
    } else {
      const path = pathOf(model);
      const { besideModel } = platform();
      if (path !== undefined && besideModel) return { name, ...(await besideModel(path, name)) };
      if (model instanceof URL || typeof model === 'string') source = addressBeside(String(model), name);
    }
    if (source === undefined)
      throw missing(
        'was not given',
        `give it as well: Model.load(source, { externalData: { '${name}': … } })`,
      );
    const path = pathOf(source);
    if (path !== undefined) return await fileSource(path, name);
    if (isBlob(source))
      return { name, size: source.size, blob: source, changed: (source as Partial<File>).lastModified };
    const bytes = await bytesFrom(source, signal);
    return { name, size: bytes.byteLength, bytes };
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof ZeropointError && error.details.tensor === tensor) throw error;
    throw missing(
      `could not be loaded: ${messageOf(error)}`,
      'it belongs to the model: keep the two together',
      error,
    );
  }
}

/** The files that these pieces are in, each once; throws where one is missing, or too short for what is to be in it. */
export async function sourcesOf(
  model: ModelSource,
  data: ExternalData | undefined,
  pieces: readonly PieceInfo[],
  signal: AbortSignal | undefined,
): Promise<DataSource[]> {
  const sources = new Map<string, DataSource>();
  for (const piece of pieces) {
    const { location, tensor, offset, bytes } = piece;
    const source = sources.get(location) ?? (await sourceOf(model, data, piece, signal));
    sources.set(location, source);
    if (offset + bytes > source.size) {
      throw new ZeropointError(
        'invalid-model',
        `tensor '${tensor}' should be bytes ${offset} to ${offset + bytes} of the file '${location}', which has ${source.size} bytes`,
        {
          tensor,
          file: location,
          hint: 'the file is incomplete, or of another model: download or export both again',
        },
      );
    }
  }
  return [...sources.values()];
}
