// The interface that the package's entries share.
export { choices } from './choices.ts';
export * from './common.ts';
export { type CompareOptions, type Comparison, compare } from './compare.ts';
export type {
  ActivationReport,
  ChannelSpread,
  Choices,
  Described,
  Histogram,
  LayerError,
  LayerReport,
  ModelFacts,
  OptionRow,
  OutputAgreement,
  Range,
  Schema,
  TrainingProgress,
  Trial,
  TrialOptions,
  WeightReport,
} from './engine/module.ts';
export type { EstimateOptions, QuantizeEstimate } from './estimate.ts';
export type { Samples } from './feeds.ts';
export type { ModelFile } from './files.ts';
export { type Finding, type Remedy, wordsOf } from './findings.ts';
export {
  type InspectOptions,
  type LoadOptions,
  Model,
  type ModelProblem,
  type ModelReport,
  type SimplifyOptions,
  type SizeOptions,
  type ToFilesOptions,
} from './model.ts';
export type { RgbaImage } from './platform.ts';
export type { Provenance } from './provenance.ts';
export type { QuantizeOptions, QuantizeReport, TrainingOptions } from './quantize.ts';
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
