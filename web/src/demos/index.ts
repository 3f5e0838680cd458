import type { Demo } from './demo.ts';
import { ocr } from './ocr/index.ts';

export const demos: readonly Demo[] = [ocr];
