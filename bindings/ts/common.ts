// The part of the interface that every entry of the package has: models, loaded and run.
export type { Build } from './builds.ts';
export {
  configure,
  createEngine,
  Engine,
  type EngineConfig,
  type EngineInfo,
  engineInfo,
} from './engine/client.ts';
export type { Dim, StepInfo, ValueInfo } from './engine/module.ts';
export { type ErrorCode, type ErrorDetails, errorCodes, ZeropointError } from './errors.ts';
export type { ExternalData } from './external.ts';
export type { LoadOptions } from './loaded.ts';
export type { Progress } from './quantize.ts';
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
