// Written by `node tools/options.mjs` from the engine's own table of options (src/quant/options.h): change it there.
import type { Range } from './engine/module.ts';
import type { TrainingOptions } from './quantize.ts';
import type { Target } from './schema.ts';

/** A mode by its name: see `mode` of the options. */
export type QuantizeMode = 'auto' | 'dynamic' | 'float16' | 'qat' | 'static' | 'weight-only' | (string & {});
/** How a quantized model is written: pairs of Q and DQ, or operators that take integers. */
export type ModelFormat = 'qdq' | 'qoperator';

/** What is to be quantized, and how. */
export interface SchemeOptions {
  /**
   * What becomes integers or float16, and how ranges of activations are found.
   *
   * - `auto`: Tries other observers, each repair and a few float layers, and keeps what is best. Starts from `static`,
   *   and judges by a quarter of the samples that calibration does not see. The report's `trials` say what was tried.
   *   Takes several times as long.
   * - `dynamic`: Integer weights; activations are quantized in each run, with the range they then have.
   * - `float16`: Values as float16, weights and activations: half the size and the memory. As WebGPU computes. Layers
   *   that would overflow or lose much stay float32: by rules, and with `calibration` by what the samples show; the
   *   report says which, and why. Weights alone as float16, computed in float32: `weight-only` with `weights:
   *   'float16'`.
   * - `qat`: As `static`, then trained on the samples towards the float model's outputs.
   * - `static`: Integer weights and activations, with ranges from calibration; runs on integer kernels.
   * - `weight-only`: Weights of 8 bits per channel, or of 4 or 2 bits in blocks; activations stay float.
   *
   * Default: `static`.
   */
  mode?: QuantizeMode | undefined;
  /** The type of quantized activations. Default: `uint8`. Modes `auto`, `qat`, `static`. */
  activations?: 'uint8' | 'int8' | 'uint16' | 'int16' | undefined;
  /**
   * The type of quantized weights. Those of 4 and 2 bits are for `weight-only`, which has them in blocks, and so is
   * float16; 4 bits also for `static` and `qat`. There are no 3 bits: ONNX has no such type, and `MatMulNBits` does
   * not take them. Default: `int8`.
   */
  weights?: 'int8' | 'uint8' | 'int4' | 'uint4' | 'int2' | 'uint2' | 'float16' | undefined;
  /**
   * Weights: one scale for each output channel, else one for a whole tensor. Default: true. Modes `auto`, `dynamic`,
   * `qat`, `static`, `weight-only`.
   */
  perChannel?: boolean | undefined;
  /**
   * Activations: the zero point in the middle of the type, not wherever the range puts it. Default: false. Modes
   * `auto`, `qat`, `static`.
   */
  symmetric?: boolean | undefined;
  /**
   * Weights: the zero point in the middle of the type. False for unsigned types, whose zero point is stored anyway,
   * and for `weight-only` with 4 or 2 bits, where one for each block is worth its half (or quarter) byte; else true,
   * and in mode `dynamic`, since `ConvInteger` takes one zero point only. Default: as suits the type and the mode.
   * Modes `auto`, `dynamic`, `qat`, `static`, `weight-only`.
   */
  symmetricWeights?: boolean | undefined;
  /**
   * 7-bit weights. On x86 processors without VNNI, ONNX Runtime's products of 8 bits saturate; those of 7 bits do not.
   * Default: false. Modes `auto`, `dynamic`, `qat`, `static`, `weight-only`.
   */
  reduceRange?: boolean | undefined;
  /**
   * Elements that share a scale in weights of 4 and 2 bits. Default: 32. One of 16, 32, 64, 128, 256. Mode
   * `weight-only`.
   */
  blockSize?: number | undefined;
  /**
   * What the model takes where its inputs are quantized (mode `float16`: float16). Default: `float`. Modes `auto`,
   * `float16`, `qat`, `static`.
   */
  inputs?: 'float' | 'quantized' | undefined;
  /**
   * What the model gives where its outputs are quantized (mode `float16`: float16). Default: `float`. Modes `auto`,
   * `float16`, `qat`, `static`.
   */
  outputs?: 'float' | 'quantized' | undefined;
  /**
   * How ranges are found from samples.
   *
   * - `entropy`: The range whose integers lose the least information (Kullback-Leibler divergence).
   * - `min-max`: From the smallest to the largest value that occurred.
   * - `moving-average`: A moving average of each sample's smallest and largest value.
   * - `mse`: The range whose integers leave the least squared error.
   * - `percentile`: The range of all but the outermost values: `percentile` says how many.
   *
   * Default: `min-max`. Modes `auto`, `qat`, `static`.
   */
  observer?: 'entropy' | 'min-max' | 'moving-average' | 'mse' | 'percentile' | (string & {}) | undefined;
  /** Quantize only these nodes, by name, and operators, by type. */
  include?: readonly string[] | undefined;
  /** Leave these nodes, by name, and operators, by type, as they are. Wins over `include`. */
  exclude?: readonly string[] | undefined;
  /**
   * Another precision for single nodes, by name. 8 or 16 bits or `float` for activations, 4 or 8 bits (`weight-only`:
   * or 2) or `float` for weights, which may be `float16` where activations are `float`.
   */
  precision?: Readonly<Record<string, { activations?: string; weights?: string }>> | undefined;
  /** Ranges by value name, used as they are instead of observed. Modes `auto`, `qat`, `static`. */
  ranges?: Readonly<Record<string, Range>> | undefined;
  /**
   * Where the file is to run; docs/RUNTIMES.md has what each takes. Options that nobody chose become what it takes,
   * and those that it does not take are an error; the report's warnings say what was changed, and which nodes of the
   * file it does not take. Default: `onnxruntime`.
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
   * Gives more than 8 bits to the layers that quantization harms most, until this is reached. As few layers as a
   * quality needs, or as many as fit a size. Each gets what costs least: 16-bit activations where they are enough (a
   * quality or drop), float activations with float16 weights, or float. The report's layers say which; its `tradeoff`
   * has the points between. Needs samples. A runtime's name says the same as `runtime`.
   */
  target?: Target | string | undefined;
  /**
   * Measure what quantizing each layer alone does to the outputs. Needs samples. Targets do so anyway, and `auto` for
   * a few. Default: false.
   */
  sensitivity?: boolean | undefined;
  /** Numbers that observers and repairs take, by name. Default: theirs. */
  parameters?: Readonly<Record<string, number>> | undefined;
  /**
   * Repairs of lost accuracy. All but `hqq` need samples, which are then read more than once. By default those that
   * are worth their time for everyone: `smooth` and `bias-correction` where activations are calibrated, `gptq` for
   * weights of 4 or 2 bits if there are samples. Those that run by default are checked on samples held out and taken
   * back where they do not help; the report's `repairs` says so. `[]`: none.
   *
   * - `equalization`: Scales channels between layers so that weights and activations round well. After Nagel et al.
   *   2019. With 4-bit weights above all.
   * - `smooth`: For transformers: outlier channels of activations go into the weights. Xiao et al. 2023. A default
   *   where activations are calibrated.
   * - `hqq`: Weights alone: scales that suit the many weights, not the outliers. Badri and Shaji 2023. The one repair
   *   that needs no samples.
   * - `adaround`: Learns, layer by layer, which weights round up and which round down. Nagel et al. 2020.
   * - `gptq`: The rounding of one weight makes up for the rounding of others. Frantar et al. 2022. A default for
   *   weights of 4 or 2 bits where there are samples.
   * - `bias-correction`: Biases take back the shift of channel means. Nagel et al. 2019. A default where activations
   *   are calibrated.
   *
   * Default: those that are worth their time for everyone.
   */
  repairs?:
    | readonly ('equalization' | 'smooth' | 'hqq' | 'adaround' | 'gptq' | 'bias-correction' | (string & {}))[]
    | undefined;
  /** Fewer bits for weights than their type has. Default: those of the type. 2 to 8. Mode `qat`. */
  weightBits?: number | undefined;
  /**
   * Fewer bits for activations than their type has: they are clipped to so many integers of it. Default: those of the
   * type. 2 to 8. Mode `qat`.
   */
  activationBits?: number | undefined;
  /** How mode `qat` trains. Mode `qat`. */
  training?: TrainingOptions | undefined;
}

