import type { Model } from 'zeropoint';
import modelUrl from '../../../../build/digits/digits.onnx?url';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';
import { type Digit, digitsTensor, testDigits, trainingDigits } from './data.ts';

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
  licence:
    'The network was trained for zeropoint (Apache-2.0), on digits of MNIST by Y. LeCun and C. Cortes (CC BY-SA 3.0).',
  load: modelAt(modelUrl, 'digits.onnx'),
  samplesLabel: `${count} handwritten digits`,
  samplesNote:
    'Handwritten digits of the MNIST collection, on which the network was trained. The test has other digits.',
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
  View: lazily('the demo', () => import('./view.tsx')),
};
