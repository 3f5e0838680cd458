// The line to an engine in a thread of its own. Whatever becomes of the thread, all who wait for it are answered.
import { type Endpoint, type Remote, transfer, wrap } from 'comlink';
import { type ErrorCode, messageOf, ZeropointError } from '../errors.ts';
import { awaitThreads, isNode, platform, type Thread } from '../platform.ts';
import type { WorkerFace } from './face.ts';
import type { Role } from './role.ts';
import type { HostInfo, HostMethod, HostOptions, Result } from './run-host.ts';

/** How often the watchdog looks while it waits for one answer. */
const looks = 20;

export const lost = (why: string): ZeropointError =>
  new ZeropointError('engine-lost', `the engine is gone: ${why}`, {
    hint: 'load the model again: that starts a new engine',
  });

export const workerHint = (): string =>
  `give the address of dist/${platform().prefix ?? ''}worker.js: configure({ workerUrl }), or run without a worker: configure({ worker: false })`;

/** A worker that failed before it said anything: its script was not found, is none, or may not be loaded. */
const notStarted = (workerUrl: string | undefined, why: string | undefined): ZeropointError =>
  new ZeropointError(
    'io',
    `the engine's worker could not be started: ${workerUrl ?? 'its script'} ${
      why ? `failed: ${why}` : 'could not be loaded (not found, not JavaScript, or forbidden by a policy)'
    }`,
    { ...(workerUrl === undefined ? {} : { file: workerUrl }), hint: workerHint() },
  );

export class Line {
  readonly #thread: Thread;
  readonly #face: Remote<WorkerFace>;
  readonly #stepTimeout: number;
  readonly #waiting = new Set<(error: ZeropointError) => void>();
  /** Gives up the place in the row for the lock that the thread holds. */
  readonly #locks = new AbortController();
  #end: ZeropointError | undefined;
  #watchdog: ReturnType<typeof setInterval> | undefined;
  #quietLooks = 0;
  /** The thread has said something. */
  #started = false;
  /** What to do when the thread is lost. */
  onLost: (error: ZeropointError) => void = () => {};

  constructor(thread: Thread, stepTimeout: number, workerUrl?: string) {
    this.#thread = thread;
    this.#stepTimeout = stepTimeout;
    const hear = () => {
      this.#started = true;
      thread.removeEventListener('message', hear);
    };
    thread.addEventListener('message', hear);
    thread.addEventListener('error', ({ message }) => {
      // Node finds the script beside the package; there a thread that is lost early was ended.
      if (!this.#started && !isNode) this.end(notStarted(workerUrl, message));
      else this.end(lost(message ? `its thread failed: ${message}` : 'its thread did not start, or failed'));
    });
    thread.addEventListener('messageerror', () => this.end(lost('the answer of its thread cannot be read')));
    const role: Role = { role: 'engine' };
    thread.postMessage(role);
    this.#face = wrap<WorkerFace>(thread as Endpoint);
  }

  async open(options: HostOptions): Promise<HostInfo> {
    await this.#watchLock();
    const opened = (await this.#answer<unknown>(() => this.#face.open(options))) as Result<HostInfo>;
    if ('value' in opened) return opened.value;
    const { code, message, details } = opened.error;
    throw new ZeropointError(code as ErrorCode, message, details);
  }

  call(method: HostMethod, args: unknown[], buffers: Transferable[]): Promise<Result<unknown>> {
    return this.#answer(
      () =>
        this.#face.call(method, buffers.length ? transfer(args, buffers) : args) as Promise<Result<unknown>>,
    );
  }

  /** Ends the thread; who waits for it gets this error. */
  end(error: ZeropointError): void {
    if (this.#end) return;
    this.#end = error;
    clearInterval(this.#watchdog);
    this.#locks.abort();
    void this.#thread.terminate();
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
    this.onLost(error);
  }

  /**
   * A browser says nothing when a worker is terminated. But locks that it held are given to the next in the row. Only
   * secure pages have locks; elsewhere the watchdog finds out.
   */
  async #watchLock(): Promise<void> {
    const locks = (globalThis.navigator as Navigator | undefined)?.locks;
    if (!locks) return;
    const name = `zeropoint-${crypto.randomUUID()}`;
    if (!(await this.#answer(() => this.#face.hold(name)))) return;
    const { signal } = this.#locks;
    locks.request(name, { signal }, () => this.end(lost('its worker ended'))).catch(() => {}); // the place in the row was given up
  }

  /** What the thread answers, or why it will not. */
  #answer<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#end) return Promise.reject(this.#end);
    const answer = new Promise<T>((resolve, reject) => {
      this.#waiting.add(reject);
      this.#watch();
      ask()
        .then(resolve, reject)
        .finally(() => {
          this.#waiting.delete(reject);
          this.#quietLooks = 0;
          if (this.#waiting.size > 0) return;
          clearInterval(this.#watchdog);
          this.#watchdog = undefined;
        });
    });
    return awaitThreads(answer);
  }

  /** Counts looks, and not time: while a machine sleeps, the engine cannot answer either. */
  #watch(): void {
    if (this.#watchdog !== undefined || !Number.isFinite(this.#stepTimeout)) return;
    this.#quietLooks = 0;
    this.#watchdog = setInterval(() => {
      this.#quietLooks += 1;
      if (this.#quietLooks > looks) {
        const seconds = `for ${this.#stepTimeout / 1000} seconds (stepTimeout)`;
        this.end(lost(this.#started ? `it did not answer ${seconds}` : `its worker said nothing ${seconds}`));
      }
    }, this.#stepTimeout / looks);
  }
}

/** An argument that threads cannot pass on is refused before anything is sent. */
export function notSent(error: unknown): unknown {
  if ((error as { name?: unknown }).name !== 'DataCloneError') return error;
  return new ZeropointError(
    'invalid-argument',
    `an argument cannot be passed to the engine's thread: ${messageOf(error)}`,
    {},
    { cause: error },
  );
}
