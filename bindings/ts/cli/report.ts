// --report: the report that the page offers, made by the page's own code (web/src/node-report.ts).
import type { Feeds, ImageOptions, Model, Progress, QuantizeReport, Recipe } from '../node.ts';

export interface ReportTask {
  original: Model;
  quantized: Model;
  report: QuantizeReport;
  samples: () => AsyncIterable<Feeds> | Iterable<Feeds>;
  count: number;
  /** Of images, each of which is one sample. */
  names: readonly string[] | undefined;
  image: ImageOptions;
  synthetic: boolean;
  /** What was done, in words. */
  how: string;
  /** The words of the call. */
  words: readonly string[];
  recipe: Recipe;
  signal: AbortSignal;
  onProgress: (progress: Progress) => unknown;
}

/** Compares both models, and gives the text of the report. */
export type WriteReport = (task: ReportTask) => Promise<string>;
