// What the page decides without a browser: labels out of tables, how images are prepared, words for a result, addresses.
import { describe, expect, test } from 'vitest';
import { Judge } from '../../web/src/answers/index.ts';
import { Pieces } from '../../web/src/demos/voice/pieces.ts';
import { estimatesOf, type Known } from '../../web/src/estimates.ts';
import { graphOf } from '../../web/src/graph/onnx.ts';
import { spreadOf } from '../../web/src/graph/weights.ts';
import { reportText } from '../../web/src/html-report.tsx';
import { layerChoiceOf, layerChoices, withLayerChoice } from '../../web/src/layer-choice.ts';
import { gap, paletteOf, wallOf } from '../../web/src/parts/digit-wall.ts';
import { places } from '../../web/src/parts/size-chart.tsx';
import { codesOf, recipeOf } from '../../web/src/recipe.ts';
import { hashOf, routeOf } from '../../web/src/route.ts';
import { guessColumns, labelsFrom, tableOf } from '../../web/src/samples/labels.ts';
import { guessPreparation } from '../../web/src/samples/preprocessing.ts';
import { understand } from '../../web/src/samples/understood.ts';
import {
  defaults,
  describe as describeSettings,
  goals,
  toOptions,
  withInstead,
} from '../../web/src/settings.ts';
import { openRun } from '../../web/src/use-run-model.ts';
import { summaryOf } from '../../web/src/verdict.ts';
import { quantizeAndCompare, worstSqnr } from '../../web/src/work.ts';
import { modelOf, node, tensorOf } from './handmade.ts';
import { models, zeropoint } from './helpers.ts';

const { Model } = zeropoint;

const file = (name: string, text = '', type = '') => new File([text], name, { type });

describe('labels', () => {
  const files = ['a.jpg', 'b.jpg', 'c.jpg'];
  const read = async (text: string) => {
    const table = await tableOf(file('labels.csv', text));
    return { table, columns: guessColumns(table, files) };
  };

  test('file, label and name are found by what is in them, whatever their order', async () => {
    for (const text of [
      'file,label,name\nx/a.jpg,3,cat\nx/b.jpg,5,dog\nx/c.jpg,3,cat\n',
      'a.jpg;3;cat\nb.jpg;5;dog\nc.jpg;3;cat\n',
      'name\tfile\tlabel\ncat\ta.jpg\t3\ndog\tb.jpg\t5\ncat\tc.jpg\t3\n',
      'file,label,name\n"a.jpg",3,"cat"\n"b.jpg",5,"dog"\n"c.jpg",3,"cat"\n',
    ]) {
      const { table, columns } = await read(text);
      expect(labelsFrom(table, columns, files), text).toEqual({
        of: [3, 5, 3],
        names: { 3: 'cat', 5: 'dog' },
      });
    }
  });

  test('a class in each line is for the samples in their order', async () => {
    const { table, columns } = await read('3\n5\n0\n');
    expect(labelsFrom(table, columns, files)).toEqual({ of: [3, 5, 0], names: {} });
    expect(labelsFrom(table, columns, ['a.jpg'])).toMatch(/^it says 3 classes, and there are 1 samples/);
  });

  test('samples without a row have no label; rows for none of them are an error', async () => {
    const { table, columns } = await read('file,label\nb.jpg,5\n');
    expect(labelsFrom(table, columns, files)).toEqual({ of: [undefined, 5, undefined], names: {} });
    expect(labelsFrom(table, columns, ['z.jpg'])).toMatch(/names one of the samples/);
    expect(labelsFrom(table, { ...columns, label: 0 }, files)).toMatch(
      /“b\.jpg” in “file” is not a class number/,
    );
  });
});

