// What is in the files that are written, beside the graph: the opset, and how they were made.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Provenance, QuantizeOptions } from 'zeropoint';
import { errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

const { Model } = zeropoint;
const { path, feeds } = models.angle;
const samples = [1, 2, 3].map((seed) => noisyFeeds(feeds, seed));

async function made(options: QuantizeOptions, source: string | Uint8Array = path) {
  await using model = await Model.load(source);
  const { model: small, report } = await model.quantize({ layerErrors: 0, ...options });
  await using result = small;
  return { bytes: await result.toBytes(), report };
}
async function facts(bytes: Uint8Array) {
  await using model = await Model.load(bytes);
  return await model.inspect();
}
async function entries(bytes: Uint8Array): Promise<{ key: string; made: Provenance }[]> {
  const { metadata } = await facts(bytes);
  return metadata
    .filter(({ key }) => key.startsWith('zeropoint'))
    .map(({ key, value }) => ({ key, made: JSON.parse(value) }));
}
const opsetIn = async (bytes: Uint8Array) =>
  (await facts(bytes)).opsets.find(({ domain }) => domain === 'ai.onnx')?.version;

describe('the opset', () => {
  test('is the lowest that can say the model, and the report says it', async () => {
    const perChannel = await made({ mode: 'static', calibration: samples, format: 'qdq' });
    expect(perChannel.report.opset).toBe(13);
    expect(await opsetIn(perChannel.bytes)).toBe(13);
    const tensors = { mode: 'static', calibration: samples, perChannel: false, format: 'qdq' } as const;
    expect((await made(tensors)).report.opset).toBe(13); // the least with pairs, unless asked for
    const asked = await made({ ...tensors, opset: 12 });
    expect([asked.report.opset, await opsetIn(asked.bytes)]).toEqual([12, 12]);
    const blocks = await made(
      { mode: 'weight-only', weights: 'int4', format: 'qdq' },
      models.recognition.path,
    );
    expect(blocks.report.opset).toBe(21);
    expect((await facts(readFileSync(path))).lowestOpset).toBeLessThanOrEqual(11);
  });

  test('can be asked for, and one that is too low names the node that needs more', async () => {
    const options = { mode: 'static', calibration: samples, format: 'qdq' } as const;
    const { bytes, report } = await made({ ...options, opset: 17 });
    expect(report.opset).toBe(17);
    expect(await opsetIn(bytes)).toBe(17);
    const { details } = await errorOf(() => made({ ...options, opset: 12 }), 'invalid-argument');
    expect(details.op).toBe('ai.onnx.DequantizeLinear');
    expect(details.hint).toContain('13');
    await using model = await Model.load(bytes);
    expect(await opsetIn(await model.toBytes({ opset: 23 }))).toBe(23);
    await errorOf(() => model.toBytes({ opset: 29 }), 'invalid-argument');
  });
});

describe('how it was made', () => {
  test('is in the file: version, settings, repairs, hashes of the model and of the samples', async () => {
    const options = {
      mode: 'static',
      weights: 'uint8',
      calibration: samples,
      observer: 'percentile',
    } as const;
    const { bytes } = await made(options);
    const [entry] = await entries(bytes);
    expect(entry?.key).toBe('zeropoint');
    expect(entry?.made).toMatchObject({
      version: zeropoint.version,
      settings: { mode: 'static', weights: 'uint8', observer: 'percentile', format: 'qdq' },
      source: { sha256: createHash('sha256').update(readFileSync(path)).digest('hex') },
      samples: { count: 3 },
    });
    const hash = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
    const lines = samples.flatMap(({ x }) => {
      const { type, dims, data } = x as { type: string; dims: readonly number[]; data: Float32Array };
      return [hash(JSON.stringify(['x', type, dims])), hash(new Uint8Array(data.buffer))];
    });
    expect(entry?.made.samples?.sha256).toBe(hash(lines.join('\n')));
    expect(entry?.made.repairs).toContain('bias-correction');
    expect((await entries((await made({ ...options, repairs: [] })).bytes))[0]?.made.repairs).toEqual([]);
  });

  test('is the same in every run, and says other samples', async () => {
    const options = { mode: 'static', calibration: samples, threads: 1 } as const;
    const first = await made(options);
    expect((await made(options)).bytes).toEqual(first.bytes);
    expect((await made({ ...options, threads: 2, onProgress: () => {} })).bytes).toEqual(first.bytes);
    const [entry] = await entries(first.bytes);
    const others = await made({ ...options, calibration: samples.slice(1) });
    expect((await entries(others.bytes))[0]?.made.samples?.sha256).not.toBe(entry?.made.samples?.sha256);
  });

  test('says what a search chose', async () => {
    const { bytes, report } = await made({ mode: 'auto', calibration: samples });
    const [entry] = await entries(bytes);
    expect(entry?.made.settings.mode).toBe(report.mode);
    expect(entry?.made.settings.observer).toBe(report.trials.find(({ kept }) => kept)?.options.observer);
  });

  test('leaves alone what was there', async () => {
    const { bytes } = await made({ mode: 'weight-only', include: ['Conv'] });
    const again = await made({ mode: 'weight-only' }, bytes);
    const both = await entries(again.bytes);
    expect(both.map(({ key }) => key)).toEqual(['zeropoint', 'zeropoint_2']);
    expect(both[0]).toEqual((await entries(bytes))[0]);
    expect(both[1]?.made.source?.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
  });
});
