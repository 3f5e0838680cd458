import { Tensor } from 'zeropoint';
import modelUrl from '../../../../node_modules/faceplugin-face-recognition-js/model/fr_detect.onnx?url';
import { lazily } from '../../parts/lazily.tsx';
import { type Demo, modelAt } from '../demo.ts';
import { networkHeight, networkWidth, preparation } from './preparation.ts';

const count = 48;

export const faces: Demo = {
  id: 'faces',
  title: 'Find faces',
  summary:
    'UltraFace, 1.2 MB: drop a photograph or use the camera, and see which faces the original and the quantized model find.',
  licence:
    'UltraFace is a design by Linzaer (MIT). This network of it is from the npm package faceplugin-face-recognition-js (MIT).',
  goal: 'integers',
  load: modelAt(modelUrl, 'UltraFace-RFB-320.onnx'),
  samplesLabel: `${count} pictures of drawn people`,
  samplesNote:
    'Drawn in your browser: people who do not exist, in several sizes, colours and lights. Your own photographs are better: choose “Your files” above and drop some with faces.',
  sampleCount: count,
  image: preparation,
  names: async () => ({ 1: 'face' }),
  async *samples(model, limit) {
    const [input] = model.inputs;
    if (!input) return;
    const { pictures } = await import('./thread.ts');
    for (let i = 0; i < limit; ++i) {
      yield {
        [input.name]: new Tensor('float32', await pictures().sample(i), [1, 3, networkHeight, networkWidth]),
      };
    }
  },
  View: lazily('the demo', () => import('./view.tsx')),
};
