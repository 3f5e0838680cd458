// Many models, folders and patterns, the standard streams, and recipes.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { cli, models, noise, temporaryFolder, zeropoint } from './helpers.ts';

const { Tensor, readNpy, readNpz, writeNpy, recipeOf, recipeText } = zeropoint;

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const there = (name: string) => existsSync(at(name));
const here = { cwd: folder };

beforeAll(() => {
  mkdirSync(at('models/deep'), { recursive: true });
  copyFileSync(models.wakeWord.path, at('models/a.onnx'));
  copyFileSync(models.embedding.path, at('models/deep/b.onnx'));
  mkdirSync(at('tree/deep'), { recursive: true });
  for (const name of ['a.onnx', 'deep/b.onnx']) copyFileSync(at(`models/${name}`), at(`tree/${name}`));
  mkdirSync(at('other'));
  copyFileSync(models.wakeWord.path, at('other/a.onnx'));
  writeFileSync(at('models/notes.txt'), 'no model');
  mkdirSync(at('samples'));
  for (let i = 0; i < 4; ++i)
    writeFileSync(at(`samples/${i}.npy`), writeNpy(new Tensor('float32', noise(16 * 96, i), [1, 16, 96])));
});

describe('many models', () => {
  test('a folder keeps its form, and what was written before is no input', async () => {
    for (const force of [[], ['--force']]) {
      const call = await cli(['quantize', 'tree', '-o', 'tree/small/', '--mode', 'dynamic', ...force], here);
      expect(call).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('2 of 2 models were quantized'),
      });
    }
    expect(readdirSync(at('tree/small'), { recursive: true }).sort()).toEqual([
      'a.onnx',
      'deep',
      'deep/b.onnx',
    ]);
    expect(readFileSync(at('tree/small/a.onnx')).length).toBeLessThan(readFileSync(at('tree/a.onnx')).length);
  });

  test('one that fails is named, the others are written, and the exit code tells', async () => {
    mkdirSync(at('mixed'));
    copyFileSync(models.wakeWord.path, at('mixed/good.onnx'));
    writeFileSync(at('mixed/bad.onnx'), 'no model');
    const args = ['quantize', 'mixed/*.onnx', '-o', 'out-mixed/', '--mode', 'dynamic'];
    const call = await cli(args, here);
    expect(call).toMatchObject({ code: 1, stdout: expect.stringContaining('1 of 2 models were quantized') });
    expect(call.stderr).toMatch(/^error: mixed\/bad\.onnx: /m);
    expect(readdirSync(at('out-mixed'))).toEqual(['good.onnx']);
    const asJson = await cli([...args, '--force', '--json'], here);
    expect(asJson.code).toBe(1);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      models: [
        { model: 'mixed/bad.onnx', error: { code: 'invalid-model' } },
        { model: 'mixed/good.onnx', output: 'out-mixed/good.onnx', mode: 'dynamic' },
      ],
    });
  });

  test.each([
    ['into a file', ['models', '-o', 'one.onnx'], /2 models.*one\.onnx is one file.*-o one\.onnx\//],
    ['to standard output', ['models', '-o', '-'], /2 models.*standard output takes one/],
    ['over themselves', ['models', '-o', 'models', '--force'], /all models are inside of it/],
    [
      'over a model of theirs',
      ['models/a.onnx', '-o', 'models/', '--force'],
      /is an input: it is never overwritten/,
    ],
    [
      'of one name',
      ['models/a.onnx', 'other/a.onnx', '-o', 'never/'],
      /models\/a\.onnx and other\/a\.onnx would both/,
    ],
    ['of a folder without any', ['samples', '-o', 'never/'], /no \.onnx file in this folder/],
    ['of a pattern without any', ['nothing/*.onnx', '-o', 'never/'], /there is no such file/],
    [
      'with one state of training',
      ['models/a.onnx', 'models/deep/b.onnx', '-o', 'never/', '--checkpoint', 'x'],
      /--checkpoint/,
    ],
  ])('are refused %s', async (_, args, words) => {
    const { code, stderr, stdout } = await cli(['quantize', ...args, '--mode', 'dynamic'], here);
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(words) });
    expect(there('never')).toBe(false);
  });

  test('what exists stays, and nothing is begun', async () => {
    mkdirSync(at('kept/deep'), { recursive: true });
    writeFileSync(at('kept/deep/b.onnx'), 'precious');
    const { code, stderr } = await cli(['quantize', 'models', '-o', 'kept', '--mode', 'dynamic'], here);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/kept\/deep\/b\.onnx exists.*--force/),
    });
    expect(readFileSync(at('kept/deep/b.onnx'), 'utf8')).toBe('precious');
    expect(there('kept/a.onnx')).toBe(false);
  });

  test('one model goes into a folder too', async () => {
    expect(
      await cli(['quantize', 'models/a.onnx', '-o', 'single/', '--mode', 'dynamic'], here),
    ).toMatchObject({ code: 0 });
    expect(there('single/a.onnx')).toBe(true);
  });
});

