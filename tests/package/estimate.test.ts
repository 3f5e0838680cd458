// What a quantization will take, said before it begins: beside the memory that it really took, and what is refused.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { QuantizeOptions } from 'zeropoint';
import { noRoom } from '../../bindings/ts/estimate.ts';
import { modelOf, node, valueInfo } from './handmade.ts';
import { cli, errorOf, models, noise, noisyFeeds, program, temporaryFolder, zeropoint } from './helpers.ts';

const { createEngine, engineInfo, Model, Tensor } = zeropoint;
const folder = temporaryFolder();

const text = (tag: number, value: string) => [tag * 8 + 2, value.length, ...new TextEncoder().encode(value)];
const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
const field = (tag: number, bytes: number[]) => [tag * 8 + 2, ...varint(bytes.length), ...bytes];

/** Products of square matrices, one behind the other, with their weights beside the model. */
function chainOf(name: string, layers: number, width: number): string {
  const bytes = 4 * width * width;
  writeFileSync(
    join(folder, `${name}_data`),
    noise(layers * width * width).map((v) => v / Math.sqrt(width)),
  );
  const graph: number[] = [];
  let x = 'x';
  for (let i = 0; i < layers; ++i) {
    const y = i === layers - 1 ? 'y' : `product${i}`;
    graph.push(...node('MatMul', [x, `w${i}`], [y]));
    const entry = (key: string, value: number | string) =>
      field(13, [...text(1, key), ...text(2, String(value))]);
    graph.push(
      ...field(5, [
        ...[8, ...varint(width), 8, ...varint(width), 16, 1],
        ...text(8, `w${i}`),
        ...entry('location', `${name}_data`),
        ...entry('offset', i * bytes),
        ...entry('length', bytes),
        ...[14 * 8, 1],
      ]),
    );
    x = y;
  }
  const path = join(folder, `${name}.onnx`);
  const io = [...valueInfo(11, 'x', ['rows', width]), ...valueInfo(12, 'y', ['rows', width])];
  writeFileSync(path, modelOf([...graph, ...io]));
  return path;
}

const rows = (width: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    x: new Tensor('float32', noise(32 * width, i + 1), [32, width]),
  }));

describe('an estimate of memory', () => {
  const wide = chainOf('wide', 3, 1536);
  const square = chainOf('square', 1, 1024);
  const cases: [string, string, number, number, QuantizeOptions][] = [
    ['weights alone, 8 bits', wide, 1536, 0, { mode: 'weight-only' }],
    ['weights alone, 4 bits', wide, 1536, 0, { mode: 'weight-only', weights: 'int4' }],
    ['dynamic', wide, 1536, 0, { mode: 'dynamic' }],
    ['float16', wide, 1536, 0, { mode: 'float16' }],
    ['static', wide, 1536, 3, { mode: 'static', repairs: [] }],
    ['static with its repairs', wide, 1536, 3, { mode: 'static' }],
    ['GPTQ', square, 1024, 4, { mode: 'weight-only', weights: 'int4', repairs: ['gptq'] }],
  ];
  test.each(cases)('is within a factor of two: %s', async (_, path, width, samples, options) => {
    await using engine = await createEngine({ threads: 1 });
    await using model = await Model.load(path, { engine });
    const estimate = await model.estimate({ ...options, samples, shapes: { x: [32, width] } });
    const calibration = samples > 0 ? rows(width, samples) : undefined;
    const { model: small, report } = await model.quantize({ ...options, calibration });
    const { memory } = await engine.info();
    expect(memory.reserved / estimate.peakBytes).toBeGreaterThan(0.5);
    expect(memory.reserved / estimate.peakBytes).toBeLessThan(2);
    expect(estimate.sizeAfter / report.sizeAfter).toBeGreaterThan(0.9);
    expect(estimate.sizeAfter / report.sizeAfter).toBeLessThan(1.1);
    expect(estimate).toMatchObject({ fits: true, instead: null, complete: true, limitBytes: memory.limit });
    await small.dispose();
  });

  // Where weights are few, nodes and their names are much of the file.
  test.each(['static', 'dynamic', 'weight-only'] as const)(
    'knows the size of a small file: %s',
    async (mode) => {
      await using model = await Model.load(models.angle.path);
      const [feeds] = zeropoint.syntheticSamples(model.inputs, { count: 1 });
      const calibration = mode === 'static' && feeds ? [feeds] : undefined;
      const { sizeAfter } = await model.estimate({ mode, repairs: [], samples: calibration ? 1 : 0 });
      const { model: small, report } = await model.quantize({ mode, repairs: [], calibration });
      expect(sizeAfter / report.sizeAfter).toBeGreaterThan(0.85);
      expect(sizeAfter / report.sizeAfter).toBeLessThan(1.15);
      await small.dispose();
    },
  );

  test('is that of weights one by one where they stay in their files', async () => {
    const estimates = [];
    for (const weights of ['memory', 'files'] as const) {
      await using engine = await createEngine({ threads: 1 });
      await using model = await Model.load(wide, { engine, weights });
      estimates.push(await model.estimate({ mode: 'weight-only' }));
    }
    const [there, beside] = estimates.map(({ peakBytes }) => peakBytes) as [number, number];
    expect(there).toBeGreaterThan(3 * 4 * 1536 ** 2);
    expect(beside).toBeLessThan(2 * there);
    expect(beside).toBeLessThan(5 * 4 * 1536 ** 2);
  });

  test('of what does not fit says what would', async () => {
    await using model = await Model.load(models.angle.path);
    const estimate = await model.estimate({
      mode: 'static',
      samples: 8,
      shapes: { x: [64, 3, 2048, 2048] },
    });
    expect(estimate.fits).toBe(false);
    expect(estimate.peakBytes).toBeGreaterThan(estimate.limitBytes);
    expect(estimate.instead?.options).toMatchObject({ mode: 'dynamic' });
    expect(estimate.instead?.peakBytes).toBeLessThan(estimate.limitBytes);
    const { message, code, details } = noRoom(estimate);
    expect(code).toBe('out-of-memory');
    expect(details.instead).toEqual(estimate.instead);
    expect(message).toMatch(/takes about [\d.]+ GB of memory .* can have 4\.3 GB, and 0\.\d+ GB are in use/);
    expect(details.hint).toMatch(/^with \{ mode: 'dynamic', repairs: \[\] \} it would take about 0\.\d+ GB$/);
  });

  test('knows the options of quantize(), and the sizes of samples', async () => {
    await using model = await Model.load(models.angle.path);
    const error = await errorOf(() => model.estimate({ mode: 'statics' as 'static' }), 'invalid-argument');
    expect(error.message).toContain('mode:');
    await errorOf(() => model.estimate({ calibration: [] } as object), 'invalid-argument');
    const one = await model.estimate({ mode: 'static', samples: 10, shapes: { x: [1, 3, 48, 192] } });
    const two = await model.estimate({ mode: 'static', samples: 10, shapes: { x: [4, 3, 48, 192] } });
    const seconds = ({ phases }: typeof one) => phases.find(({ name }) => name === 'calibrate')?.seconds ?? 0;
    expect(seconds(two) / seconds(one)).toBeGreaterThan(2);
  });
});

