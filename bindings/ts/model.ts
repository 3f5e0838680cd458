import { asyncDispose, Owned } from './disposal.ts';
import { type Engine, engine as theEngine } from './engine/client.ts';
import type { ModelDescription } from './engine/host.ts';
import type { EngineReport, LayerReport, ModelFacts, ValueInfo } from './engine/module.ts';
import { type ErrorCode, type ErrorDetails, ZeropointError } from './errors.ts';
import { withTexts } from './findings.ts';
import * as check from './options.ts';
import { sha256 } from './provenance.ts';
import {
  configFrom,
  fileChecks,
  needsSamples,
  type QuantizeOptions,
  type QuantizeReport,
  quantizeModel,
  schemeChecks,
} from './quantize.ts';
import { byItself } from './schema.ts';
import type { FileOptions, SchemeOptions } from './scheme-options.ts';
import { Session, type SessionOptions, sessionChecks } from './session.ts';
import { bytesFrom, type ModelSource } from './source.ts';

type Format = NonNullable<FileOptions['format']>;

/** How Model.load() reads a model. */
export interface LoadOptions {
  signal?: AbortSignal | undefined;
}

/** What Model.inspect() is to look at: a scheme, and sizes of named dimensions. */
export interface InspectOptions extends SchemeOptions {
  /** Sizes for named dimensions ({ H: 640 }), without which a model of dynamic shape has no count of operations. */
  dims?: Readonly<Record<string, number>> | undefined;
  /** Also quantize every weight to say what that costs: layers then have `weight.sqnr`. Default: false. */
  measureWeights?: boolean | undefined;
}

/** What stands in the way of running a model: the error that createSession() throws. */
export interface ModelProblem extends ErrorDetails {
  code: ErrorCode;
  message: string;
}

/** What a model is, and what quantization would do to it. */
export interface ModelReport extends ModelFacts {
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  /** Bytes of the file. */
  size: number;
  /** Multiply-accumulates of one run; 0 where shapes are not known. */
  macs: number;
  /** Why the model cannot run here: it names all operators that are not supported. Null: nothing is known against it. */
  problem: ModelProblem | null;
  /**
   * What would be quantized, what not, and why: layer by layer, for the scheme that was asked about. Where nothing is
   * left to quantize, or a `problem` stands in the way of that too, there are no layers, and a warning that says so.
   */
  plan: EngineReport;
}

/** An error that says what a model cannot do here; all others are thrown on. */
function problemOf(error: unknown): ModelProblem {
  if (error instanceof ZeropointError && /^unsupported-/.test(error.code)) {
    return { code: error.code, message: error.message, ...error.details };
  }
  throw error;
}

const noPlan: EngineReport = {
  mode: '',
  format: 'qdq',
  layers: [],
  warnings: [],
  repairs: [],
  repairsRun: [],
  trials: [],
  layersQuantized: 0,
  weightBytesBefore: 0,
  weightBytesAfter: 0,
  macs: 0,
  macsQuantized: 0,
  samples: 0,
};

/** The engine's own handle on a model; for the package's other files. */
export const internals: { of(model: Model): { engine: Engine; id: number } } = {
  of: () => {
    throw new Error('set by Model');
  },
};

/** An ONNX model: a float one, or one that is already quantized. */
export class Model {
  readonly inputs: readonly ValueInfo[];
  /** Inputs that have a value in the file (as weights had before IR version 4): a run may be fed another one. */
  readonly optionalInputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Bytes of the file that the model was read from, or that it would be written to. */
  readonly size: number;
  /** How toBytes() writes unless told otherwise. */
  readonly format: Format;
  /** The opset of ai.onnx that toBytes() writes unless told otherwise; undefined: the lowest that can say the model. */
  readonly opset: number | undefined;
  readonly #owned: Owned;
  /** The hash of the file that the model was read from. */
  readonly #source: Promise<string | undefined> | undefined;

  static {
    internals.of = (model) => {
      // A structural copy of the class (a second copy of the package) has no such field.
      const owned = model.#owned;
      return { engine: owned.engine, id: owned.id };
    };
  }

  private constructor(
    engine: Engine,
    described: ModelDescription,
    size: number,
    format: Format,
    { opset, source }: { opset?: number | undefined; source?: Promise<string | undefined> } = {},
  ) {
    this.#owned = new Owned(this, 'model', engine, described.id);
    this.inputs = described.inputs;
    this.optionalInputs = described.optionalInputs;
    this.outputs = described.outputs;
    this.size = size;
    this.format = format;
    this.opset = opset;
    this.#source = source;
  }

