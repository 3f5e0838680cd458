// simplify, completion, and images without sharp.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as ort from 'onnxruntime-web';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import type { Feeds, QuantizeOptions } from 'zeropoint';
import { initializer, modelOf, node, small, valueInfo } from './handmade.ts';
import {
  cli,
  errorOf,
  installed,
  models,
  noisyFeeds,
  program,
  relativeError,
  temporaryFolder,
  zeropoint,
} from './helpers.ts';

const { Model } = zeropoint;

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const here = { cwd: folder };
copyFileSync(models.angle.path, at('model.onnx'));

describe('simplify', () => {
  const sizes = '1,3,48,192';

  /** Both models answer the same. */
  async function expectSame(before: string, after: string) {
    const feeds = noisyFeeds(models.angle.feeds);
    const [a, b] = await Promise.all(
      [before, after].map(async (path) => {
        const session = await (await Model.load(path)).createSession();
        return Object.values(await session.run(feeds))[0]?.data as Float32Array;
      }),
    );
    expect(relativeError(a as Float32Array, b as Float32Array)).toBeLessThan(1e-4);
  }

  test('writes a smaller graph that answers the same, and counts operators', async () => {
    const { code, stdout } = await cli(['simplify', 'model.onnx', '-o', 'simple.onnx'], here);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^operator +before +after/m);
    expect(stdout).toMatch(/^ai\.onnx\.BatchNormalization +35 +0 +-35$/m);
    await expectSame(at('model.onnx'), at('simple.onnx'));
    const { stdout: counted } = await cli(['simplify', 'model.onnx', '-o', 'again.onnx', '--json'], here);
    const { operators, nodesBefore, nodesAfter } = JSON.parse(counted);
    const { nodes } = await (await Model.load(at('again.onnx'))).inspect();
    expect(nodesAfter).toBe(nodes);
    expect(nodesAfter).toBeLessThan(nodesBefore);
    const sum = operators.reduce((all: number, { after }: { after: number }) => all + after, 0);
    expect(sum).toBe(nodes);
    expect(readFileSync(at('again.onnx')).equals(readFileSync(at('simple.onnx')))).toBe(true);
  });

  test('--shape and --dims fix the sizes of an input', async () => {
    const fixed = async (output: string, ...args: string[]) => {
      const { code, stderr } = await cli(['simplify', 'model.onnx', '-o', output, '--quiet', ...args], here);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const model = await Model.load(at(output));
      expect(model.inputs[0]?.dims).toEqual([1, 3, 48, 192]);
      expect((await model.inspect()).macs).toBeGreaterThan(0);
    };
    await fixed('shape.onnx', '--shape', `x:${sizes}`);
    const named = [0, 1, 2].map((i) => `p2o.DynamicDimension.${i}=${[1, 48, 192][i]}`);
    await fixed('dims.onnx', '--dims', named.join(','));
    expect(readFileSync(at('dims.onnx')).equals(readFileSync(at('shape.onnx')))).toBe(true);
    await expectSame(at('model.onnx'), at('shape.onnx'));
  });

  describe('dimensions without a name', () => {
    // y = x · w + z. The rows of x have no name, those of z have one.
    writeFileSync(
      at('nameless.onnx'),
      modelOf([
        ...node('MatMul', ['x', 'w'], ['p']),
        ...node('Add', ['p', 'z'], ['y']),
        ...initializer('w', [4, 2], [1, 2, 3, 4, 5, 6, 7, 8]),
        ...valueInfo(11, 'x', ['', 4]),
        ...valueInfo(11, 'z', ['rows', 2]),
        ...valueInfo(12, 'y', ['', 2]),
      ]),
    );

    test('are set by the shape of their input', async () => {
      const open = await cli(['inspect', 'nameless.onnx'], here);
      expect(open.stdout).toContain('unknown: give --dims rows=N --shape x:N,4');
      const shapes = ['--shape', 'x:5,4', '--shape', 'z:5,2'];
      const known = await cli(['inspect', 'nameless.onnx', '--json', ...shapes], here);
      expect(JSON.parse(known.stdout).macs).toBe(5 * 4 * 2);
      expect(await cli(['simplify', 'nameless.onnx', '-o', 'named.onnx', ...shapes], here)).toMatchObject({
        code: 0,
      });
      const { inputs, outputs } = await Model.load(at('named.onnx'));
      expect([...inputs, ...outputs].map(({ dims }) => dims)).toEqual([
        [5, 4],
        [5, 2],
        [5, 2],
      ]);
    });

    test('the package has it: shapes', async () => {
      const model = await Model.load(at('nameless.onnx'));
      expect((await model.inspect({ shapes: { x: [6, 4] }, dims: { rows: 6 } })).macs).toBe(48);
      const simple = await model.simplify({ shapes: { x: [6, 4] } });
      expect(simple.inputs.map(({ dims }) => dims)).toEqual([
        [6, 4],
        ['rows', 2],
      ]);
      expect(simple.outputs[0]?.dims).toEqual([6, 2]);
      const { metadata } = await simple.inspect();
      expect(JSON.parse(metadata.find(({ key }) => key === 'zeropoint')?.value ?? '').settings).toMatchObject(
        {
          shapes: { x: [6, 4] },
        },
      );
      await errorOf(() => model.simplify({ shapes: { x: [-1, 4] } }), 'invalid-argument');
      await errorOf(() => model.simplify({ shapes: { x: [5, 4], z: [6, 2] } }), 'shape-mismatch');
    });

    test.each([
      [
        'an input that is not there',
        ['--shape', 'q:1,4'],
        /q: the model has no such input; its inputs are x, z/,
      ],
      ['another rank', ['--shape', 'x:1,4,1'], /\[1, 4, 1\] does not fit \[\?, 4\]/],
      ['another size', ['--shape', 'x:1,5'], /\[1, 5\] does not fit \[\?, 4\]/],
      ['two shapes', ['--shape', 'x:1,4', '--shape', 'x:2,4'], /x has the shape 1,4 already/],
      ['two sizes', ['--dims', 'rows=1,rows=2'], /rows is 1 already/],
      ['a name of two sizes', ['--dims', 'rows=1', '--shape', 'z:2,2'], /z: rows is 1 elsewhere/],
      [
        'a name that is not there',
        ['--dims', 'columns=1'],
        /named 'columns'; there are rows\n.*dimensions of x have no name: set its whole shape/,
      ],
      ['no sizes', ['--shape', 'x'], /NAME:SIZE,SIZE,\.\.\. is needed/],
      ['a size that is none', ['--shape', 'x:1,0'], /not an integer of 1 or more/],
    ])('%s: is refused', async (_, args, words) => {
      for (const [command, ...more] of [['inspect'], ['simplify', '-o', 'never.onnx']]) {
        const { code, stderr } = await cli([command as string, 'nameless.onnx', ...more, ...args], here);
        expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
      }
    });
  });

  test('of branches nothing is quantized either', async () => {
    const { code, stdout } = await cli(['simplify', models.wakeWord.path, '-o', 'wake.onnx', '--json'], here);
    expect(code).toBe(0);
    const operators: { op: string }[] = JSON.parse(stdout).operators;
    expect(operators.filter(({ op }) => /QuantizeLinear/.test(op))).toEqual([]);
  });

  const calibration = [1, 2, 3].map((seed) => noisyFeeds(models.angle.feeds, seed));
  test.each<[string, QuantizeOptions, RegExp]>([
    ['pairs', { mode: 'static', calibration }, /\.(De)?[qQ]uantizeLinear$/],
    ['operators', { mode: 'static', format: 'qoperator', calibration }, /\.QLinear/],
    ['operators that round in each run', { mode: 'dynamic' }, /Integer$|\.DynamicQuantizeLinear$/],
    ['pairs that round in each run', { mode: 'dynamic', format: 'qdq' }, /QuantizeLinear$/],
    ['blocks', { mode: 'weight-only', weights: 'int4' }, /\.MatMulNBits$/],
    ['weights', { mode: 'weight-only' }, /\.(Cast|Sub|Mul)$/],
    ['some layers', { mode: 'weight-only', include: ['Conv'] }, /\.(Cast|Sub|Mul)$/],
  ])('a quantized file keeps its integers and their form: %s', async (_, options, operator) => {
    const model = await Model.load(models.angle.path);
    const { model: quantized } = await model.quantize(options);
    await writeFile(at('quantized.onnx'), quantized.toBytes());
    const { code, stdout, stderr } = await cli(
      ['simplify', 'quantized.onnx', '-o', 'simple-quantized.onnx', '--json', '--force'],
      here,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { operators, sizeBefore, sizeAfter } = JSON.parse(stdout);
    const ofIntegers = operators.filter(({ op }: { op: string }) => operator.test(op));
    expect(ofIntegers.length).toBeGreaterThan(0);
    expect(sizeAfter).toBeLessThan(1.05 * sizeBefore);
    const files = await Promise.all(
      ['quantized.onnx', 'simple-quantized.onnx'].map((name) => Model.load(at(name))),
    );
    expect(files[0]?.format).toBe(files[1]?.format);
    const feeds = calibration[0] as Feeds;
    const [a, b] = await Promise.all(
      files.map(async (file) => {
        const outputs = await (await file.createSession()).run(feeds);
        return Object.values(outputs)[0]?.data as Float32Array;
      }),
    );
    expect(relativeError(a as Float32Array, b as Float32Array)).toBeLessThan(1e-4);
    // And it says the same where others read it.
    const [input = ''] = model.inputs.map(({ name }) => name);
    const fed = feeds[input] as { dims: readonly number[]; data: Float32Array };
    const [c, d] = await Promise.all(
      ['quantized.onnx', 'simple-quantized.onnx'].map(async (name) => {
        const session = await ort.InferenceSession.create(readFileSync(at(name)), {
          graphOptimizationLevel: 'disabled',
        });
        const outputs = await session.run({ [input]: new ort.Tensor('float32', fed.data, fed.dims) });
        return Object.values(outputs)[0]?.data as Float32Array;
      }),
    );
    expect(relativeError(c as Float32Array, d as Float32Array)).toBeLessThan(1e-4);
  });

  test('operators are those of the files, not those that they become here', async () => {
    const fused = modelOf(
      [
        ...node('QuickGelu', ['x'], ['a'], 'com.microsoft'),
        ...node('Identity', ['a'], ['y']),
        ...valueInfo(11, 'x', [2, 3]),
        ...valueInfo(12, 'y', [2, 3]),
      ],
      ['com.microsoft'],
    );
    writeFileSync(at('fused.onnx'), fused);
    const { stdout } = await cli(['inspect', 'fused.onnx', '--json'], here);
    expect(JSON.parse(stdout)).toMatchObject({
      nodes: 2,
      operators: [
        { op: 'ai.onnx.Identity', count: 1 },
        { op: 'com.microsoft.QuickGelu', count: 1 },
      ],
    });
    const { stdout: simplified } = await cli(
      ['simplify', 'fused.onnx', '-o', 'unfused.onnx', '--json'],
      here,
    );
    expect(JSON.parse(simplified)).toMatchObject({ nodesBefore: 2 });
    expect(JSON.parse(simplified).operators).toContainEqual({ op: 'ai.onnx.Identity', before: 1, after: 0 });
  });

  test('the package has it: Model.simplify()', async () => {
    const model = await Model.load(
      small(['N', 3], node('Identity', ['x'], ['a']), node('Relu', ['a'], ['y'])),
    );
    const simple = await model.simplify({ dims: { N: 2 } });
    expect(simple.inputs[0]?.dims).toEqual([2, 3]);
    expect((await simple.inspect()).operators).toEqual([{ op: 'ai.onnx.Relu', count: 1 }]);
    await errorOf(() => model.simplify({ dims: { N: -1 } }), 'invalid-argument');
  });
});