describe('standard input and output', () => {
  test('a model goes through, with words on standard error', async () => {
    const input = readFileSync(at('models/a.onnx'));
    const piped = await cli(['quantize', '-', '-o', '-', '--mode', 'dynamic'], { ...here, input });
    expect({ code: piped.code, stderr: piped.stderr }).toEqual({
      code: 0,
      stderr: expect.stringContaining('to standard output'),
    });
    await cli(['quantize', 'models/a.onnx', '-o', 'piped.onnx', '--mode', 'dynamic'], here);
    expect(piped.bytes.equals(readFileSync(at('piped.onnx')))).toBe(true);
    const seen = await cli(['inspect', '-'], { input: piped.bytes });
    expect(seen).toMatchObject({ code: 0, stdout: expect.stringMatching(/^file +standard input, /) });
  });

  test('run takes a sample, and gives the outputs', async () => {
    const input = readFileSync(at('samples/0.npy'));
    const { code, bytes } = await cli(['run', 'models/a.onnx', '--input', '-', '-o', '-'], {
      ...here,
      input,
    });
    expect(code).toBe(0);
    expect((await readNpz(bytes))[53]?.dims).toEqual([1, 1]);
  });

  test.each([
    ['no model', ['inspect', '-'], 'nonsense', 1, /^error: standard input: this is not an ONNX model/],
    ['input twice', ['compare', '-', '-'], undefined, 2, /standard input is a model already/],
    [
      'a folder for what has no name',
      ['quantize', '-', '-o', 'never/', '--mode', 'dynamic'],
      undefined,
      2,
      /has no name/,
    ],
    [
      'two things at once',
      ['quantize', '-', '-o', '-', '--mode', 'dynamic', '--json'],
      undefined,
      2,
      /standard output is taken/,
    ],
    ['outputs and JSON', ['run', '-', '-o', '-', '--json'], undefined, 2, /standard output/],
    [
      'weights of another file',
      ['quantize', '-', '-o', '-', '--mode', 'dynamic', '--external-data'],
      undefined,
      2,
      /2 files.*standard output takes one/,
    ],
  ])('%s: is refused', async (_, args, text, expected, words) => {
    const input = text === undefined ? readFileSync(at('models/a.onnx')) : Buffer.from(text);
    const { code, stderr, stdout } = await cli(args, { ...here, input });
    expect({ code, stdout, stderr }).toEqual({
      code: expected,
      stdout: '',
      stderr: expect.stringMatching(words),
    });
  });
});