describe('how images are prepared is guessed, with a reason', () => {
  const value = (dims: (number | string)[], name = 'x') => ({ name, type: 'float32' as const, dims });
  const guess = (name: string, input: (number | string)[], ...outputs: (number | string)[][]) =>
    guessPreparation({ inputs: [value(input)], outputs: outputs.map((dims) => value(dims)) } as never, name);
  const cases: [string, (number | string)[], (number | string)[][], string, boolean][] = [
    ['ch_PP-OCRv4_det_infer.onnx', ['n', 3, 'h', 'w'], [['n', 1, 'h', 'w']], 'ppocr-det', true],
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', ['n', 3, 'h', 'w'], [['n', 2]], 'ppocr-cls', true],
    ['rec.onnx', [1, 3, 48, 'w'], [[1, 't', 6625]], 'ppocr-rec', false],
    ['mobilenet.onnx', [1, 3, 224, 224], [[1, 1000]], 'imagenet', true],
    ['efficientnet.onnx', [1, 224, 224, 3], [[1, 1000]], 'imagenet-tf', true],
    ['unknown.onnx', [1, 3, 64, 64], [[1, 7]], 'unit', false],
  ];
  for (const [name, input, outputs, preset, sure] of cases) {
    test(name, () => {
      const found = guess(name, input, ...outputs);
      expect(found).toMatchObject({ image: { preset }, sure });
      expect(found.because).not.toBe('');
    });
  }
});

describe('words for a result', () => {
  const output = (data: number[]) => ({
    input: [1],
    outputs: [{ name: 'y', dims: [1, data.length], data: Float32Array.from(data) }],
  });
  const judgementOf = (...pairs: [number[], number[]][]) => {
    const judge = new Judge();
    for (const [a, b] of pairs) judge.add(output(a), output(b));
    return judge.judgement();
  };
  const run = (change: object) =>
    summaryOf({
      report: { layersQuantized: 3, sizeBefore: 4000, sizeAfter: 1000 },
      comparison: { samples: 2, outputs: [] },
      latency: { original: 10, quantized: 5, runs: 9 },
      accuracy: undefined,
      judgement: judgementOf([
        [0.1, 0.9],
        [0.1, 0.9],
      ]),
      synthetic: false,
      ...change,
    } as never);

  test('size and speed, then the answers, and always the worst error', () => {
    expect(run({})).toMatchObject({
      grade: 'good',
      change: '4.0 KB became 1.0 KB: 4.00× smaller, 2.00× faster.',
      answers: ['The one answer is the same.', 'The largest change of a share is 0.0 %.'],
    });
  });

  test('what was not quantized, and what made-up samples say, is no success', () => {
    expect(run({ report: { layersQuantized: 0, sizeBefore: 1, sizeAfter: 1 } }).grade).toBe('poor');
    const synthetic = run({ synthetic: true });
    expect(synthetic.grade).toBe('unknown');
    expect(synthetic.answers.join()).toMatch(/made up/);
    expect(synthetic.answers.join()).not.toMatch(/same/);
  });

  test('of models that were not run nothing is said of answers and speed', () => {
    const found = run({
      comparison: undefined,
      judgement: undefined,
      latency: { original: 0, quantized: 0, runs: 0 },
    });
    expect(found).toMatchObject({ grade: 'unknown', short: 'not compared' });
    expect(found.change).toBe('4.0 KB became 1.0 KB: 4.00× smaller.');
    expect(found.answers.join()).toMatch(/not run: both together need more memory/);
  });

  test('lost right answers are no good, however alike the answers are', () => {
    const accuracy = { original: 0.98, quantized: 0.9, of: 'your samples' };
    expect(run({ accuracy })).toMatchObject({ grade: 'poor', short: '90.0 % right' });
    expect(run({ accuracy }).answers[0]).toBe('Right answers: 90.0 %, the original 98.0 %, of your samples.');
    expect(run({ accuracy: { ...accuracy, quantized: 0.96 } }).grade).toBe('fair');
    // Answers that changed from wrong to right are nothing poor.
    const changed = judgementOf([
      [0.4, 0.6],
      [0.6, 0.4],
    ]);
    expect(run({ judgement: changed }).grade).toBe('poor');
    expect(run({ judgement: changed, accuracy: { ...accuracy, quantized: 0.99 } }).grade).toBe('fair');
  });
});

