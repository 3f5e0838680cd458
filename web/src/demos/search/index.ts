import type { Feeds, Model } from 'zeropoint';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';
import modelUrl from './sentences.onnx?url';

const count = 64;

async function* samples(_: Model, limit: number): AsyncGenerator<Feeds> {
  const [{ default: text }, { feedsOf }, { reader }] = await Promise.all([
    import('./samples.txt?raw'),
    import('./find.ts'),
    import('./thread.ts'),
  ]);
  for (const row of await reader().encode(text.trimEnd().split('\n').slice(0, limit))) yield feedsOf([row]);
}

export const search: Demo = {
  id: 'search',
  title: 'Search by meaning',
  summary:
    'A sentence embedding, 3.5 MB: ask a question, and see which sentences of a text the original and the quantized model find nearest in meaning.',
  licence:
    'The network was trained for zeropoint (Apache-2.0). Its teacher was all-MiniLM-L6-v2 (Apache-2.0); it learned from sentences of WordNet (Princeton University), of chatterbot-corpus (BSD) and of plays by Shakespeare. The text was written for this demo.',
  goal: 'integers',
  load: modelAt(modelUrl, 'sentences.onnx'),
  samplesLabel: `${count} sentences and questions`,
  samplesNote: 'Written for this demo, about everyday things; none of them is in the text that is searched.',
  sampleCount: count,
  samples,
  View: lazily('the demo', () => import('./view.tsx')),
};
