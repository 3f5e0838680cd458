import type { Feeds, Model } from 'zeropoint';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';
import modelUrl from './shakespeare.onnx?url';

/** Samples to compare answers on: so many characters of a text, and the character after them. */
const samples = { count: 64, length: 48, apart: 13 };
/** The same for counting right answers, from another part of the text. */
const test = { count: 400, length: 64, apart: 4, from: 900, batch: 25 };

/** A part of the text that the network never saw. */
async function unseen() {
  const [{ default: text }, { characters, encoded }] = await Promise.all([
    import('./unseen.txt?raw'),
    import('./characters.ts'),
  ]);
  return { text: encoded(text), characters };
}

/** Pieces of the text, in batches. */
async function* pieces(
  model: Model,
  { count, length, apart, from = 0, batch = 1 }: typeof samples & Partial<typeof test>,
): AsyncGenerator<Feeds> {
  const { feedsOf } = await import('./write.ts');
  const { text } = await unseen();
  const names = model.inputs.map(({ name }) => name);
  for (let first = 0; first < count; first += batch) {
    const starts = Array.from({ length: batch }, (_, i) => from + (first + i) * apart);
    yield feedsOf(
      names,
      starts.map((start) => text.slice(start, start + length)),
    );
  }
}

/** The character after each piece. */
async function following({ count, length, apart, from = 0 }: typeof samples & Partial<typeof test>) {
  const { text } = await unseen();
  return Array.from({ length: count }, (_, i) => text[from + i * apart + length] as number);
}

export const gpt: Demo = {
  id: 'gpt',
  title: 'Write like Shakespeare',
  summary:
    'A character GPT, 1.3 MB: it continues your words, with its original weights and with weights of 4 bits, side by side.',
  licence:
    'The network was trained for zeropoint (Apache-2.0) on plays by William Shakespeare, which belong to everybody.',
  goal: 'weights4',
  load: modelAt(modelUrl, 'shakespeare.onnx'),
  samplesLabel: `${samples.count} pieces of a play`,
  samplesNote: `Each is ${samples.length} characters of a part of The Tempest that the network never saw; it answers which character follows.`,
  sampleCount: samples.count,
  samples: (model, limit) => pieces(model, { ...samples, count: Math.min(limit, samples.count) }),
  labels: () => following(samples),
  names: async () => {
    const { characters } = await unseen();
    const shown: Record<string, string> = { '\n': 'new line', ' ': 'space' };
    return Object.fromEntries(characters.map((each, number) => [number, shown[each] ?? each]));
  },
  test: (model) => ({
    what: `${test.count} next characters in a text that it never saw`,
    feeds: () => pieces(model, test),
    labels: () => following(test),
  }),
  View: lazily('the demo', () => import('./view.tsx')),
};
