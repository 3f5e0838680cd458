import { asyncDispose, Owned } from './disposal.ts';
import type { Engine } from './engine/client.ts';
import type { Id, NamedTensor } from './engine/host.ts';
import type { StepInfo, ValueInfo } from './engine/module.ts';
import { buffersOf, take } from './feeds.ts';
import * as check from './options.ts';
import { type Feeds, Tensor } from './tensor.ts';

/** How a session runs. */
export interface SessionOptions {
  /** Threads to run with, 1 to 64. By default what configure() said: up to 4. */
  threads?: number | undefined;
  /**
   * Whether quantized operators run on integer kernels (the default). False: every QuantizeLinear and DequantizeLinear
   * by itself, in floating point; to see what the integers change.
   */
  integer?: boolean | undefined;
}

/** How Session.run() works. */
export interface RunOptions {
  /** Stops the run; it then throws a ZeropointError with the code `cancelled`. */
  signal?: AbortSignal | undefined;
}

export const sessionChecks = { threads: check.integer(1, 64), integer: check.boolean };

/** The outputs of a run, by name. */
export type Outputs = Record<string, Tensor>;

const toTensor = ({ type, data, dims }: NamedTensor) => new Tensor(type, data as never, dims);

/** Runs a model. Holds packed weights, and plans for the shapes seen so far. */
export class Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #owned: Owned;
  #last: Promise<unknown> = Promise.resolve();
  #lastRunMs = 0;

  /** Internal: use Model.createSession(). */
  constructor(engine: Engine, id: Id, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]) {
    this.#owned = new Owned(this, 'session', engine, id);
    this.inputNames = inputs.map(({ name }) => name);
    this.outputNames = outputs.map(({ name }) => name);
  }

  /** How long the engine worked on the last run, in milliseconds. */
  get lastRunMs(): number {
    return this.#lastRunMs;
  }

  /**
   * Runs the model on a tensor for each input, as it is at the moment of the call: the arrays can be filled again while
   * the model runs. Runs of one session follow each other; a long run is cut into slices, between which timers and events
   * have their turn.
   */
  async run(feeds: Feeds, options: RunOptions = {}): Promise<Outputs> {
    check.checkOptions(options, { signal: check.signal });
    const { signal } = options;
    const taken = take(feeds);
    const run = this.#last.then(async () => {
      const { engine } = this.#owned;
      let spent = 0;
      let begun = false;
      const last = await engine.drive(
        async (milliseconds) => {
          const slice = begun
            ? await engine.call('advanceRun', [this.#owned.id, milliseconds])
            : await engine.call('beginRun', [this.#owned.id, taken, milliseconds], buffersOf(taken));
          begun = true;
          spent += slice.spent;
          return slice;
        },
        (slice) => slice.finished,
        signal,
      );
      this.#lastRunMs = spent;
      return Object.fromEntries((last.outputs ?? []).map((output) => [output.name, toTensor(output)]));
    });
    this.#last = run.catch(() => {});
    return run;
  }

  /**
   * The steps of the last run's plan: which node ran on which kind of kernel, and how long that took. Fused nodes have no
   * step of their own.
   */
  async steps(): Promise<StepInfo[]> {
    return this.#owned.engine.call('sessionSteps', [this.#owned.id]);
  }

  /**
   * What was odd about what was fed and found so far, each said once: a batch of 3 where the model declares 1, an output
   * whose declared shape is wrong.
   */
  async warnings(): Promise<string[]> {
    return this.#owned.engine.call('sessionWarnings', [this.#owned.id]);
  }

  /** Bytes that the last run's plan took for the values between operators. */
  async arenaBytes(): Promise<number> {
    return this.#owned.engine.call('arenaBytes', [this.#owned.id]);
  }

  /** Gives the session's memory back. */
  async dispose(): Promise<void> {
    await this.#owned.dispose();
  }

  async [asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
