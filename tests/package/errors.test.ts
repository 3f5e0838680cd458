import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { modelOf, node, small, valueInfo } from './handmade.ts';
import { errorOf, models, noisyFeeds, temporaryFolder, zeropoint } from './helpers.ts';

const { Model, Tensor, compare, errorCodes } = zeropoint;

describe('models that are none', () => {
  const real = readFileSync(models.angle.path);

  test.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('this is not a model, it is a sentence')],
    ['zeros', new Uint8Array(1000)],
    ['a page', new TextEncoder().encode('<!doctype html><title>404</title>')],
    ['half a model', real.subarray(0, real.length >> 1)],
    ['all but the last byte', real.subarray(0, real.length - 1)],
    ['a picture', Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13])],
    [
      'a cycle',
      small([2], node('Relu', ['b'], ['a']), node('Relu', ['a'], ['b']), node('Add', ['x', 'a'], ['y'])),
    ],
    ['a value that nothing makes', small([2], node('Add', ['x', 'nobody'], ['y']))],
    ['a value that two nodes make', small([2], node('Relu', ['x'], ['y']), node('Tanh', ['x'], ['y']))],
  ])('%s', async (_, bytes) => {
    const error = await errorOf(() => Model.load(bytes), 'invalid-model');
    expect(error.message.length).toBeGreaterThan(10);
  });

  test('the engine works as before afterwards', async () => {
    await errorOf(() => Model.load(new Uint8Array(7)), 'invalid-model');
    await using model = await Model.load(real);
    await using session = await model.createSession();
    expect(Object.keys(await session.run(noisyFeeds(models.angle.feeds)))).toHaveLength(1);
  });

  test('files and addresses that are not there, and things that are no source', async () => {
    const error = await errorOf(() => Model.load('/no/such/model.onnx'), 'io');
    expect(error.details.file).toBe('/no/such/model.onnx');
    await errorOf(() => Model.load('http://localhost:1/model.onnx'), 'io');
    await errorOf(() => Model.load(new URL('file:///no/such/model.onnx')), 'io');
    for (const source of [undefined, null, 7, {}, []]) {
      await errorOf(() => Model.load(source as never), 'invalid-argument');
    }
  });
});

describe('operators', () => {
  test('all that are not supported are named before anything runs', async () => {
    const bytes = small(
      [2],
      node('Frobnicate', ['x'], ['a'], 'own.ops'),
      node('Relu', ['a'], ['b']),
      node('Transmogrify', ['b'], ['y'], 'own.ops'),
    );
    await using model = await Model.load(bytes);
    const calibration = [{ x: new Tensor('float32', [1, 2]) }];
    for (const work of [() => model.createSession(), () => model.quantize({ mode: 'qat', calibration })]) {
      const error = await errorOf(work, 'unsupported-operator');
      expect(error.message).toContain('own.ops.Frobnicate');
      expect(error.message).toContain('own.ops.Transmogrify');
      expect(error.details).toMatchObject({ op: 'own.ops.Frobnicate', node: 'Frobnicate_of_a' });
      expect(error.details.hint).toBeTruthy();
    }
    // It can still be looked at.
    const report = await model.inspect();
    expect(report.operators).toContainEqual({ op: 'own.ops.Frobnicate', count: 1 });
    expect(report.problem?.message).toContain('own.ops.Transmogrify');
    // And what needs no run is done, around what is not known.
    const { model: same, report: done } = await model.quantize({ mode: 'dynamic' });
    expect(done.warnings.join()).toMatch(/pass through.*own\.ops\.Frobnicate/);
    expect((await same.inspect()).operators).toEqual(report.operators);
    await same.dispose();
  });
});

