import type { Feeds, Session, Tensor } from 'zeropoint';

export interface Digits {
  images: Float32Array[];
  labels: number[];
}
interface Package {
  Tensor: typeof Tensor;
}
export function randomNumbers(seed: number): () => number;
export function digits(training: number, test: number, seed?: number): { training: Digits; test: Digits };
export function samplesOf(digits: Digits, rows: number, options: Package & { withLabels?: boolean }): Feeds[];
export function accuracyOf(session: Session, digits: Digits, options: Package): Promise<number>;
export function digitsNetwork(channels?: [number, number], seed?: number): Uint8Array;