/** How mode `qat` trains: the part of TrainingOptions that the engine knows. */
export interface EngineTrainingOptions {
  /**
   * How often each sample is seen. 0: not at all, only `weightBits` and `activationBits` take effect. Default: 3. 0 to
   * 100000.
   */
  epochs?: number | undefined;
  /** The largest step. Default: 0.001. Above 0, up to 10. */
  learningRate?: number | undefined;
  /** Samples of one step. Default: 32. 1 to 65536. */
  batchSize?: number | undefined;
  /**
   * What training makes small.
   *
   * - `kl`: the distance to the float model's probabilities
   * - `mse`: the squared distance to its outputs, or to the targets, where samples have them
   * - `cross-entropy`: against class numbers that samples bring
   * - `auto`: as the targets say; without targets `kl` for rows of classes, else `mse`
   *
   * Default: `auto`.
   */
  loss?: 'auto' | 'kl' | 'mse' | 'cross-entropy' | undefined;
  /** How steps are made. Default: `adam`. */
  optimizer?: 'adam' | 'sgd' | undefined;
  /**
   * How the learning rate goes on after the warm-up. Down to nothing along a cosine, not at all, or in steps: to a
   * tenth at the half and a hundredth at three quarters. Default: `cosine`.
   */
  schedule?: 'cosine' | 'constant' | 'step' | undefined;
  /** The part of all steps in which the learning rate rises. Default: 0.05. From 0, below 1. */
  warmUp?: number | undefined;
  /** The momentum of `sgd`. Default: 0.9. From 0, below 1. */
  momentum?: number | undefined;
  /** The decay of weights, not of biases and scales. Default: 0. */
  weightDecay?: number | undefined;
  /** The largest length of all gradients together; 0: any. Default: 1. */
  clipNorm?: number | undefined;
  /** The part of the samples that is kept aside to choose the best epoch by. Default: 0.1. From 0, below 1. */
  validation?: number | undefined;
  /**
   * How scales go on from where calibration left them.
   *
   * - `learned`: by gradient descent, as the weights (LSQ, Esser et al. 2020)
   * - `moving-average`: those of activations follow the ranges that batches have, those of weights their largest
   *   values (Jacob et al. 2018)
   * - `fixed`: as calibrated
   *
   * Default: `learned`.
   */
  scales?: 'learned' | 'moving-average' | 'fixed' | undefined;
  /**
   * Whether zero points of activations are learned too, or stay where they are. LSQ+, Bhalgat et al. 2020. Default:
   * `fixed`.
   */
  zeroPoints?: 'fixed' | 'learned' | undefined;
  /**
   * Float values inside the model, by name, that are to be as in the float model too. The mean squared error of each,
   * relative to its power, is added to the loss.
   */
  intermediate?: readonly string[] | undefined;
  /**
   * Train block after block, each towards what the float model makes at its end. Each block learns, with what the
   * blocks before it make, to give what the float model gives there (BRECQ, Li et al. 2021). Weights learn to which of
   * the two integers next to them they are rounded; their scales (unless `scales` is `fixed`) and biases are trained
   * too. Made for few samples: each one teaches a block by many numbers. `epochs` are those of each block. Another
   * `loss` than `mse`, `zeroPoints`, `intermediate`, `freeze` and checkpoints cannot be had with it. Default: false.
   */
  blocks?: boolean | undefined;
  /** Leave what comes before an operator without a gradient as it is, where that is else an error. Default: false. */
  freeze?: boolean | undefined;
  /**
   * What samples, parameters and the values of a step may take, in bytes or as '500MB'. A batch that needs more goes
   * in parts; where a single sample does, quantize() throws `out-of-memory`. Default: 2 GiB.
   */
  memoryLimit?: number | string | undefined;
  /** The same seed gives the same model. Default: 1. */
  seed?: number | undefined;
}

