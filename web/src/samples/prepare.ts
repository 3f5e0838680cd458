// Files that become samples, in workers, each once for each way of preparing.
import type * as Comlink from 'comlink';
import { type ImageOptions, type ValueInfo, ZeropointError } from 'zeropoint';
import { lastingThread } from '../threads.ts';
import type { Prepared, PrepareFace, Sample } from './worker.ts';

type Thread = () => Comlink.Remote<PrepareFace>;

/** Decoding takes 200 MB for a photograph of 12 megapixels: more threads would need too much memory. */
const mostThreads = 2;
/** Samples beyond these bytes are read again when they are wanted. */
const mostKept = 512e6;

const idle: Thread[] = [];
let started = 0;
const waiting: ((thread: Thread) => void)[] = [];

async function thread(): Promise<Thread> {
  const free = idle.pop();
  if (free) return free;
  const cores = navigator.hardwareConcurrency || 1;
  if (started < Math.min(mostThreads, Math.max(1, cores - 1))) {
    started += 1;
    return lastingThread<PrepareFace>(
      () => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }),
    );
  }
  return new Promise((resolve) => waiting.push(resolve));
}

function giveBack(thread: Thread): void {
  const next = waiting.shift();
  if (next) next(thread);
  else idle.push(thread);
}

async function prepared(
  file: File,
  inputs: readonly ValueInfo[],
  options: ImageOptions,
  isWanted: () => boolean,
): Promise<Prepared | undefined> {
  const free = await thread();
  try {
    if (!isWanted()) return undefined;
    const answer = await free().prepare(file, inputs, options);
    if ('code' in answer) throw new ZeropointError(answer.code, answer.message, answer.details);
    return answer;
  } finally {
    giveBack(free);
  }
}

const bytesOf = (samples: readonly Sample[]) =>
  samples.reduce(
    (sum, sample) =>
      Object.values(sample).reduce(
        (total, { data }) => total + (ArrayBuffer.isView(data) ? data.byteLength : 0),
        sum,
      ),
    0,
  );

/** A file, and what became of it. */
export interface Entry {
  file: File;
  /** How many samples it holds. */
  count: number;
  digest: string | undefined;
  picture: Blob | undefined;
  error?: ZeropointError;
  samples(): Promise<readonly Sample[]>;
}

/** Prepares files one way, in their order as far as that can be told; stops when nobody wants it any more. */
export class Preparation {
  readonly entries: (Entry | undefined)[];
  done = 0;
  #kept = 0;
  #isWanted = true;
  readonly #over: Promise<void>;

  constructor(
    readonly files: readonly File[],
    inputs: readonly ValueInfo[],
    options: ImageOptions,
    /** Files that were prepared the same way before. */
    before: Preparation | undefined,
    onChange: () => void,
  ) {
    this.entries = files.map((file) => before?.entries.find((entry) => entry?.file === file));
    this.done = this.entries.filter((entry) => entry !== undefined).length;
    if (before) this.#kept = before.#kept;
    let isOver = () => {};
    this.#over = new Promise((resolve) => {
      isOver = resolve;
    });
    if (this.isDone) isOver();
    for (const [index, file] of files.entries()) {
      if (this.entries[index]) continue;
      void this.#prepare(file, inputs, options)
        .catch(
          (error: ZeropointError): Entry => ({
            file,
            count: 0,
            digest: undefined,
            picture: undefined,
            error,
            samples: async () => [],
          }),
        )
        .then((entry) => {
          if (!entry || !this.#isWanted) return;
          this.entries[index] = entry;
          this.done += 1;
          if (this.isDone) isOver();
          onChange();
        });
    }
  }

  async #prepare(
    file: File,
    inputs: readonly ValueInfo[],
    options: ImageOptions,
  ): Promise<Entry | undefined> {
    const found = await prepared(file, inputs, options, () => this.#isWanted);
    if (!found) return undefined;
    const { samples, digest, picture } = found;
    const size = bytesOf(samples);
    const keeps = this.#kept + size <= mostKept;
    if (keeps) this.#kept += size;
    const again = async () => (await prepared(file, inputs, options, () => true))?.samples ?? [];
    return {
      file,
      count: samples.length,
      digest,
      picture,
      samples: keeps ? async () => samples : again,
    };
  }

  get isDone(): boolean {
    return this.done === this.files.length;
  }

  /** All entries, when they are there. One that was stopped may never have them. */
  async whole(): Promise<readonly Entry[]> {
    await this.#over;
    return this.entries.filter((entry) => entry !== undefined);
  }

  stop(): void {
    this.#isWanted = false;
  }
}
