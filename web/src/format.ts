// Numbers as people read them.
import type { Dim } from 'zeropoint';

const units = ['bytes', 'KB', 'MB', 'GB'];

export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return String(value);
}

export function milliseconds(value: number): string {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function seconds(value: number): string {
  if (value < 60) return `${Math.max(1, Math.round(value))} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export const percent = (share: number, digits = 1): string => `${(share * 100).toFixed(digits)} %`;

export const decibels = (value: number): string =>
  value === Number.POSITIVE_INFINITY ? 'exact' : Number.isFinite(value) ? `${value.toFixed(1)} dB` : '–';

export const cosineWords = (value: number): string => (Number.isNaN(value) ? '–' : value.toFixed(4));

export const times = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)}×`;

/** How the size of a file changed, in words. */
export function sizeChange(before: number, after: number): string {
  if (after === before) return 'the same size';
  const share = after > before ? after / before - 1 : 1 - after / before;
  const words = share < 0.01 ? 'less than 1 %' : percent(share, 0);
  if (after > before) return `${words} larger`;
  return before / after < 1.1 ? `${words} smaller` : `${times(before / after)} smaller`;
}

export const dims = (shape: readonly Dim[] | null): string => (shape ? `[${shape.join(', ')}]` : 'any shape');

/** Root mean square of the error as a share of the signal's: 20 dB is 10 %, 40 dB is 1 %. */
export const relativeError = (sqnr: number): number =>
  sqnr === Number.POSITIVE_INFINITY ? 0 : 10 ** (-sqnr / 20);

export function timeLeft(startedAt: number, share: number): string | undefined {
  const spent = (performance.now() - startedAt) / 1000;
  if (share <= 0.02 || share >= 1 || spent < 1) return undefined;
  return `about ${seconds((spent / share) * (1 - share))} left`;
}

/** With a capital, as a sentence begins. */
export const sentence = (words: string): string => words.slice(0, 1).toUpperCase() + words.slice(1);

/** A name for something that is kept, unique among these names. */
export const newId = (): string =>
  Date.now().toString(36) + Math.random().toString(36).slice(2, 10).padEnd(8, '0');
