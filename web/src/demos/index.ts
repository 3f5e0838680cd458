import type { Demo } from './demo.ts';
import { digits } from './digits/index.ts';
import { faces } from './faces/index.ts';
import { gpt } from './gpt/index.ts';
import { ocr } from './ocr/index.ts';
import { search } from './search/index.ts';
import { voice } from './voice/index.ts';

export const demos: readonly Demo[] = [digits, ocr, faces, voice, gpt, search];
