import type { SchemeOptions } from './scheme-options.ts';

/**
 * What can go wrong, as a closed list. The first ten are the engine's (src/core/error.h).
 *
 * - `invalid-model`: not ONNX, truncated, or inconsistent with itself
 * - `unsupported-operator`: an operator, or a form of it, that the engine does not have
 * - `unsupported-type`: an element type that the operation does not take
 * - `shape-mismatch`: shapes that contradict each other or the model's declaration
 * - `invalid-feed`: a feed that is missing, unknown, or of the wrong type
 * - `index-out-of-range`: an index or length that is fed, computed or constant, outside the tensor it is for
 * - `invalid-argument`: an option or argument outside its documented range
 * - `out-of-memory`: an allocation that the machine or the 4 GiB address space refuses
 * - `cancelled`: the caller's AbortSignal fired
 * - `internal`: a broken promise of zeropoint's own: please report it
 * - `io`: a file or address that cannot be read or written
 * - `invalid-sample`: a sample file that is malformed or does not fit the model
 * - `disposed`: a model or session was used after dispose(), or after its engine was closed
 * - `engine-lost`: the engine's worker ended, crashed or did not answer, or the engine stopped in an earlier call
 */
export const errorCodes = [
  'invalid-model',
  'unsupported-operator',
  'unsupported-type',
  'shape-mismatch',
  'invalid-feed',
  'index-out-of-range',
  'invalid-argument',
  'out-of-memory',
  'cancelled',
  'internal',
  'io',
  'invalid-sample',
  'disposed',
  'engine-lost',
] as const;

/** What went wrong: one of `errorCodes`. */
export type ErrorCode = (typeof errorCodes)[number];

/** Where an error happened and what to do about it. Unknown details are missing. */
export interface ErrorDetails {
  /** The node's name in the model. */
  node?: string;
  /** The operator with its domain and, if known, its version: `ai.onnx.Conv-11`. */
  op?: string;
  /** The name of the tensor (or model input). */
  tensor?: string;
  /** The file or address. */
  file?: string;
  /** What the user can do. */
  hint?: string;
  /** Of `out-of-memory` in `quantize()`: options that would fit, and bytes of memory that they take, about. */
  instead?: { options: SchemeOptions; peakBytes: number };
}

/** Every error that zeropoint throws. */
export class ZeropointError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ZeropointError';
    this.code = code;
    this.details = details;
  }
}

/** The error of a call whose AbortSignal fired; its `cause` is the signal's reason. */
export function cancelled(signal: AbortSignal): ZeropointError {
  return new ZeropointError('cancelled', 'the work was cancelled', {}, { cause: signal.reason });
}

/** Throws if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal);
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Memory, as errors about it say it. */
export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 2 : 1)} GB`;