test('a model that is too large to be run is quantized all the same', async () => {
  await using original = await Model.load(models.angle.path);
  const settings = { ...defaults, mode: 'weight-only' };
  const steps: string[] = [];
  const made = await quantizeAndCompare(
    { original, name: 'angle.onnx', samples: undefined, settings, number: 1 },
    ({ label }) => void steps.push(label),
    new AbortController().signal,
  );
  expect(made).toMatchObject({ comparison: undefined, judgement: undefined, samples: 'none', shown: [] });
  expect(made.latency.runs).toBe(0);
  expect(new Set(steps)).toEqual(
    new Set(['Reading the model', 'Choosing what to quantize', 'Placing scales', 'Writing the report']),
  );
  expect(made.report.layersQuantized).toBeGreaterThan(0);
  expect(Number.isNaN(worstSqnr(made))).toBe(true);
  await using quantized = await openRun(made);
  expect(quantized.outputs).toEqual(original.outputs);
  // Neither its report nor the code that makes it again speaks of samples and times.
  const recipe = recipeOf(made, 'angle.onnx', undefined);
  const about = { ...made, name: 'angle.onnx', how: describeSettings(settings), command: undefined, recipe };
  const text = await reportText(about, async () => undefined);
  expect(text).toMatch(/were not run/);
  expect(text).not.toMatch(/NaN|Time of one run|SQNR|largest errors/);
  expect(codesOf(made, 'angle.onnx', undefined)[0]?.code).not.toMatch(/calibration|samples/);
});

test('goals are named for what they do', () => {
  for (const { title } of goals) expect(title).toMatch(/\d+-bit (integers|floats|weights)/);
  expect(new Set(goals.map(({ title }) => title)).size).toBe(goals.length);
});

test('goals say what they would probably bring, and what a run did', () => {
  const estimate = {
    sizeAfter: 3.6e6,
    seconds: 25,
    complete: true,
    peakBytes: 120e6,
    limitBytes: 2e9,
    fits: true,
  };
  const known: Known = {
    size: 10e6,
    expected: {
      auto: { estimate: { ...estimate, seconds: 250 }, integerShare: 1 },
      integers: { estimate, integerShare: 1 },
      weights8: { estimate: { ...estimate, seconds: 0.2 }, integerShare: 0 },
      weights4: { estimate: { ...estimate, peakBytes: 4e9, fits: false }, integerShare: 0 },
    },
    hasSamples: true,
    runs: [],
  };
  const all = estimatesOf(known);
  expect(all.integers).toEqual([
    'about 3.6 MB of 10.0 MB',
    'perhaps 1.70× as fast here',
    'quantizing takes about half a minute, 120 MB of memory',
  ]);
  expect(all.auto?.[2]).toBe('quantizing takes about 4 minutes, 120 MB of memory');
  expect(all.weights8?.slice(1)).toEqual([
    'perhaps as fast as the original here',
    'quantizing takes a few seconds, 120 MB of memory',
  ]);
  expect(all.weights4?.[2]).toBe('needs 4.0 GB of memory, and there are 2.0 GB');
  expect(all.float16).toEqual([]); // nothing is known of it
  // Without samples, and where sizes follow from what the model computes, nothing is said of the time.
  expect(estimatesOf({ ...known, hasSamples: false }).integers).toHaveLength(2);
  const incomplete = { estimate: { ...estimate, complete: false }, integerShare: 0.5 };
  // Half of the work in integers: 1 / (0.5 + 0.5 / 1.7).
  expect(estimatesOf({ ...known, expected: { integers: incomplete } }).integers).toEqual([
    'about 3.6 MB of 10.0 MB',
    'perhaps 1.26× as fast here',
  ]);
  const run = {
    number: 3,
    settings: { ...defaults, mode: 'static' },
    report: { sizeAfter: 3e6 },
    latency: { original: 100, quantized: 40, runs: 9 },
    milliseconds: 21_000,
  };
  expect(estimatesOf({ ...known, runs: [run as never] }).integers).toEqual([
    'run 3: 3.0 MB',
    '2.50× as fast',
    'took 21 s',
  ]);
});

test('sound of a microphone is cut into pieces of a lower rate', () => {
  const cut = (ratio: number, sound: Float32Array, step: number) => {
    const pieces = new Pieces(ratio, 4);
    const parts: number[][] = [];
    for (let at = 0; at < sound.length; at += step) {
      for (const piece of pieces.take(sound.subarray(at, at + step))) parts.push([...piece]);
    }
    return parts;
  };
  expect(cut(1, Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), 2)).toEqual([
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ]);
  expect(cut(2.5, Float32Array.of(1, 1, 4, 2, 2, 0, 0, 10, 0, 0), 3)).toEqual([
    [(1 + 1 + 2) / 2.5, (2 + 2 + 2) / 2.5, 5 / 2.5, 5 / 2.5].map(Math.fround),
  ]);
  // 44.1 kHz: as many pieces as there is time for, and none is lost to rounding.
  const second = Float32Array.from({ length: 44_100 }, (_, i) => Math.sin(i / 20));
  expect(cut(44_100 / 16_000, second, 1024)).toHaveLength(4000);
});