describe('recipes', () => {
  test('the same recipe and samples give the same bytes', async () => {
    const first = [
      'models/a.onnx',
      '-o',
      'first.onnx',
      '--calibration',
      'samples',
      '--samples',
      '3',
      '--save-recipe',
      'recipe.json',
    ];
    const how = [
      '--mode',
      'static',
      '--per-tensor',
      '--observer',
      'percentile',
      '--exclude',
      'Sigmoid',
      '--opset',
      '17',
    ];
    expect(await cli(['quantize', ...first, ...how], here)).toMatchObject({ code: 0 });
    const recipe = JSON.parse(readFileSync(at('recipe.json'), 'utf8'));
    expect(recipe).toMatchObject({
      model: { name: 'a.onnx', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      samples: { count: 3, limit: 3 },
      options: { mode: 'static', perChannel: false, observer: 'percentile', exclude: ['Sigmoid'], opset: 17 },
    });
    const again = [
      'quantize',
      'models/a.onnx',
      '-o',
      'second.onnx',
      '--calibration',
      'samples',
      '--config',
      'recipe.json',
    ];
    const second = await cli([...again, '--save-recipe', 'recipe-2.json'], here);
    expect(second).toMatchObject({ code: 0, stderr: expect.not.stringContaining('another file') });
    expect(readFileSync(at('second.onnx')).equals(readFileSync(at('first.onnx')))).toBe(true);
    expect(readFileSync(at('recipe-2.json'), 'utf8')).toBe(readFileSync(at('recipe.json'), 'utf8'));

    // The package makes the same of the recipe: so does the page, which is the same code.
    const model = await zeropoint.Model.load(at('models/a.onnx'));
    const samples = [0, 1, 2].map((i) => ({ 'x.1': readNpy(readFileSync(at(`samples/${i}.npy`))) }));
    const { model: small } = await model.quantize({ ...recipe.options, calibration: samples });
    expect(Buffer.from(await small.toBytes()).equals(readFileSync(at('first.onnx')))).toBe(true);

    // A flag wins over the recipe.
    const other = await cli([...again, '--force', '--observer', 'min-max', '--json'], here);
    expect(other.code).toBe(0);
    expect(readFileSync(at('second.onnx')).equals(readFileSync(at('first.onnx')))).toBe(false);
    // Another model is quantized, and one is told.
    const elsewhere = await cli(
      ['quantize', 'models/deep/b.onnx', '-o', 'b.onnx', '--config', 'recipe.json', '--exclude', 'Conv'],
      here,
    );
    expect(elsewhere).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/made with another file \(a\.onnx\)/),
    });
  });

  test('made-up samples are in it', async () => {
    const args = ['quantize', 'models/a.onnx', '--seed', '7', '--samples', '2'];
    expect(await cli([...args, '-o', 'm1.onnx', '--save-recipe', 'made-up.json'], here)).toMatchObject({
      code: 0,
    });
    expect(
      await cli(['quantize', 'models/a.onnx', '-o', 'm2.onnx', '--config', 'made-up.json'], here),
    ).toMatchObject({ code: 0 });
    expect(readFileSync(at('m2.onnx')).equals(readFileSync(at('m1.onnx')))).toBe(true);
  });

  test('one of the package, with images: the way they are prepared is taken, and a preset replaces it', async () => {
    const image = { size: [48, 192] as const, mean: 0.25, std: 0.5, cropFraction: 0.9 };
    const recipe = recipeOf({
      model: { name: 'x.onnx' },
      samples: { what: 'ten', image },
      options: { mode: 'dynamic' },
    });
    writeFileSync(at('page.json'), recipeText(recipe));
    const call = ['quantize', 'models/a.onnx', '--calibration', 'samples', '--config', 'page.json'];
    expect(await cli([...call, '-o', 'p.onnx', '--save-recipe', 'p.json'], here)).toMatchObject({ code: 0 });
    expect(JSON.parse(readFileSync(at('p.json'), 'utf8'))).toMatchObject({
      samples: { image },
      options: { mode: 'dynamic' },
    });
    await cli([...call, '-o', 'q.onnx', '--preset', 'imagenet', '--save-recipe', 'q.json'], here);
    expect(JSON.parse(readFileSync(at('q.json'), 'utf8')).samples.image).toEqual({ preset: 'imagenet' });
  });

  test('of several models there is one each, in a folder', async () => {
    const args = ['quantize', 'models/a.onnx', 'models/deep/b.onnx', '--mode', 'dynamic'];
    const one = await cli([...args, '-o', 'never/', '--save-recipe', 'r.json'], here);
    expect(one).toMatchObject({ code: 2, stderr: expect.stringMatching(/--save-recipe r\.json\//) });
    expect(await cli([...args, '-o', 'several/', '--save-recipe', 'several/'], here)).toMatchObject({
      code: 0,
    });
    expect(readdirSync(at('several')).sort()).toEqual(['a.onnx', 'a.recipe.json', 'b.onnx', 'b.recipe.json']);
  });

  test.each([
    ['no JSON', 'mode: static', /cannot be read: .*JSON/],
    ['no object', '[1]', /an object is needed/],
    ['no options', '{"zeropoint": "0.1.0"}', /it has no options/],
    ['an option that there is not', '{"options": {"magic": 1}}', /'magic' is not an option/],
    ['a value that there is not', '{"options": {"mode": "magic"}}', /magic.*static/],
    ['images that cannot be', '{"options": {}, "samples": {"image": {"size": "big"}}}', /size/],
  ])('%s: is refused', async (_, text, words) => {
    const args = ['quantize', 'models/a.onnx', '-o', 'never.onnx', '--config', '-'];
    const { code, stderr } = await cli(args, { ...here, input: Buffer.from(text) });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
    expect(stderr).toMatch(/^error: the recipe cannot be read/);
    expect(there('never.onnx')).toBe(false);
  });
});