/** How the result is written. */
export interface FileOptions {
  /**
   * Q/DQ pairs, or operators that take integers where there are such. How toBytes() writes the result: `qdq`, Q/DQ
   * pairs, or `qoperator`, operators that take integers where there are such (`QLinearConv`, `MatMulInteger`,
   * `MatMulNBits`, ...) and Q/DQ elsewhere. By default what ONNX Runtime computes fastest: operators for `dynamic` and
   * for `weight-only` with 4 or 2 bits, Q/DQ for all others and for 4 bits in ONNX Runtime Web. Q/DQ has no type for 2
   * bits. Default: what ONNX Runtime computes fastest.
   */
  format?: ModelFormat | undefined;
  /**
   * The opset of ai.onnx that is written. By default the lowest that can say the result, so that old runtimes take it:
   * see `QuantizeReport.opset`. One that is too low is an error which names a node that needs more. Default: the
   * lowest that can say the result. 7 to 28.
   */
  opset?: number | undefined;
  /**
   * Weights lie in files of their own beside the model. toFiles() then gives `model.onnx`, `model.onnx_data` and,
   * beyond `chunkSize`, `model.onnx_data_1`, ...: names that Transformers.js and others look for. A model that would
   * be larger than 2 GiB is always written so, unless this is `false`: then it is an error. Default: for models that
   * one file cannot hold.
   */
  externalData?: boolean | undefined;
  /**
   * The most that a file of weights takes, in bytes or as '500MB'. What does not fit goes into a further one. A tensor
   * is never divided: a larger one has a file of its own. Default: 2 GiB less 64 KiB.
   */
  chunkSize?: number | string | undefined;
}