test('options that take less memory become settings of the page', () => {
  const before = { ...defaults, mode: 'auto', target: { sqnr: 30 } };
  // A search has no list of repairs: it becomes what it would be without them.
  expect(withInstead(before, { repairs: [] })).toMatchObject({
    mode: 'static',
    repairs: [],
    target: { sqnr: 30 },
  });
  const weights = withInstead(before, { mode: 'weight-only', weights: 'int8', repairs: [] });
  expect(toOptions(weights)).toEqual({ mode: 'weight-only', repairs: [] });
});

test('a layer is set by options that there are, and by nothing else', () => {
  const settings = { ...defaults, exclude: 'Softmax, a' };
  const four = withLayerChoice(settings, 'a', '4');
  expect(four.exclude).toBe('Softmax');
  expect(four.more).toEqual({ precision: { a: { activations: 'uint8', weights: 'int4' } } });
  expect(layerChoiceOf(four, 'a')).toBe('4');
  const two = withLayerChoice(four, 'b', 'float');
  expect(withLayerChoice(two, 'a', 'out')).toMatchObject({
    exclude: 'Softmax, a',
    more: { precision: { b: { activations: 'float', weights: 'float' } } },
  });
  expect(withLayerChoice(withLayerChoice(two, 'a', 'chosen'), 'b', 'chosen').more).toEqual({});
  // Each mode has the choices that do something in it, and each choice is found again.
  for (const mode of ['static', 'auto', 'dynamic', 'float16', 'weight-only'])
    for (const { id } of layerChoices({ ...defaults, mode }, true))
      expect(layerChoiceOf(withLayerChoice({ ...defaults, mode }, 'a', id), 'a'), `${mode} ${id}`).toBe(id);
  expect(layerChoices({ ...defaults, mode: 'float16' }, true).map(({ id }) => id)).toEqual([
    'chosen',
    'float',
    'out',
  ]);
});

test('what was dropped is told apart', async () => {
  const model = file('net.onnx');
  const weights = file('net.onnx_data');
  const photos = [file('a.jpg', '', 'image/jpeg'), file('b.png')];
  const understood = await understand(
    [model, weights, ...photos, file('labels.csv'), file('.DS_Store')],
    true,
  );
  expect(understood.model).toMatchObject({ name: 'net.onnx', others: [weights] });
  expect(understood.samples).toEqual(photos);
  expect(understood.sentence).toBe(
    '1 model with 1 file of weights, 2 photographs, right answers in labels.csv.',
  );
  expect(await understand([photos[0] as File, file('notes.docx')], false)).toMatchObject({
    model: undefined,
    sentence: '1 photograph, 1 file that this page does not know.',
  });
  await expect(understand([file('one.onnx'), file('two.onnx')], true)).rejects.toThrow(
    'these are several models',
  );
});

test('addresses say where the visitor is', () => {
  expect(routeOf('')).toMatchObject({ project: undefined });
  expect(routeOf('#/')).toMatchObject({ project: undefined });
  expect(routeOf(hashOf('abc1', 'goal'))).toEqual({ project: 'abc1', step: 'goal', run: undefined });
  expect(routeOf(hashOf('demo_ocr', 'result', 12))).toEqual({ project: 'demo_ocr', step: 'result', run: 12 });
  expect(routeOf('#/abc/nonsense').step).toBe('model');
});

describe('a chart of sizes', () => {
  const point = (size: number, value: number) => ({
    size,
    value,
    name: `${size}, which is what it is called`,
  });

  test('has the smallest at the left, the best above, and what is exact above all', () => {
    const found = places([point(9, Number.POSITIVE_INFINITY), point(1, 20), point(5, 40)], 600);
    expect(found.map(({ x }) => x)).toEqual([576, 24, 300]);
    expect(found.map(({ isNamed }) => isNamed)).toEqual([true, true, true]);
    const [exact = 0, worst = 0, best = 0] = found.map(({ y }) => y);
    expect(exact).toBeLessThan(best);
    expect(best).toBeLessThan(worst);
  });

  test.each([280, 900])('covers no point with another one, %i pixels wide', (width) => {
    const found = places(
      Array.from({ length: 12 }, (_, i) => point(i < 6 ? 7 : i, 1)),
      width,
    );
    for (const [i, a] of found.entries()) {
      expect(a.x).toBeGreaterThan(0);
      expect(a.x).toBeLessThan(width);
      for (const b of found.slice(0, i)) {
        expect(Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y))).toBeGreaterThan(28);
      }
    }
  });
});

