import type { Browser } from 'playwright-core';

/** What check.js found out, where it ran. */
export type Results = Record<string, Record<string, unknown>>;

export function runProject(name: string, using: { installed: string; browser: Browser }): Promise<Results>;
export function faultsOf(name: string, results: Results, y: string): string[];
export function expected(installed: string): Promise<string>;
/** Lays a project out and serves it, with the model at /model.onnx. */
export function open(
  name: string,
  installed: string,
  options?: { isolated?: boolean },
): Promise<{ url: string; close(): Promise<unknown> }>;
