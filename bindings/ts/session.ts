import { Owned } from './disposal.ts';
import { asyncDispose } from './dispose-symbol.ts';
import type { Client } from './engine/client.ts';
import type { StepInfo, ValueInfo } from './engine/module.ts';
import type { Id, NamedTensor } from './engine/run-host.ts';
import { ZeropointError } from './errors.ts';
import { buffersOf, take } from './feeds.ts';
import * as check from './options.ts';
import { type AnyTensor, bytesOf, type Feeds, isTensorLike, Tensor, type TensorLike } from './tensor.ts';

/** How a session runs. */
export interface SessionOptions {
  /** Threads to run with, 1 to 64. By default what configure() said: up to 4. */
  threads?: number | undefined;
  /**
   * Whether quantized operators run on integer kernels (the default). False: every QuantizeLinear and DequantizeLinear
   * runs by itself, in floating point. The difference shows what the integers change.
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
export type Outputs = Record<string, AnyTensor>;

/**
 * The outputs that a run is to give: their names, or an object with these names. A tensor in the object is filled with the
 * output and given back; null makes a new one.
 */
export type Fetches = readonly string[] | Readonly<Record<string, TensorLike | null>>;

const toTensor = ({ type, data, dims }: NamedTensor) => new Tensor(type, data as never, dims) as AnyTensor;

/** Writes an output into the caller's tensor. */
function filled(into: TensorLike, { name, type, data, dims }: NamedTensor): AnyTensor {
  const fits = into.type === type && into.data.length === data.length && into.dims.join() === dims.join();
  if (!fits) {
    throw new ZeropointError(
      'shape-mismatch',
      `output '${name}' is ${type} [${dims.join(', ')}], and the given tensor is ${into.type} [${into.dims.join(', ')}]`,
      { tensor: name },
    );
  }
  if (Array.isArray(data)) (into.data as string[]).splice(0, data.length, ...data);
  else bytesOf(into.data as Exclude<TensorLike['data'], string[]>).set(bytesOf(data));
  return into as AnyTensor;
}

/** Runs a model. Holds packed weights, and plans for the shapes seen so far. */
export class Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #owned: Owned;
  readonly #inputs: readonly ValueInfo[];
  #last: Promise<unknown> = Promise.resolve();
  #lastRunMs = 0;

  /** Internal: use Model.createSession(). */
  constructor(engine: Client, id: Id, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]) {
    this.#owned = new Owned(this, 'session', engine, id);
    this.#inputs = inputs;
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
  run(feeds: Feeds, options?: RunOptions): Promise<Outputs>;
  /** The same, for some of the outputs: `fetches` names them, and may hold tensors to write them into. */
  run(feeds: Feeds, fetches: Fetches, options?: RunOptions): Promise<Outputs>;
  async run(feeds: Feeds, second: Fetches | RunOptions = {}, third?: RunOptions): Promise<Outputs> {
    const fetches = this.#fetchesOf(second, third);
    const options = fetches ? (third ?? {}) : (second as RunOptions);
    check.checkOptions(options, { signal: check.signal });
    const { signal } = options;
    const taken = take(feeds, this.#inputs);
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
      const outputs = (last.outputs ?? []).filter(({ name }) => !fetches || fetches.has(name));
      return Object.fromEntries(
        outputs.map((output) => {
          const into = fetches?.get(output.name);
          return [output.name, into ? filled(into, output) : toTensor(output)];
        }),
      );
    });
    this.#last = run.catch(() => {});
    return run;
  }

  /** What is to be fetched, with what it is to be written into; undefined: it is not said. */
  #fetchesOf(
    value: Fetches | RunOptions,
    third: RunOptions | undefined,
  ): Map<string, TensorLike | null> | undefined {
    const wrong = (message: string) => new ZeropointError('invalid-argument', `fetches: ${message}`);
    if (typeof value !== 'object' || value === null) {
      throw new ZeropointError('invalid-argument', 'options: an object is needed');
    }
    const isList = Array.isArray(value);
    const names = isList ? (value as unknown[]) : Object.keys(value);
    const isOutput = (name: unknown) => this.outputNames.includes(name as string);
    // As ONNX Runtime tells them apart: options have no name that is an output's.
    if (!isList && third === undefined && !names.some(isOutput)) return undefined;
    const other = names.find((name) => !isOutput(name));
    if (other !== undefined) {
      throw wrong(`'${other}' is not an output; there are ${this.outputNames.join(', ')}`);
    }
    if (isList) return new Map((names as string[]).map((name) => [name, null]));
    for (const [name, tensor] of Object.entries(value)) {
      if (tensor !== null && !isTensorLike(tensor)) throw wrong(`${name}: a Tensor or null is needed`);
    }
    return new Map(Object.entries(value as Record<string, TensorLike | null>));
  }

  /**
   * The steps of the last run's plan: which node ran on which kind of kernel, and how long that took. Fused nodes have no
   * step of their own.
   */
  async steps(): Promise<StepInfo[]> {
    return this.#owned.engine.call('sessionSteps', [this.#owned.id]);
  }

  /**
   * Warnings about feeds and outputs so far, each once: a batch of 3 where the model declares 1, an output whose declared
   * shape is wrong.
   */
  async warnings(): Promise<string[]> {
    return this.#owned.engine.call('sessionWarnings', [this.#owned.id]);
  }

  /** Bytes that the last run's plan took for the values between operators. */
  async arenaBytes(): Promise<number> {
    return this.#owned.engine.call('arenaBytes', [this.#owned.id]);
  }

  /** Frees the session's memory. */
  async dispose(): Promise<void> {
    await this.#owned.dispose();
  }

  async [asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