describe('the command line', () => {
  test('says what a quantization would take, and does nothing', async () => {
    const { path } = models.angle;
    const { code, stdout } = await cli(['quantize', path, '--estimate', '--mode', 'static']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^memory +about [\d.]+ MB of 4\.29 GB$/m);
    expect(stdout).toMatch(/^time +(about \d|less than a second$)/m); // the machine decides
    expect(stdout).toMatch(/^ {2}calibrate +/m);
    const asJson = await cli(['quantize', path, '--estimate', '--mode', 'dynamic', '--json']);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ fits: true, instead: null });
    const without = await cli(['quantize', path, '--mode', 'dynamic']);
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('--output')]);
  });
});

describe('a large quantization that is killed', () => {
  test('leaves no file under its name, and the same call does it again from the start', async () => {
    const path = chainOf('killed', 3, 1536);
    const place = mkdtempSync(join(folder, 'killed-'));
    const output = join(place, 'out.onnx');
    const args = ['quantize', path, '-o', output, '--mode', 'weight-only', '--external-data'];
    const unfinished = () => readdirSync(place).filter((name) => name.endsWith('.tmp'));
    const child = spawn(program, args, { stdio: 'ignore' });
    const ended = new Promise((done) => child.on('exit', done));
    const watcher = watch(place, () => unfinished().length > 0 && child.kill('SIGKILL'));
    await ended;
    watcher.close();
    expect(child.signalCode).toBe('SIGKILL');
    expect(existsSync(output)).toBe(false);
    expect(unfinished().length).toBeGreaterThan(0);
    expect((await cli(args)).code).toBe(0);
    expect(readdirSync(place).sort()).toEqual(['out.onnx', 'out.onnx_data']);
    await using made = await Model.load(output);
    await using session = await made.createSession({ threads: 1 });
    const [first] = rows(1536, 1);
    expect(Object.values(await session.run(first ?? {}))).toHaveLength(1);
  }, 120_000);
});

describe('after memory ran out', () => {
  const floats = 50_000_000;
  const model = () =>
    modelOf([
      ...node('ConstantOfShape', ['shape'], ['zeros']),
      ...node('Sin', ['zeros'], ['waves']),
      ...node('ReduceMax', ['waves'], ['y']),
      ...valueInfo(11, 'shape', [1], 7),
      ...valueInfo(12, 'y', []),
    ]);
  const feeds = (count: number) => ({ shape: new Tensor('int64', BigInt64Array.of(BigInt(count)), [1]) });

  test('the next model has an engine of its own, and what the old one took is gone with it', async () => {
    const before = await Model.load(model());
    const session = await before.createSession({ threads: 1 });
    await session.run(feeds(floats));
    expect((await engineInfo()).memory.reserved).toBeGreaterThan(4 * floats);
    const error = await errorOf(() => session.run(feeds(1_000_000_000)), 'out-of-memory');
    expect(error.message).toMatch(/needs \d+ MiB .* may have 3072 MiB/);
    expect(error.message).toMatch(/of the engine's 4295 MB of memory, \d+ MB are in use/);
    // What is there goes on.
    expect(Object.values(await session.run(feeds(3)))).toHaveLength(1);
    await using after = await Model.load(models.angle.path);
    expect((await engineInfo()).memory.reserved).toBeLessThan(4 * floats);
    await session.dispose();
    await before.dispose();
    await using answers = await after.createSession();
    expect(Object.values(await answers.run(noisyFeeds(models.angle.feeds)))).toHaveLength(1);
  });
});
