// The files that a model is written into.
import { Owned } from './disposal.ts';
import type { Client } from './engine/client.ts';
import type { FileForm, Steps } from './engine/module.ts';
import type { Id } from './engine/run-host.ts';
import { ZeropointError } from './errors.ts';
import { bytesOfSize } from './schema.ts';
import type { FileOptions } from './scheme-options.ts';

/** What a model's file is called unless somebody says. */
const defaultName = 'model.onnx';

/** Browsers have no longer arrays, and the largest multiple of 64 kB below 2 GiB is one that all tools read. */
const largestChunk = 2 ** 31 - 2 ** 16;

/** Bytes that are read in one go. */
const stretch = 2 ** 24;

/** What a file is called: no path. */
export function checkName(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '') return 'a name is needed';
  return /[/\\:\0]/.test(value) || value === '..' || value === '.'
    ? `'${value}' is a path: a file's own name is needed`
    : undefined;
}

/** `files`: whether there may be more than one. */
export function formOf(
  format: string,
  options: FileOptions,
  { name = defaultName, files = true }: { name?: string | undefined; files?: boolean } = {},
): FileForm {
  const { opset = 0, externalData, chunkSize } = options;
  if (!files && externalData) {
    throw new ZeropointError(
      'invalid-argument',
      'externalData: toBytes() gives one file, without files beside it',
      {
        hint: 'toFiles() gives all files',
      },
    );
  }
  const chunk = chunkSize === undefined ? largestChunk : Math.floor(bytesOfSize(chunkSize) ?? 0);
  return {
    format,
    opset,
    name,
    externalData: externalData ?? false,
    chunkSize: files && externalData !== false ? Math.max(chunk, 1) : 0,
  };
}

/** A file of a model, on its way out of the engine: take its bytes whole, or pass it on as an AsyncIterable. */
export class ModelFile {
  readonly name: string;
  readonly size: number;
  readonly #read: (from: number, count: number) => Promise<Uint8Array<ArrayBuffer>>;

  /** @internal */
  constructor(
    name: string,
    size: number,
    read: (from: number, count: number) => Promise<Uint8Array<ArrayBuffer>>,
  ) {
    this.name = name;
    this.size = size;
    this.#read = read;
  }

  /** All of it. Throws where no array can be as long. */
  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#read(0, this.size);
  }

  /** The bytes in parts of 16 MiB: Node's `writeFile` takes it as it is. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    for (let from = 0; from < this.size; from += stretch)
      yield await this.#read(from, Math.min(stretch, this.size - from));
  }

  /** As a Blob, which browsers keep out of memory where it is large. */
  async blob(): Promise<Blob> {
    const parts: Blob[] = [];
    for await (const part of this) parts.push(new Blob([part]));
    return new Blob(parts);
  }
}

/** Brings a model into the format that its files have: of gigabytes of weights this takes seconds. */
export async function bringInto(
  engine: Client,
  model: Id,
  format: string,
  signal?: AbortSignal,
  onSteps?: (steps: Steps) => unknown, // where it takes more than a moment
): Promise<void> {
  const job = await engine.call('createForming', [model, format]);
  try {
    const advance = (milliseconds: number) => engine.call('advanceForming', [job, milliseconds]);
    const tell = ({ finished, done, total }: Steps & { finished: boolean }) =>
      finished ? undefined : onSteps?.({ done, total });
    await engine.drive(advance, ({ finished }) => finished, signal, tell);
  } finally {
    engine.release(job);
  }
}

/** The files that a model becomes; the model's first. They live as long as somebody holds one of them. */
export async function filesOf(engine: Client, model: Id, form: FileForm): Promise<ModelFile[]> {
  await bringInto(engine, model, form.format);
  const written = await engine.call('writeModel', [model, form]);
  const owner = {};
  const owned = new Owned(owner, 'file', engine, written.id);
  return written.files.map(
    ({ name, size }, index) =>
      new ModelFile(
        name,
        size,
        (from, count) => owner && engine.call('readWritten', [owned.id, index, from, count]),
      ),
  );
}

export async function bytesOfModel(
  engine: Client,
  model: Id,
  form: FileForm,
): Promise<Uint8Array<ArrayBuffer>> {
  await bringInto(engine, model, form.format);
  const { id, files } = await engine.call('writeModel', [model, form]);
  try {
    return await engine.call('readWritten', [id, 0, 0, files[0]?.size ?? 0]);
  } finally {
    engine.release(id);
  }
}
