// Written by `node tools/options.mjs` from the engine's own table of options (src/quant/options.h): change it there.
import type { Range } from './engine/module.ts';
import type { TrainingOptions } from './quantize.ts';
import type { Target } from './schema.ts';

/** A mode by its name: see `mode` of the options. */
export type QuantizeMode = 'auto' | 'dynamic' | 'float16' | 'qat' | 'static' | 'weight-only' | (string & {});
/** The form of a quantized model in its file: Q/DQ pairs, or operators that take integers. */
export type ModelFormat = 'qdq' | 'qoperator';

/** What is quantized, and how. */
export interface SchemeOptions {
  /**
   * Which values become integers or float16, and how ranges of activations are found.
   *
   * - `auto`: Tries other observers, each repair and a few float layers, and keeps the best result. It starts from
   *   `static`, and judges by a quarter of the samples, which calibration does not see. The report's `trials` list the
   *   tries. It takes several times as long.
   * - `dynamic`: Weights become integers. Each run quantizes activations, with the ranges that it sees.
   * - `float16`: Weights and activations become float16: half the size and half the memory. WebGPU computes with
   *   float16. Layers that would overflow or lose much stay float32: rules find them, and with `calibration` the
   *   samples too. The report names them, and says why. For float16 weights that are computed in float32, use
   *   `weight-only` with `weights: 'float16'`.
   * - `qat`: As `static`, then trained on the samples towards the float model's outputs.
   * - `static`: Weights and activations become integers, with ranges from calibration. Integer kernels run them.
   * - `weight-only`: Weights of 8 bits per channel, or of 4 or 2 bits in blocks; activations stay float.
   *
   * Default: `static`.
   */
  mode?: QuantizeMode | undefined;
  /** The type of quantized activations. Default: `uint8`. Modes `auto`, `qat`, `static`. */
  activations?: 'uint8' | 'int8' | 'uint16' | 'int16' | undefined;
  /**
   * The type of quantized weights. `weight-only` takes all of these types, and has weights of 4 and 2 bits in blocks.
   * `static` and `qat` take 4 and 8 bits. ONNX has no type of 3 bits, and `MatMulNBits` does not take 3 bits. Default:
   * `int8`.
   */
  weights?: 'int8' | 'uint8' | 'int4' | 'uint4' | 'int2' | 'uint2' | 'float16' | undefined;
  /**
   * Weights have one scale for each output channel, not one for a whole tensor. Default: true. Modes `auto`,
   * `dynamic`, `qat`, `static`, `weight-only`.
   */
  perChannel?: boolean | undefined;
  /**
   * The zero point of activations is the middle of their type, not where the range puts it. Default: false. Modes
   * `auto`, `qat`, `static`.
   */
  symmetric?: boolean | undefined;
  /**
   * The zero point of weights is the middle of their type. By default false for unsigned types, because files store
   * their zero points anyway, and for `weight-only` with 4 or 2 bits, because the zero point of a block is worth the
   * half or quarter byte that it takes. Else true. Mode `dynamic` has true for unsigned types too, because
   * `ConvInteger` takes one zero point only. Default: depends on the type and the mode. Modes `auto`, `dynamic`,
   * `qat`, `static`, `weight-only`.
   */
  symmetricWeights?: boolean | undefined;
  /**
   * Weights of 7 bits. On x86 processors without VNNI, ONNX Runtime's products of 8-bit weights saturate, and products
   * of 7-bit weights do not. Default: false. Modes `auto`, `dynamic`, `qat`, `static`, `weight-only`.
   */
  reduceRange?: boolean | undefined;
  /** How many weights of 4 or 2 bits share one scale. Default: 32. One of 16, 32, 64, 128, 256. Mode `weight-only`. */
  blockSize?: number | undefined;
  /**
   * The type of inputs that are quantized: float, or their quantized type (mode `float16`: float16). Default: `float`.
   * Modes `auto`, `float16`, `qat`, `static`.
   */
  inputs?: 'float' | 'quantized' | undefined;
  /**
   * The type of outputs that are quantized: float, or their quantized type (mode `float16`: float16). Default:
   * `float`. Modes `auto`, `float16`, `qat`, `static`.
   */
  outputs?: 'float' | 'quantized' | undefined;
  /**
   * How calibration finds ranges of activations from samples.
   *
   * - `entropy`: The range whose integers lose the least information (Kullback-Leibler divergence).
   * - `min-max`: From the smallest to the largest value that occurred.
   * - `moving-average`: A moving average of each sample's smallest and largest value.
   * - `mse`: The range whose integers leave the least squared error.
   * - `percentile`: The range without the outermost values: `percentile` says what share of the values it covers.
   *
   * Default: `min-max`. Modes `auto`, `qat`, `static`.
   */
  observer?: 'entropy' | 'min-max' | 'moving-average' | 'mse' | 'percentile' | (string & {}) | undefined;
  /** Quantize only these nodes, by name, and operators, by type. */
  include?: readonly string[] | undefined;
  /** Leave these nodes, by name, and operators, by type, as they are. Wins over `include`. */
  exclude?: readonly string[] | undefined;
  /**
   * Another precision for single nodes, by name. Activations take 8 or 16 bits or `float`. Weights take 4 or 8 bits
   * (`weight-only`: also 2) or `float`, and `float16` where activations are `float`.
   */
  precision?: Readonly<Record<string, { activations?: string; weights?: string }>> | undefined;
  /** Ranges of values, by name. They replace the ranges that calibration finds. Modes `auto`, `qat`, `static`. */
  ranges?: Readonly<Record<string, Range>> | undefined;
  /**
   * The runtime that the file is for; docs/RUNTIMES.md lists what each runtime takes. Options that you leave open are
   * set to suit the runtime. An option that you choose and that the runtime does not take is an error. The report's
   * warnings name the changed options, and the nodes of the file that the runtime does not take. Default:
   * `onnxruntime`.
   */
  runtime?:
    | 'onnxruntime'
    | 'onnxruntime-web'
    | 'webgpu'
    | 'openvino'
    | 'tensorrt'
    | 'qnn'
    | 'zeropoint'
    | (string & {})
    | undefined;
  /**
   * Gives more than 8 bits to the layers that quantization harms most, until the target is reached. For `sqnr` and
   * `drop` these are as few layers as the quality needs, for `size` as many as fit. Each layer gets the cheapest form
   * that helps: 16-bit activations where they are enough (`sqnr` and `drop`), float activations with float16 weights,
   * or float. The report's layers name the form; its `tradeoff` lists the points between. Needs samples. The name of a
   * runtime here means the option `runtime`.
   */
  target?: Target | string | undefined;
  /**
   * Measure how far the outputs change when one layer alone is quantized. Needs samples. Targets measure it anyway,
   * and `auto` measures it for a few layers. Default: false.
   */
  sensitivity?: boolean | undefined;
  /** Numbers that observers and repairs take, by name. Default: their own defaults. */
  parameters?: Readonly<Record<string, number>> | undefined;
  /**
   * Corrections that win back accuracy that quantization lost. All repairs but `hqq` need samples, and read them more
   * than once. The default repairs are worth their time for every model: `smooth` and `bias-correction` where
   * activations are calibrated, `gptq` for weights of 4 or 2 bits if there are samples. Repairs that run by default
   * are checked on held-out samples, and taken back where they do not help; the report's `repairs` says so. `[]` means
   * no repair.
   *
   * - `equalization`: Scales channels between layers so that weights and activations round well. After Nagel et al.
   *   2019. It helps 4-bit weights most.
   * - `smooth`: For transformers: moves outlier channels of activations into the weights. Xiao et al. 2023. A default
   *   where activations are calibrated.
   * - `hqq`: Chooses scales that suit most weights, not the outliers. Badri and Shaji 2023. The only repair that needs
   *   no samples.
   * - `adaround`: Learns, layer by layer, which weights round up and which round down. Nagel et al. 2020.
   * - `gptq`: The rounding of one weight makes up for the rounding of others. Frantar et al. 2022. A default for
   *   weights of 4 or 2 bits where there are samples.
   * - `bias-correction`: Corrects biases by the shift that quantization gives to channel means. Nagel et al. 2019. A
   *   default where activations are calibrated.
   *
   * Default: the repairs that are worth their time for every model.
   */
  repairs?:
    | readonly ('equalization' | 'smooth' | 'hqq' | 'adaround' | 'gptq' | 'bias-correction' | (string & {}))[]
    | undefined;
  /** Fewer bits for weights than their type has. Default: the bits of the type. 2 to 8. Mode `qat`. */
  weightBits?: number | undefined;
  /**
   * Fewer bits for activations than their type has: they are clipped to the integers of these bits. Default: the bits
   * of the type. 2 to 8. Mode `qat`.
   */
  activationBits?: number | undefined;
  /** How mode `qat` trains. Mode `qat`. */
  training?: TrainingOptions | undefined;
}

