import type { Model } from 'zeropoint';
import modelUrl from '../../../../build/digits/digits.onnx?url';
import { type Demo, modelAt } from '../demo.ts';
import { type Digit, digitsTensor, testDigits, trainingDigits } from './data.ts';
import { DigitsView } from './view.tsx';

/** How many of each kind tools/digits.mjs packs. */
const count = 500;

/** Of so many digits, in batches. */
async function* feeds(model: Model, loading: Promise<readonly Digit[]>, limit: number, batch: number) {
  const [input] = model.inputs;
  if (!input) return;
  const digits = (await loading).slice(0, limit);
  for (let first = 0; first < digits.length; first += batch) {
    yield { [input.name]: digitsTensor(digits.slice(first, first + batch)) };
  }
}

export const digits: Demo = {
  id: 'digits',
  title: 'Recognise digits',
  summary:
    'A small network, 83 KB: draw a digit, quantize to as few as 2 bits, and win accuracy back by training.',
  load: modelAt(modelUrl, 'digits.onnx'),
  samplesLabel: `${count} handwritten digits`,
  samplesNote:
    'Handwritten digits of the MNIST collection that the network was trained on: others than those it is tested with.',
  sampleCount: count,
  image: { preset: 'unit', channels: 'gray' },
  names: async () => Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [digit, String(digit)])),
  samples: (model, limit) => feeds(model, trainingDigits(), limit, 1),
  labels: async () => (await trainingDigits()).map(({ label }) => label),
  test: (model) => ({
    what: `${count} digits that it never saw`,
    feeds: () => feeds(model, testDigits(), count, 50),
    labels: async () => (await testDigits()).map(({ label }) => label),
  }),
  View: DigitsView,
};