describe('completion', () => {
  const complete = async (...words: string[]) =>
    (await cli(['complete', '--', ...words])).stdout.split('\n').map((line) => line.split('\t')[0]);

  test('knows commands, options and values', async () => {
    expect(await complete('qua')).toContain('quantize');
    expect(await complete('quantize', '--per')).toContain('--per-tensor');
    expect(await complete('quantize', '--mode', '')).toEqual(
      expect.arrayContaining(['static', 'weight-only']),
    );
    expect(await complete('run', '--preset', 'ima')).toEqual(
      expect.arrayContaining(['imagenet', 'imagenet-tf']),
    );
  });

  test.each(['bash', 'zsh', 'fish'])('%s: prints a script', async (shell) => {
    const { code, stdout } = await cli(['completion', shell]);
    expect(code).toBe(0);
    expect(stdout).toContain('zeropoint complete --');
  });

  test('bash reads the script, and completes with it', async () => {
    const { stdout } = await cli(['completion', 'bash']);
    writeFileSync(at('completion.bash'), stdout);
    // What bash-completion gives the words by; it need not be installed here.
    const script = `
      _get_comp_words_by_ref() { cur=\${COMP_WORDS[COMP_CWORD]}; words=("\${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
      compopt() { :; }
      source completion.bash
      COMP_WORDS=(zeropoint quantize --per); COMP_CWORD=2
      __zeropoint_complete
      echo "\${COMPREPLY[@]}"`;
    const path = `${join(program, '..')}:${process.env.PATH}`;
    const answer = execFileSync('bash', ['-c', script], { cwd: folder, env: { ...process.env, PATH: path } });
    expect(answer.toString()).toContain('--per-tensor');
  });

  test('another shell is refused', async () => {
    expect(await cli(['completion', 'tcsh'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('bash'),
    });
  });
});

describe('images without sharp', () => {
  test.each([
    ['installed', 'node_modules', /npm install sharp/],
    ['with npx', '_npx/0123456789abcdef/node_modules', /npx --package=zeropoint --package=sharp zeropoint/],
  ])('%s: what to do is said', async (name, place, words) => {
    const home = at(name);
    mkdirSync(join(home, place), { recursive: true });
    cpSync(installed, join(home, place, 'zeropoint'), { recursive: true });
    const picture = sharp({ create: { width: 8, height: 8, channels: 3, background: '#123456' } });
    await picture.png().toFile(join(home, 'a.png'));
    const args = ['run', models.angle.path, '--input', 'a.png', '--preset', 'ppocr-cls'];
    const started = (() => {
      try {
        execFileSync(process.execPath, [join(home, place, 'zeropoint/dist/cli.js'), ...args], {
          cwd: home,
          stdio: 'pipe',
        });
        return '';
      } catch (error) {
        return String((error as { stderr: Buffer }).stderr);
      }
    })();
    expect(started).toMatch(/^error: images are read with the package 'sharp'/);
    expect(started).toMatch(words);
  });
});