/** How mode `qat` trains: the part of TrainingOptions that the engine knows. */
export interface EngineTrainingOptions {
  /**
   * How often each sample is seen. With 0 nothing is trained: only `weightBits` and `activationBits` take effect.
   * Default: 3. 0 to 100000.
   */
  epochs?: number | undefined;
  /** The learning rate that the warm-up rises to. Default: 0.001. Above 0, up to 10. */
  learningRate?: number | undefined;
  /** The number of samples in one step. Default: 32. 1 to 65536. */
  batchSize?: number | undefined;
  /**
   * The measure of error that training makes small.
   *
   * - `kl`: the distance to the float model's probabilities
   * - `mse`: the squared distance to the float model's outputs, or to the targets of samples that have targets
   * - `cross-entropy`: the distance to class numbers that samples have as targets
   * - `auto`: the targets decide; without targets `kl` for rows of classes, else `mse`
   *
   * Default: `auto`.
   */
  loss?: 'auto' | 'kl' | 'mse' | 'cross-entropy' | undefined;
  /** The rule that makes a step from gradients. Default: `adam`. */
  optimizer?: 'adam' | 'sgd' | undefined;
  /**
   * How the learning rate changes after the warm-up. `cosine` lowers it to zero along a cosine. `constant` keeps it.
   * `step` lowers it to a tenth after half of the following steps, and to a hundredth after three quarters. Default:
   * `cosine`.
   */
  schedule?: 'cosine' | 'constant' | 'step' | undefined;
  /** The share of all steps in which the learning rate rises. Default: 0.05. From 0, below 1. */
  warmUp?: number | undefined;
  /** The momentum of `sgd`. Default: 0.9. From 0, below 1. */
  momentum?: number | undefined;
  /** The decay of weights. Biases and scales do not decay. Default: 0. */
  weightDecay?: number | undefined;
  /** The largest norm of all gradients together; 0 means no limit. Default: 1. */
  clipNorm?: number | undefined;
  /** The share of the samples that is kept aside to choose the best epoch. Default: 0.1. From 0, below 1. */
  validation?: number | undefined;
  /**
   * How scales change after calibration.
   *
   * - `learned`: gradient descent trains them, as it trains weights (LSQ, Esser et al. 2020)
   * - `moving-average`: scales of activations follow the ranges of batches, and scales of weights follow the largest
   *   weights (Jacob et al. 2018)
   * - `fixed`: they stay as calibrated
   *
   * Default: `learned`.
   */
  scales?: 'learned' | 'moving-average' | 'fixed' | undefined;
  /**
   * Whether zero points of activations are learned too, or stay as calibrated. LSQ+, Bhalgat et al. 2020. Default:
   * `fixed`.
   */
  zeroPoints?: 'fixed' | 'learned' | undefined;
  /**
   * Float values inside the model, by name, that training pulls towards the float model's too. The mean squared error
   * of each, relative to its power, is added to the loss.
   */
  intermediate?: readonly string[] | undefined;
  /**
   * Train one block after the other, each towards the float model's values at its end. Each block takes the outputs of
   * the blocks before it and learns to give the float model's values (BRECQ, Li et al. 2021). Each weight learns which
   * of the two nearest integers it is rounded to. Scales of weights (unless `scales` is `fixed`) and biases are
   * trained too. Blocks are for few samples: each sample teaches a block by many numbers. `epochs` counts for each
   * block. Blocks refuse every `loss` but `mse` and `auto`, `scales` as a moving average, learned `zeroPoints`,
   * `intermediate`, `freeze` and checkpoints. Default: false.
   */
  blocks?: boolean | undefined;
  /** Leave layers before an operator without a gradient untrained; without `freeze` they are an error. Default: false. */
  freeze?: boolean | undefined;
  /**
   * The memory that samples, parameters and the values of a step may take, in bytes or as '500MB'. A batch that needs
   * more memory is computed in parts. If one sample needs more, quantize() throws `out-of-memory`. Default: 2 GiB.
   */
  memoryLimit?: number | string | undefined;
  /** The same seed gives the same model. Default: 1. */
  seed?: number | undefined;
}