describe('feeds', () => {
  const feedErrors: [string, unknown, string, RegExp][] = [
    ['none', {}, 'invalid-feed', /x/],
    ['an unknown one', { y: new Tensor('float32', [1]) }, 'invalid-feed', /y/],
    [
      'another type',
      { x: new Tensor('int32', new Int32Array(27648), [1, 3, 48, 192]) },
      'invalid-feed',
      /float32/,
    ],
    ['another rank', { x: new Tensor('float32', new Float32Array(144), [3, 48]) }, 'shape-mismatch', /x/],
    [
      'a dimension that contradicts',
      { x: new Tensor('float32', new Float32Array(9216), [1, 1, 48, 192]) },
      'shape-mismatch',
      /\b3\b/,
    ],
    ['no tensor', { x: new Float32Array(3) }, 'invalid-feed', /'x'.*Tensor/],
    ['undefined', { x: undefined }, 'invalid-feed', /'x'/],
    [
      'dims that do not fit',
      { x: { type: 'float32', data: new Float32Array(3), dims: [1, 3, 48, 192] } },
      'invalid-feed',
      /'x'.*3 entries/,
    ],
    ['a list', [new Float32Array(3)], 'invalid-argument', /feeds/],
    ['nothing', undefined, 'invalid-argument', /feeds/],
  ];

  test.each(feedErrors)('%s', async (_, feeds, code, message) => {
    await using model = await Model.load(models.angle.path);
    await using session = await model.createSession();
    const error = await errorOf(() => session.run(feeds as never), code as 'invalid-feed');
    expect(error.message).toMatch(message);
    // The session runs on.
    expect(Object.keys(await session.run(noisyFeeds(models.angle.feeds)))).toHaveLength(1);
  });

  test('an index outside its axis names the node, the index and the size', async () => {
    await using model = await Model.load(
      modelOf([
        ...node('Gather', ['table', 'ids'], ['y']),
        ...valueInfo(11, 'table', [3, 2]),
        ...valueInfo(11, 'ids', ['n'], 7),
        ...valueInfo(12, 'y', ['n', 2]),
      ]),
    );
    await using session = await model.createSession({ threads: 2 });
    const table = new Tensor('float32', [0, 1, 2, 3, 4, 5], [3, 2]);
    const error = await errorOf(
      () => session.run({ table, ids: new Tensor('int64', [0n, -4n]) }),
      'index-out-of-range',
    );
    expect(error.message).toBe('index -4 is outside an axis of 3 elements');
    expect(error.details.node).toBe('Gather_of_y');
    expect(error.details.tensor).toBe('ids');
    const { y } = await session.run({ table, ids: new Tensor('int64', [2n, -3n]) });
    expect(y?.data).toEqual(new Float32Array([4, 5, 0, 1]));
  });

  test('strings go through operators that move and compare them', async () => {
    await using model = await Model.load(
      modelOf([
        ...node('Gather', ['words', 'ids'], ['picked']),
        ...node('Equal', ['picked', 'word'], ['same']),
        ...node('Where', ['same', 'word', 'picked'], ['y']),
        ...valueInfo(11, 'words', [3], 8),
        ...valueInfo(11, 'ids', [2], 7),
        ...valueInfo(11, 'word', [1], 8),
        ...valueInfo(12, 'picked', [2], 8),
        ...valueInfo(12, 'same', [2], 9),
        ...valueInfo(12, 'y', [2], 8),
      ]),
    );
    await using session = await model.createSession();
    const words = new Tensor('string', ['längst 🙂', '', 'b'], [3]);
    const feeds = { words, ids: new Tensor('int64', [0n, 1n]), word: new Tensor('string', ['']) };
    const { picked, same, y } = await session.run(feeds);
    expect([picked?.type, picked?.dims, picked?.data]).toEqual(['string', [2], ['längst 🙂', '']]);
    expect(same?.data).toEqual(new Uint8Array([0, 1]));
    expect(y?.data).toEqual(['längst 🙂', '']);
  });

  test('samples that do not fit stop a calibration and a comparison', async () => {
    await using model = await Model.load(models.angle.path);
    const good = noisyFeeds(models.angle.feeds);
    const bad = { x: new Tensor('float32', new Float32Array(12), [1, 3, 2, 2, 1]) };
    await errorOf(() => model.quantize({ calibration: [good, bad] }), 'shape-mismatch');
    await errorOf(() => model.quantize({ calibration: [{}] }), 'invalid-feed');
    await errorOf(() => model.quantize({ calibration: [7] as never }), 'invalid-argument');
    await errorOf(() => compare(model, model, [bad]), 'shape-mismatch');
  });

  test('more memory than there is', async () => {
    await using model = await Model.load(models.detection.path);
    await using session = await model.createSession();
    const size = 8192; // activations of 16 channels at half the size alone take a gigabyte each
    const error = await errorOf(
      () => session.run({ x: new Tensor('float32', new Float32Array(3 * size * size), [1, 3, size, size]) }),
      'out-of-memory',
    );
    expect(error.details.hint).toBeTruthy();
    await session.run(noisyFeeds(models.detection.feeds));
  });
});

