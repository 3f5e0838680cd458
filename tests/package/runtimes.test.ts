// Where files run: the table in the documents is the engine's, and options that a runtime does not take are refused.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
// @ts-expect-error: a script without types
import { documentFile, documentOf } from '../../tools/runtimes.mjs';
import { errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

test('docs/RUNTIMES.md says what the engine does (node tools/runtimes.mjs writes it)', async () => {
  const { runtimes } = await zeropoint.choices();
  expect(readFileSync(documentFile, 'utf8')).toBe(documentOf(runtimes));
});

test('what nobody chose suits the runtime, and what was chosen is refused', async () => {
  const { path, feeds } = models.embedding;
  await using model = await zeropoint.Model.load(path);
  const calibration = [noisyFeeds(feeds, 1), noisyFeeds(feeds, 2)];
  const options = { mode: 'static', calibration, repairs: [], layerErrors: 0, runtime: 'tensorrt' } as const;
  const { model: small, report } = await model.quantize(options);
  expect(report.warnings.join('\n')).toMatch(/'tensorrt'.*activations are int8/);
  const types = report.layers.flatMap(({ activations }) => activations.map(({ type }) => type));
  expect(new Set(types)).toEqual(new Set(['int8']));
  await small.dispose();
  const error = await errorOf(() => model.quantize({ ...options, activations: 'uint8' }), 'invalid-argument');
  expect(error.message).toMatch(/activations.*tensorrt.*int8/);
  await errorOf(() => model.quantize({ mode: 'dynamic', runtime: 'tensorrt' }), 'invalid-argument');
  for (const named of [{ runtime: 'toaster' }, { target: 'toaster' }, { target: 'tensorrt' }]) {
    await errorOf(() => model.quantize({ mode: 'dynamic', ...named }), 'invalid-argument');
  }
});

test('nodes that a runtime does not take are named', async () => {
  await using model = await zeropoint.Model.load(models.embedding.path);
  const { model: small, report } = await model.quantize({ mode: 'dynamic', runtime: 'webgpu' });
  expect(report.format).toBe('qdq');
  expect(report.warnings.join('\n')).toMatch(/'webgpu' does not take ai\.onnx\.DynamicQuantizeLinear.*CPU/);
  await small.dispose();
});
