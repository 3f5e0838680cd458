import type { EngineReport, LayerReport, ModelFacts, ValueInfo } from './engine/module.ts';
import { type ErrorCode, type ErrorDetails, ZeropointError } from './errors.ts';
import type { EstimateOptions, QuantizeEstimate } from './estimate.ts';
import { bytesOfModel, checkName, filesOf, formOf, type ModelFile } from './files.ts';
import { withTexts } from './findings.ts';
import {
  type LoadOptions as BaseLoadOptions,
  internals,
  type Loaded,
  LoadedModel,
  loadModel,
} from './loaded.ts';
import * as check from './options.ts';
import { isNode } from './platform.ts';
import { sha256 } from './provenance.ts';
import {
  configFrom,
  estimateQuantization,
  fileChecks,
  needsSamples,
  type Progress,
  type QuantizeOptions,
  type QuantizeReport,
  quantizeModel,
  schemeChecks,
} from './quantize.ts';
import { dimsOf, sizeChecks } from './samples/synthetic.ts';
import { byItself } from './schema.ts';
import type { FileOptions, SchemeOptions } from './scheme-options.ts';
import type { ModelSource } from './source.ts';

type Format = NonNullable<FileOptions['format']>;

/** Sizes for dimensions of inputs that a file leaves open. A name that no input has, a shape that does not fit or two sizes for one name throw `invalid-argument`. */
export interface SizeOptions {
  /** Sizes of named dimensions: { H: 640, W: 640 }. */
  dims?: Readonly<Record<string, number>> | undefined;
  /** All sizes of an input, by its name: { x: [1, 3, 48, 192] }. Dimensions without a name are set by these alone. */
  shapes?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** The scheme and the sizes that Model.inspect() looks at. Without sizes, a model of dynamic shape has no count of operations. */
export interface InspectOptions extends SchemeOptions, SizeOptions {
  /** Also quantize every weight, to measure the loss: layers then have `weight.sqnr`. Default: false. */
  measureWeights?: boolean | undefined;
}

/** The reason why a model cannot run: the error that createSession() throws. */
export interface ModelProblem extends ErrorDetails {
  code: ErrorCode;
  message: string;
}

/** How a model is written into files. */
export interface ToFilesOptions extends FileOptions {
  /** The name of the model's file; files of its weights are named after it. Default: `model.onnx`. */
  name?: string | undefined;
}

/** The options of Model.simplify(). It fixes these sizes of inputs, and all sizes that follow from them. */
export interface SimplifyOptions extends FileOptions, SizeOptions {
  onProgress?: ((progress: Progress) => unknown) | undefined;
  signal?: AbortSignal | undefined;
}

/** A description of a model, and of the effect that quantization would have on it. */
export interface ModelReport extends ModelFacts {
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  /** Bytes of the file, and of the weights in others. */
  size: number;
  /** Multiply-accumulates of one run; 0 if shapes are not known. */
  macs: number;
  /** Why the model cannot run here: it names all operators that are not supported. Null: nothing is known against it. */
  problem: ModelProblem | null;
  /**
   * Which layers would be quantized, which not, and why, for the scheme in the call. If nothing is left to quantize, or
   * a `problem` prevents that too, there are no layers, and a warning says so.
   */
  plan: EngineReport;
}

/** How Model.load() reads a model. */
export interface LoadOptions extends BaseLoadOptions {
  /**
   * Of weights that stay in files: a name for the file that holds what is made of them, so that work which was stopped
   * can go on. A program that is killed, or a page that is reloaded, leaves the file. `Model.load` of the same files under
   * the same name finds it (`left`), and what these settings need of it is not made again. In Node a path; in browsers a
   * file's name in the private file system of the page's origin. It goes with the last model that has it: dispose of all.
   * Sources whose time of change is not known (bytes, Blobs that are no Files) leave nothing. Default: a file without a name, which nobody finds.
   */
  scratch?: string | undefined;
}

const checkPath: check.Check = (value) =>
  typeof value === 'string' && value !== '' ? undefined : 'a path is needed';

/** An error that says what a model cannot do here; all others are thrown on. */
function problemOf(error: unknown): ModelProblem {
  if (error instanceof ZeropointError && /^unsupported-/.test(error.code)) {
    return { code: error.code, message: error.message, ...error.details };
  }
  throw error;
}

/** Sizes as the engine takes them; no `dims`: none were given. */
interface Sizes {
  dims?: Record<string, number>;
  shapes: Record<string, number[]>;
}

/** One form for what names and shapes can both say: names, and shapes of the inputs that names do not settle. */
function sizesOf(inputs: readonly ValueInfo[], { dims, shapes = {} }: SizeOptions): Sizes {
  if (!dims && Object.keys(shapes).length === 0) return { shapes: {} };
  const isNameless = (name: string) =>
    inputs.some((input) => input.name === name && (input.dims?.includes('?') ?? true));
  return {
    dims: dimsOf(inputs, dims, shapes),
    shapes: Object.fromEntries(
      Object.entries(shapes).flatMap(([name, sizes]) => (isNameless(name) ? [[name, [...sizes]]] : [])),
    ),
  };
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

/** An ONNX model: a float one, or one that is already quantized. */
export class Model extends LoadedModel {
  /** The form that toBytes() writes by default: as the model was quantized, or as the file had it. */
  readonly format: Format;
  /** The opset of ai.onnx that toBytes() writes by default; undefined: the lowest that can hold the model. */
  readonly opset: number | undefined;
  /** The form that toFiles() writes by default. */
  readonly #files: FileOptions;
  /** How many results of a program that was stopped were in `scratch`. */
  readonly left: number;
  /** The hash of the file that the model was read from. */
  readonly #source: Promise<string | undefined> | undefined;

  private constructor(
    loaded: Loaded,
    format: Format,
    { files = {}, source }: { files?: FileOptions; source?: Promise<string | undefined> | undefined } = {},
  ) {
    super(loaded);
    this.format = format;
    this.opset = files.opset;
    this.#files = files;
    this.left = loaded.left ?? 0;
    this.#source = source;
  }

  /**
   * Reads a model from bytes, a Blob or File, a Response, a URL or (in Node) a file's path. Bytes are copied in the call and stay the
   * caller's. Weights in other files are found beside a path or an address; else give them as `externalData`.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    let hash: Promise<string | undefined> | undefined;
    const loaded = await loadModel(source, options, {
      look: (bytes) => {
        hash = sha256(bytes);
      },
      more: { scratch: isNode ? checkPath : checkName },
    });
    return new Model(loaded, loaded.described.folded ? 'qoperator' : 'qdq', { source: hash });
  }

  /** Describes the model, and the effect of quantization with these options, layer by layer. Runs nothing. */
  async inspect(given: InspectOptions = {}): Promise<ModelReport> {
    const { engine, id } = internals.of(this);
    const options = check.taken(given);
    const { schema } = engine;
    check.checkOptions(options, {
      ...schemeChecks(schema),
      ...sizeChecks,
      measureWeights: check.boolean,
    });
    const { dims, shapes, measureWeights, ...scheme } = options;
    const facts = await engine.call('inspectModel', [id]);
    const config = configFrom(schema, scheme);
    // A model that cannot run can still be looked at.
    let problem = await engine.call('requireSupported', [id]).then(() => null, problemOf);
    const bound = await this.#sized(sizesOf(this.inputs, { dims, shapes }));
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

  /** Whether quantize() with these options needs `calibration`. Runs nothing. */
  async needsSamples(options: SchemeOptions = {}): Promise<boolean> {
    const { engine, id } = internals.of(this);
    return needsSamples(engine, id, options);
  }

  /**
   * The memory and time that quantize() with these settings would take. Prepares the model as quantize() does, and does not
   * run it.
   */
  async estimate(options: EstimateOptions = {}): Promise<QuantizeEstimate> {
    const { engine, id } = internals.of(this);
    return estimateQuantization(engine, id, this, options);
  }

  /**
   * Quantizes the model. The result is a new model, which shares unchanged weights with this one and outlives it.
   */
  async quantize(options: QuantizeOptions = {}): Promise<{ model: Model; report: QuantizeReport }> {
    const { engine, id } = internals.of(this);
    const { model, report } = await quantizeModel(engine, id, this, options, this.#source);
    const { sizeAfter, format } = report;
    const { opset, externalData, chunkSize } = options;
    return {
      model: new Model({ engine, described: model, size: sizeAfter }, format, {
        files: { opset, externalData, chunkSize },
      }),
      report,
    };
  }

  /** The engine's model with these sizes, which the caller releases; undefined: none were given. */
  async #sized({ dims, shapes }: Sizes): Promise<number | undefined> {
    if (!dims) return undefined;
    const { engine, id } = internals.of(this);
    return (await engine.call('bindDims', [id, dims, shapes, false])).id;
  }

  /**
   * The model as quantize() prepares it, and nothing of it quantized: constants are computed, and whatever follows from fixed
   * dimensions; layers that follow each other become one, and nodes without effect are gone. Integers of the model stay
   * integers, in the file's own format. Values in half precision are computed in float32 afterwards. The result is a new
   * model.
   */
  async simplify({ dims, shapes, ...options }: SimplifyOptions = {}): Promise<Model> {
    const { engine, id } = internals.of(this);
    check.checkOptions({ dims, shapes }, sizeChecks);
    const sizes = sizesOf(this.inputs, { dims, shapes });
    const { id: bound } = await engine.call('bindDims', [id, sizes.dims ?? {}, sizes.shapes, true]);
    try {
      const { model, report } = await quantizeModel(
        engine,
        bound,
        this,
        { ...options, mode: 'weight-only' }, // whose weights may come out of files one by one
        this.#source,
        { ...options, ...sizes, simplified: true },
      );
      const { opset, externalData, chunkSize } = options;
      return new Model({ engine, described: model, size: report.sizeAfter }, report.format, {
        files: { opset, externalData, chunkSize },
      });
    } finally {
      engine.release(bound);
    }
  }

  /**
   * The model as the bytes of one ONNX file: at most 2 GiB, see toFiles(). Await it, or pass it to a function that takes an
   * AsyncIterable, as Node's `writeFile` does. `opset`: of ai.onnx, from 7 to 28. An opset that is too low throws an error,
   * which names a node that needs a higher one.
   */
  toBytes(
    options: FileOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> & AsyncIterable<Uint8Array<ArrayBuffer>> {
    const write = async () => {
      const { engine, id } = internals.of(this);
      check.checkOptions(options, fileChecks(engine.schema));
      const { format = this.format, opset = this.opset } = options;
      return bytesOfModel(engine, id, formOf(format, { ...options, opset }, { files: false }));
    };
    const bytes = write();
    return Object.assign(bytes, {
      async *[Symbol.asyncIterator]() {
        yield await bytes;
      },
    });
  }

  /**
   * The model as files, the model's own file first. If the model is larger than the 2 GiB that one file can have, or if
   * `externalData` asks for it, further files have its weights: `model.onnx_data`, `model.onnx_data_1`, ... Keep them in
   * one folder.
   */
  async toFiles(options: ToFilesOptions = {}): Promise<ModelFile[]> {
    const { engine, id } = internals.of(this);
    check.checkOptions(options, { ...fileChecks(engine.schema), name: checkName });
    const { name, format = this.format, ...rest } = options;
    const chosen = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    return filesOf(engine, id, formOf(format, { ...this.#files, ...chosen }, { name }));
  }
}
