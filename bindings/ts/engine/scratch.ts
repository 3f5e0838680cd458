// A file for tensors that are made of weights in files (engine/weights.ts). One with a name outlives a program that is
// stopped: notes beside it say which tensors it holds, and the next program that works on the same files takes them.
import { isPageWorker, type OpenFile, type OpenScratch, platform, type ScratchHandle } from '../platform.ts';

/** A tensor in the file. */
export interface Kept {
  type: string;
  dims: readonly number[];
  offset: number;
  bytes: number;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
/** No tensor has more elements. */
const mostElements = 2 ** 40;

/** `size`: of the file that it is to be in. */
function isKept(value: unknown, size: number): value is Kept {
  const { type, dims, offset, bytes } = (value ?? {}) as Partial<Kept>;
  return (
    typeof type === 'string' &&
    Array.isArray(dims) &&
    dims.every(isCount) &&
    dims.reduce((product, dim) => product * dim, 1) <= mostElements &&
    isCount(offset) &&
    isCount(bytes) &&
    offset + bytes <= size
  );
}

function noteOf(line: string, size: number): [key: string, kept: Kept[]] | undefined {
  try {
    const [key, kept] = JSON.parse(line) as [unknown, unknown];
    if (typeof key === 'string' && Array.isArray(kept) && kept.every((each) => isKept(each, size)))
      return [key, kept as Kept[]];
  } catch {
    // A program was stopped while it wrote.
  }
  return undefined;
}

const lineOf = (text: string) => new TextEncoder().encode(`${text}\n`);

function append(file: ScratchHandle, at: number, bytes: Uint8Array): number {
  file.write(at, bytes);
  return at + bytes.byteLength;
}

export class Scratch implements OpenFile {
  readonly #open: OpenScratch;
  readonly #notes = new Map<string, Kept[]>();
  #end = 0;
  #notesEnd = 0;

  /** `work`: what the tensors are made of. Notes of other work are not for it: they go. */
  constructor(open: OpenScratch, work: string) {
    this.#open = open;
    const { data, notes } = open;
    if (!notes) return;
    const text = new Uint8Array(notes.size());
    notes.read(0, text);
    const [first, ...lines] = new TextDecoder().decode(text).split('\n');
    lines.pop(); // empty, or cut off
    if (first === work) {
      this.#notesEnd = lineOf(work).byteLength;
      const size = data.size();
      for (const line of lines) {
        const note = noteOf(line, size);
        if (!note) break;
        const [key, kept] = note;
        this.#notes.set(key, kept);
        this.#end = Math.max(this.#end, ...kept.map(({ offset, bytes }) => offset + bytes));
        this.#notesEnd += lineOf(line).byteLength;
      }
    } else {
      this.#notesEnd = append(notes, 0, lineOf(work));
    }
    notes.truncate(this.#notesEnd);
    data.truncate(this.#end);
  }

  get name(): string {
    return this.#open.name;
  }

  /** How many notes there are. */
  get size(): number {
    return this.#notes.size;
  }

  read(at: number, into: Uint8Array): void {
    this.#open.data.read(at, into);
  }

  /** Says where they begin. */
  append(bytes: Uint8Array): number {
    const at = this.#end;
    this.#end = append(this.#open.data, at, bytes);
    return at;
  }

  noted(key: string): readonly Kept[] | undefined {
    return this.#notes.get(key);
  }

  /** What is noted is in the file, whatever becomes of the machine. */
  note(key: string, kept: readonly Kept[]): void {
    const { data, notes } = this.#open;
    if (!notes) return;
    data.flush();
    this.#notesEnd = append(notes, this.#notesEnd, lineOf(JSON.stringify([key, kept])));
    this.#notes.set(key, [...kept]);
  }

  close(): void {
    this.#open.close();
  }
}

/** Names of files without a name of the caller's. */
const nameless = /^zeropoint-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  getSize(): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

async function openHandle(
  folder: FileSystemDirectoryHandle,
  name: string,
): Promise<ScratchHandle & { close(): void }> {
  const file = await folder.getFileHandle(name, { create: true });
  const handle = await (
    file as unknown as { createSyncAccessHandle(): Promise<SyncHandle> }
  ).createSyncAccessHandle();
  return {
    size: () => handle.getSize(),
    write(at, bytes) {
      // A view of shared memory cannot be written.
      const own = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
      if (handle.write(own, { at }) < own.byteLength) throw new Error('there is no room');
    },
    read(at, into) {
      const own = into.buffer instanceof ArrayBuffer ? into : new Uint8Array(into.byteLength);
      if (handle.read(own, { at }) < own.byteLength) throw new Error('it ends too early');
      if (own !== into) into.set(own);
    },
    truncate: (size) => handle.truncate(size),
    flush: () => handle.flush(),
    close: () => handle.close(),
  };
}

/** Files that pages which were closed or crashed have left. Those of open pages cannot be removed. */
async function removeLeft(folder: FileSystemDirectoryHandle): Promise<void> {
  for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys())
    if (nameless.test(name)) await folder.removeEntry(name).catch(() => {});
}

/** In the private file system of a page's origin. */
async function openInBrowser(given: string | undefined): Promise<OpenScratch> {
  const folder = await navigator.storage.getDirectory();
  await removeLeft(folder);
  const name = given ?? `zeropoint-${crypto.randomUUID()}`;
  const names = given === undefined ? [name] : [name, `${name}.notes`];
  const handles: Awaited<ReturnType<typeof openHandle>>[] = [];
  try {
    for (const each of names) handles.push(await openHandle(folder, each));
  } catch (error) {
    for (const handle of handles) handle.close();
    throw error;
  }
  return {
    name,
    data: handles[0] as ScratchHandle,
    notes: handles[1],
    close() {
      for (const handle of handles) handle.close();
      for (const each of names) void folder.removeEntry(each).catch(() => {});
    },
  };
}

const hasPrivateFiles = () =>
  isPageWorker() && typeof navigator !== 'undefined' && navigator.storage?.getDirectory !== undefined;

/**
 * A file for results, which goes when it is closed. Undefined where there is none. With a `name`, and the `work` that
 * the results are of, it stays when the program is stopped. A name that another page has open is as none. Throws in Node
 * what the file system throws.
 */
export async function openScratch(
  name: string | undefined,
  work: string | undefined,
): Promise<Scratch | undefined> {
  const stays = name !== undefined && work !== undefined;
  const { scratch } = platform();
  if (scratch) return new Scratch(scratch(stays ? name : undefined), work ?? '');
  if (!hasPrivateFiles()) return undefined;
  if (stays) {
    try {
      return new Scratch(await openInBrowser(name), work);
    } catch {
      // Another page has it.
    }
  }
  try {
    return new Scratch(await openInBrowser(undefined), '');
  } catch {
    return undefined; // a page without storage: results stay in memory
  }
}