/** How the result is written. */
export interface FileOptions {
  /**
   * Q/DQ pairs, or operators that take integers. toBytes() writes the result in this form. `qdq` writes Q/DQ pairs:
   * QuantizeLinear and DequantizeLinear around float operators. `qoperator` writes operators that take integers
   * (`QLinearConv`, `MatMulInteger`, `MatMulNBits`, ...) where ONNX has them, and Q/DQ pairs elsewhere. The default is
   * the form that ONNX Runtime computes fastest: `qoperator` for `dynamic` and for `weight-only` with 4 or 2 bits,
   * `qdq` for all others and for 4 bits in ONNX Runtime Web. Q/DQ pairs have no weights of 2 bits. Default: the form
   * that ONNX Runtime computes fastest.
   */
  format?: ModelFormat | undefined;
  /**
   * The opset of the file: the version of ONNX's own operators (ai.onnx). The default is the lowest opset that can
   * hold the result, so that old runtimes open the file: see `QuantizeReport.opset`. An opset that is too low is an
   * error, which names a node that needs a higher one. Default: the lowest that can hold the result. 7 to 28.
   */
  opset?: number | undefined;
  /**
   * Weights lie in files of their own beside the model. toFiles() then gives `model.onnx`, `model.onnx_data` and,
   * beyond `chunkSize`, `model.onnx_data_1`, ...: names that Transformers.js and others look for. A model that would
   * be larger than 2 GiB is always written in this way; with `false` it is an error. Default: for models that one file
   * cannot hold.
   */
  externalData?: boolean | undefined;
  /**
   * The largest size of a file of weights, in bytes or as '500MB'. Weights that do not fit go into a further file. A
   * tensor is never divided: a larger tensor has a file of its own. Default: 2 GiB less 64 KiB.
   */
  chunkSize?: number | string | undefined;
}
