// What the package's entries give.
export type { Build } from './builds.ts';
export { choices } from './choices.ts';
export { type CompareOptions, type Comparison, compare } from './compare.ts';
export {
  configure,
  createEngine,
  Engine,
  type EngineConfig,
  type EngineInfo,
  engineInfo,
} from './engine/client.ts';
export type {
  ActivationReport,
  ChannelSpread,
  Choices,
  Described,
  Dim,
  Histogram,
  LayerError,
  LayerReport,
  ModelFacts,
  OptionRow,
  OutputAgreement,
  Range,
  Schema,
  StepInfo,
  TrainingProgress,
  Trial,
  TrialOptions,
  ValueInfo,
  WeightReport,
} from './engine/module.ts';
export { type ErrorCode, type ErrorDetails, errorCodes, ZeropointError } from './errors.ts';
export type { EstimateOptions, QuantizeEstimate } from './estimate.ts';
export type { ExternalData } from './external.ts';
export type { Samples } from './feeds.ts';
export type { ModelFile } from './files.ts';
export { type Finding, type Remedy, wordsOf } from './findings.ts';
export type { LoadOptions } from './loaded.ts';
export {
  type InspectOptions,
  Model,
  type ModelProblem,
  type ModelReport,
  type SimplifyOptions,
  type SizeOptions,
  type ToFilesOptions,
} from './model.ts';
export type { RgbaImage } from './platform.ts';
export type { Provenance } from './provenance.ts';
export type { Progress, QuantizeOptions, QuantizeReport, TrainingOptions } from './quantize.ts';
export { type Recipe, type RecipeSamples, readRecipe, recipeOf, recipeText } from './recipe.ts';
export * from './samples/index.ts';
export { defaultOf, exampleOf, formOf, fromText, type Target } from './schema.ts';
export type {
  EngineTrainingOptions,
  FileOptions,
  ModelFormat,
  QuantizeMode,
  SchemeOptions,
} from './scheme-options.ts';
export type { Fetches, Outputs, RunOptions, Session, SessionOptions } from './session.ts';
export type { ModelSource } from './source.ts';
export {
  type AnyTensor,
  type Feeds,
  Tensor,
  type TensorData,
  type TensorLike,
  type TensorType,
} from './tensor.ts';
export { version } from './version.ts';