describe('options', () => {
  test.each([
    ['an unknown option', { moed: 'static' }, /moed.*mode/],
    ['an unknown mode', { mode: 'statik' }, /mode.*statik.*static.*weight-only/],
    ['an unknown type', { weights: 'int7' }, /weights.*int7.*int8/],
    ['a type that is no string', { activations: 8 }, /activations.*8.*uint8/],
    ['a string for a boolean', { perChannel: 'yes' }, /perChannel.*true or false/],
    ['a block that is no block', { blockSize: 33 }, /blockSize.*33.*32/],
    ['4 bits where they do not go', { mode: 'dynamic', weights: 'int4' }, /weights.*8 bits/],
    ['3 bits', { mode: 'weight-only', weights: 'int3' }, /weights.*int3.*int4.*int2.*no place for 3 bits/],
    ['2 bits where they do not go', { mode: 'dynamic', weights: 'int2' }, /weights.*int2.*dynamic/],
    ['2 bits as Q/DQ', { mode: 'weight-only', weights: 'int2', format: 'qdq' }, /format.*2 bits/],
    [
      '2 bits of one node as Q/DQ',
      { mode: 'weight-only', precision: { a: { activations: 'float', weights: 'uint2' } }, format: 'qdq' },
      /format.*2 bits/,
    ],
    ['an unknown observer', { observer: 'magic' }, /observer.*magic.*min-max/],
    ['an unknown format', { format: 'tflite' }, /format.*tflite.*qdq/],
    ['no list', { exclude: 'Conv' }, /exclude.*array/],
    ['no signal', { signal: true }, /signal.*AbortSignal/],
    ['no samples', { calibration: 7 }, /calibration/],
    ['a range upside down', { ranges: { x: { min: 1, max: 0 } } }, /ranges.*x/],
    ['no object', 'static', /options/],
  ])('%s', async (_, options, message) => {
    await using model = await Model.load(models.wakeWord.path);
    const error = await errorOf(() => model.quantize(options as never), 'invalid-argument');
    expect(error.message).toMatch(message);
  });

  test('of sessions, comparisons and the engine', async () => {
    await using model = await Model.load(models.wakeWord.path);
    await errorOf(() => model.createSession({ threads: 0 }), 'invalid-argument');
    await errorOf(() => model.createSession({ thread: 1 } as never), 'invalid-argument');
    await errorOf(() => compare(model, {} as never, []), 'invalid-argument');
    await errorOf(() => compare(model, model, 7 as never), 'invalid-argument');
    await errorOf(() => compare(model, model, []), 'invalid-argument');
    await errorOf(() => compare(model, model, [], { layer: true } as never), 'invalid-argument');
    await errorOf(() => zeropoint.configure({ build: 'avx512' as never }), 'invalid-argument');
    await errorOf(() => zeropoint.configure({ threads: 1.5 }), 'invalid-argument');
    await errorOf(() => zeropoint.configure({ wasm: '/' } as never), 'invalid-argument');
    zeropoint.configure({ wasmBase: 'relative/' });
    await errorOf(() => Model.load(models.wakeWord.path), 'invalid-argument');
    zeropoint.configure({ wasmBase: undefined });
    await errorOf(() => model.inspect({ dims: { n: -1 } }), 'invalid-argument');
    await errorOf(async () => model.toBytes({ format: 'onnx' as never }), 'invalid-argument');
  });
});

test('every code is documented', () => {
  const source = readFileSync(join(import.meta.dirname, '../../bindings/ts/errors.ts'), 'utf8');
  for (const code of errorCodes) expect(source).toContain(` * - \`${code}\`: `);
});

test('a file that is no model is an error with its name on the way', async () => {
  const path = join(temporaryFolder(), 'fake.onnx');
  writeFileSync(path, 'nothing');
  await errorOf(() => Model.load(path), 'invalid-model');
});