describe('how weights are distributed', () => {
  /** The spread of a tensor of a file, with the fields of TensorProto given. */
  const spread = (type: number, dims: number[], content: { raw?: ArrayLike<number>; list?: number[] }) => {
    const file = modelOf([...tensorOf('w', type, dims, content), ...node('Identity', ['w'], ['y'])]);
    const tensor = graphOf(file).tensors.get('w');
    if (!tensor) throw new Error('the tensor is not found');
    return spreadOf(file.subarray(...tensor.at), tensor);
  };
  const bytes = (values: { buffer: ArrayBufferLike }) => new Uint8Array(values.buffer);

  test('steps are equal, zeros and what is not finite are counted apart', () => {
    const values = Float32Array.of(-1, -1, 0, 0, 0, 0.99, 1, Number.NaN, Number.POSITIVE_INFINITY);
    const found = spread(1, [9], { raw: bytes(values) });
    expect(found).toMatchObject({ left: -1, width: 2 / 64, zeros: 3, notFinite: 2 });
    expect(found?.counts.length).toBe(64);
    expect([found?.counts[0], found?.counts[63]]).toEqual([2, 2]);
  });

  test.each<[string, number, { raw?: ArrayLike<number>; list?: number[] }, number, number]>([
    ['float16 as bytes', 10, { raw: bytes(Uint16Array.of(0x3c00, 0xc000)) }, -2, 1],
    ['float16 in a list', 10, { list: [0x3c00, 0x0001] }, 2 ** -24, 1],
    ['bfloat16', 16, { raw: bytes(Uint16Array.of(0x3f80, 0xc040)) }, -3, 1],
    ['int8', 3, { raw: bytes(Int8Array.of(-128, 127)) }, -128, 127],
    ['int8 in a list', 3, { list: [5, 7] }, 5, 7],
    ['int64', 7, { raw: bytes(BigInt64Array.of(-3n, 9n)) }, -3, 9],
    ['int4', 22, { raw: [0x7_8] }, -8, 7],
    ['uint4', 21, { raw: [0xf_1] }, 1, 15],
  ])('%s', (_, type, content, left, right) => {
    const found = spread(type, [2], content);
    expect(found?.left).toBe(left);
    expect((found?.left ?? 0) + 64 * (found?.width ?? 0)).toBeCloseTo(right, 10);
  });

  test('numbers that are elsewhere, or all the same, are said so', () => {
    expect(spread(1, [2], {})).toBeUndefined();
    expect(spread(8, [1], { list: [1] })).toBeUndefined(); // strings
    expect(spread(1, [2], { raw: bytes(Float32Array.of(3, 3)) })).toMatchObject({ left: 3, counts: [] });
  });
});

test('digits side by side have the colours of their palettes, and gaps let through what is below', () => {
  const side = 28;
  const dots = Array.from({ length: 3 }, (_, i) => {
    const grey = new Uint8Array(side * side);
    grey[0] = 255;
    grey[side * side - 1] = 51 * i;
    return { label: i, grey };
  });
  const palettes = [paletteOf([250, 200, 0], [0, 100, 255]), paletteOf([10, 10, 10], [20, 20, 20])] as const;
  const wall = wallOf(dots, 2, (index) => palettes[index % 2] as Uint32Array);
  const tile = side + gap;
  expect([wall.width, wall.height]).toEqual([2 * tile, 2 * tile]);
  const at = (x: number, y: number) => [...wall.data.subarray(4 * (y * wall.width + x)).subarray(0, 4)];
  expect(at(0, 0)).toEqual([0, 0, 0, 0]);
  expect(at(gap / 2, gap / 2)).toEqual([0, 100, 255, 255]);
  expect(at(gap / 2 + 1, gap / 2)).toEqual([250, 200, 0, 255]);
  expect(at(tile + gap / 2, gap / 2)).toEqual([20, 20, 20, 255]);
  expect(at(gap / 2 + side - 1, tile + gap / 2 + side - 1)).toEqual([150, 160, 102, 255]);
  expect(at(tile + gap / 2, tile + gap / 2)).toEqual([0, 0, 0, 0]); // there is no fourth
});