  /**
   * Reads a model from bytes, a Blob or File, a URL or (in Node) a file's path. Bytes are copied in the call and stay the
   * caller's.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    check.checkOptions(options, { signal: check.signal });
    const { signal } = options;
    const bytes = await bytesFrom(source, signal);
    const engine = await theEngine();
    await engine.breathe(signal);
    const size = bytes.byteLength;
    const hash = sha256(bytes); // before they move
    const moved = bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : [];
    return new Model(engine, await engine.call('readModel', [bytes], moved), size, 'qdq', { source: hash });
  }

  /** What the model is, and what quantization with these options would do to it, layer by layer. Runs nothing. */
  async inspect(given: InspectOptions = {}): Promise<ModelReport> {
    const { engine, id } = this.#owned;
    const options = check.taken(given);
    const { schema } = engine;
    check.checkOptions(options, {
      ...schemeChecks(schema),
      dims: check.recordOf(check.integer(0, 2 ** 31)),
      measureWeights: check.boolean,
    });
    const { dims, measureWeights, ...scheme } = options;
    const facts = await engine.call('inspectModel', [id]);
    const config = configFrom(schema, scheme);
    // A model that cannot run can still be looked at.
    let problem = await engine.call('requireSupported', [id]).then(() => null, problemOf);
    const bound = dims ? (await engine.call('bindDims', [id, dims])).id : undefined;
    try {
      const plan = await engine
        .call('planOf', [bound ?? id, config, measureWeights ?? false])
        .then(
          (report): EngineReport => ({
            ...report,
            layers: report.layers.map((layer) => withTexts<LayerReport>(schema, layer)),
          }),
        )
        .catch((error: ZeropointError) => {
          // Where nothing is left to quantize, there is nothing against running it.
          const isDone = facts.quantized && error.message === 'the model is quantized already';
          if (!isDone) problem ??= problemOf(error);
          return { ...noPlan, mode: scheme.mode ?? byItself(schema, 'mode'), warnings: [error.message] };
        });
      const { inputs, outputs, size } = this;
      return { ...facts, inputs, outputs, size, macs: plan.macs, problem, plan };
    } finally {
      if (bound !== undefined) engine.release(bound);
    }
  }

  /** Makes the model ready to run. Throws for operators that are not supported, naming all of them. */
  async createSession(options: SessionOptions = {}): Promise<Session> {
    check.checkOptions(options, sessionChecks);
    const { engine, id } = this.#owned;
    const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
    const session = await engine.call('createSession', [id, { threads, integer: options.integer ?? true }]);
    return new Session(engine, session, this.inputs, this.outputs);
  }

  /** Whether quantize() with these options needs `calibration`. Runs nothing. */
  async needsSamples(options: SchemeOptions = {}): Promise<boolean> {
    const { engine, id } = this.#owned;
    return needsSamples(engine, id, options);
  }

  /**
   * Quantizes the model. The result is a new model, which shares unchanged weights with this one and outlives it.
   */
  async quantize(options: QuantizeOptions = {}): Promise<{ model: Model; report: QuantizeReport }> {
    const { engine, id } = this.#owned;
    const { model, report } = await quantizeModel(engine, id, this.size, options, this.#source);
    const { sizeAfter, format } = report;
    return { model: new Model(engine, model, sizeAfter, format, { opset: options.opset }), report };
  }

  /**
   * The model as the bytes of an ONNX file. Await it, or pass it on as it is to what takes an AsyncIterable, as Node's
   * `writeFile` does. `opset`: that of ai.onnx, from 7 to 28; throws for one that is too low, naming a node that needs
   * more.
   */
  toBytes(
    options: FileOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> & AsyncIterable<Uint8Array<ArrayBuffer>> {
    const write = async () => {
      const { engine, id } = this.#owned;
      check.checkOptions(options, fileChecks(engine.schema));
      const { format = this.format, opset = this.opset ?? 0 } = options;
      return engine.call('writeModel', [id, format, opset]);
    };
    const bytes = write();
    return Object.assign(bytes, {
      async *[Symbol.asyncIterator]() {
        yield await bytes;
      },
    });
  }

  /** Gives the model's memory back. Sessions and quantized models made from it live on. */
  async dispose(): Promise<void> {
    await this.#owned.dispose();
  }

  async [asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
