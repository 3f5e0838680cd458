import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { modelOf, node, small, valueInfo } from './handmade.ts';
import { cli, models, noise, program, temporaryFolder, zeropoint } from './helpers.ts';

const { Tensor, readNpz, writeNpy, writeNpz } = zeropoint;

const folder = temporaryFolder();
const { path: model } = models.wakeWord;
const inFolder = (name: string) => join(folder, name);
const array = (seed: number, dims = [1, 16, 96]) =>
  writeNpy(
    new Tensor(
      'float32',
      noise(
        dims.reduce((a, b) => a * b, 1),
        seed,
      ),
      dims,
    ),
  );

beforeAll(() => {
  mkdirSync(inFolder('samples'));
  for (let i = 0; i < 4; ++i) writeFileSync(inFolder(`samples/${i}.npy`), array(i));
  writeFileSync(inFolder('samples/.hidden'), 'not a sample');
  writeFileSync(inFolder('samples/notes.txt'), 'not a sample');
  writeFileSync(inFolder('x.npy'), array(9));
  writeFileSync(inFolder('wrong.npy'), array(9, [3, 3]));
});

const warningsIn = (stderr: string) =>
  stderr.split('\n').filter((line) => line && !line.startsWith('progress: '));

/** What a command prints as JSON, where it must succeed. */
async function json(...args: string[]) {
  const { code, stdout, stderr } = await cli([...args, '--json']);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return JSON.parse(stdout);
}

describe('zeropoint', () => {
  test('explains itself', async () => {
    const help = await cli(['--help']);
    expect(help.code).toBe(0);
    for (const name of ['inspect', 'quantize', 'run', 'compare', 'bench']) {
      expect(help.stdout).toContain(name);
      const more = await cli([name, '--help']);
      expect(more.code).toBe(0);
      expect(more.stdout).toContain('Examples:');
      expect(more.stdout).toContain('--json');
    }
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect((await cli(['--version'])).stdout.trim()).toBe(version);
  });

  test.each([
    ['nothing', []],
    ['an unknown command', ['quantise', model]],
    ['an unknown option', ['inspect', model, '--jason']],
    ['a folder for a model', ['inspect', 'samples']],
    ['no model', ['inspect']],
    ['no output', ['quantize', model]],
    ['an unknown mode', ['quantize', model, '-o', 'never.onnx', '--mode', 'magic']],
    ['a number that is none', ['bench', model, '--runs', 'many']],
    ['an unknown preset', ['compare', model, model, '--preset', 'nope']],
    ['an unknown layout', ['compare', model, model, '--layout', 'nope']],
    ['dims without a size', ['inspect', model, '--dims', 'H']],
    ['a dimension that is not there', ['bench', model, '--dims', 'H=3']],
    ['an input that is not there', ['run', model, '--input', 'y=x.npy']],
    ['samples that are not there', ['compare', model, model, '--inputs', '/no/such/folder']],
    ['an output in no folder', ['quantize', model, '-o', '/no/such/folder/x.onnx', '--mode', 'dynamic']],
    ['the input as output', ['quantize', model, '-o', model, '--mode', 'dynamic', '--force']],
  ])('a wrong call, %s: exit code 2, and what is wrong on standard error', async (_, args) => {
    const { code, stdout, stderr } = await cli(args, { cwd: folder });
    expect({ code, stderr }).toMatchObject({ code: 2 });
    expect(stdout).toBe('');
    expect(stderr.trim()).not.toBe('');
    expect(stderr).not.toMatch(/at .*\.js:\d+/); // no stack
  });

  test('a model that cannot run: exit code 3, why in the first line, and everything else', async () => {
    const path = inFolder('strange.onnx');
    const nodes = [
      node('Frobnicate', ['x'], ['a'], 'own.ops'),
      node('Relu', ['a'], ['b']),
      node('Transmogrify', ['b'], ['y'], 'own.ops'),
    ];
    writeFileSync(path, small([2], ...nodes));
    const { code, stdout } = await cli(['inspect', path]);
    expect(code).toBe(3);
    const [first, ...rest] = stdout.split('\n');
    expect(first).toMatch(/^cannot run here: .*own\.ops\.Frobnicate .*own\.ops\.Transmogrify /);
    expect(rest.join('\n')).toMatch(/^opsets +ai\.onnx 13, own\.ops 1 \(/m);
    const asJson = await cli(['inspect', path, '--json']);
    expect(asJson.code).toBe(3);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      problem: { code: 'unsupported-operator', op: 'own.ops.Frobnicate', hint: expect.any(String) },
      nodes: 3,
    });
    expect(await json('inspect', model)).toMatchObject({ problem: null });
    for (const help of [['--help'], ['inspect', '--help']]) {
      expect((await cli(help)).stdout.replaceAll('\n', ' ')).toMatch(/3[: ].*cannot run here/);
    }
  });

  test('a model that cannot even be read as one: exit code 3 too', async () => {
    const path = inFolder('future.onnx');
    writeFileSync(
      path,
      modelOf(
        [...node('Relu', ['x'], ['y']), ...valueInfo(11, 'x', [2]), ...valueInfo(12, 'y', [2])],
        [],
        99,
      ),
    );
    const { code, stdout } = await cli(['inspect', path]);
    expect(code).toBe(3);
    expect(stdout).toMatch(/^cannot run here: .*opset 99/);
  });

  test('nothing quantized is said first', async () => {
    const path = inFolder('relu.onnx');
    writeFileSync(path, small([2], node('Relu', ['x'], ['y'])));
    const output = inFolder('same.onnx');
    const { code, stdout } = await cli(['quantize', path, '-o', output, '--mode', 'dynamic', '--force']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^nothing was quantized: 0 of \d layers\n/);
  });

  test.each([
    ['a model that is not there', () => ['inspect', '/no/such/model.onnx'], 'io'],
    ['a model that is none', () => ['inspect', inFolder('samples/notes.txt')], 'invalid-model'],
    [
      'an array that does not fit',
      () => ['compare', model, model, '--inputs', inFolder('wrong.npy')],
      'invalid-sample',
    ],
    [
      'an array that the model refuses',
      () => ['run', model, '--input', `x.1=${inFolder('wrong.npy')}`],
      'shape-mismatch',
    ],
    [
      'a folder without samples',
      () => ['compare', model, model, '--inputs', join(import.meta.dirname)],
      'invalid-sample',
    ],
    ['a file that is not there', () => ['run', model, '--input', 'x.1=/no/such.npy'], 'io'],
  ])('failed work, %s: exit code 1, as JSON if asked', async (_, args, errorCode) => {
    const { code, stdout, stderr } = await cli(args());
    expect({ code, stderr }).toMatchObject({ code: 1 });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error: /);
    const asJson = await cli([...args(), '--json']);
    expect(asJson.code).toBe(1);
    expect(JSON.parse(asJson.stderr).error).toMatchObject({ code: errorCode, message: expect.any(String) });
  });
});

describe('zeropoint inspect', () => {
  test('for people', async () => {
    const { code, stdout } = await cli(['inspect', models.angle.path]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/input\s+x: float32 \[/);
    expect(stdout).toMatch(/static quantization: \d+ of \d+ layers/);
    const layers = await cli(['inspect', models.angle.path, '--layers', '--mode', 'weight-only']);
    expect(layers.stdout.split('\n').length).toBeGreaterThan(stdout.split('\n').length);
  });

  test('as JSON', async () => {
    const report = await json('inspect', model);
    expect(report).toMatchObject({
      inputs: [{ name: 'x.1', type: 'float32', dims: [1, 16, 96] }],
      outputs: [{ name: '53', type: 'float32' }],
      opsets: [{ domain: 'ai.onnx', version: 13 }],
      operators: expect.any(Array),
      parameters: expect.any(Number),
      size: readFileSync(model).length,
      macs: expect.any(Number),
      plan: { mode: 'static', layers: expect.any(Array), layersQuantized: expect.any(Number) },
    });
    expect(report.macs).toBeGreaterThan(0);
  });

  test('names that would steer a terminal are harmless', async () => {
    const bytes = Buffer.from(readFileSync(model));
    const at = bytes.indexOf('x.1');
    for (let i = at; i >= 0; i = bytes.indexOf('x.1', i)) bytes.write('\u001b[A', i);
    writeFileSync(inFolder('steering.onnx'), bytes);
    const { stdout } = await cli(['inspect', inFolder('steering.onnx')]);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).toContain('?[A');
  });
});

describe('zeropoint quantize', () => {
  test('with samples: writes the model and the report', async () => {
    const out = inFolder('small.onnx');
    const { code, stderr, stdout } = await cli([
      'quantize',
      model,
      '-o',
      out,
      '--calibration',
      inFolder('samples'),
      '--json',
      inFolder('report.json'),
    ]);
    expect(code).toBe(0);
    expect(warningsIn(stderr)).toEqual([
      expect.stringMatching(/^warning: 3 layers in branches .*as in mode 'dynamic'/),
    ]);
    expect(stdout).toContain('times smaller');
    expect(stdout).not.toContain('nothing was quantized');
    const report = JSON.parse(readFileSync(inFolder('report.json'), 'utf8'));
    expect(report).toMatchObject({
      output: out,
      synthetic: false,
      mode: expect.stringMatching(/^(static|dynamic)$/), // whatever auto found best
      format: expect.stringMatching(/^(qdq|qoperator)$/),
      sizeBefore: readFileSync(model).length,
      sizeAfter: readFileSync(out).length,
    });
    expect(report.format).toBe(report.mode === 'static' ? 'qdq' : 'qoperator');
    expect(report.trials.length).toBeGreaterThan(2);
    expect(report.sizeAfter).toBeLessThan(report.sizeBefore / 1.9); // the branches of its If stay as they are
    const again = await json('inspect', out);
    expect(again.operators.some(({ op }: { op: string }) => /QuantizeLinear$/.test(op))).toBe(true);
  });

  test('samples and a word on how: one quantization, as told', async () => {
    for (const how of [
      ['--mode', 'static'],
      ['--observer', 'percentile'],
      ['--repair', 'none'],
    ]) {
      const samples = ['--calibration', inFolder('samples')];
      const report = await json(
        'quantize',
        model,
        '-o',
        inFolder('told.onnx'),
        '--force',
        ...samples,
        ...how,
      );
      expect(report).toMatchObject({ mode: 'static', samples: 4, trials: [] });
      if (how.includes('none')) expect(report.repairs).toEqual([]);
    }
  });

  test('without samples: a warning that says what that costs', async () => {
    const out = inFolder('synthetic.onnx');
    const { code, stderr, stdout } = await cli(['quantize', model, '-o', out]);
    expect(code).toBe(0);
    expect(stdout).not.toContain('tried');
    expect(stderr).toMatch(/^warning: .*synthetic.*--calibration/);
    expect((await cli(['quantize', model, '-o', inFolder('quiet.onnx'), '--quiet'])).stderr).toBe('');
  });

  test('an output that exists is kept, unless forced', async () => {
    const out = inFolder('kept.onnx');
    writeFileSync(out, 'precious');
    const refused = await cli(['quantize', model, '-o', out, '--mode', 'dynamic']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('--force');
    expect(readFileSync(out, 'utf8')).toBe('precious');
    expect((await cli(['quantize', model, '-o', out, '--mode', 'dynamic', '--force'])).code).toBe(0);
    expect(readFileSync(out).length).toBeGreaterThan(1000);
  });

  test('the same call gives the same bytes', async () => {
    const [a, b] = [inFolder('a.onnx'), inFolder('b.onnx')];
    for (const out of [a, b]) {
      const args = [
        'quantize',
        model,
        '-o',
        out,
        '--calibration',
        inFolder('samples'),
        '--per-tensor',
        '--activations',
        'int8',
      ];
      expect((await cli(args)).code).toBe(0);
    }
    expect(readFileSync(a)).toEqual(readFileSync(b));
  });

  test('4-bit weights, as operators, without some nodes', async () => {
    const out = inFolder('int4.onnx');
    const report = await json(
      'quantize',
      model,
      '-o',
      out,
      '--mode',
      'weight-only',
      '--weights',
      'int4',
      '--block-size',
      '16',
      '--format',
      'qoperator',
    );
    expect(report).toMatchObject({ mode: 'weight-only', format: 'qoperator' });
    expect(
      report.layers.some(({ weight }: { weight: { type: string } | null }) =>
        /int4/.test(weight?.type ?? ''),
      ),
    ).toBe(true);
  });

  test('2-bit weights are operators without being told so, and cannot be Q/DQ pairs', async () => {
    const args = [
      'quantize',
      model,
      '-o',
      inFolder('int2.onnx'),
      '--mode',
      'weight-only',
      '--weights',
      'int2',
    ];
    const wrong = await cli([...args, '--format', 'qdq']);
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(/2 bits.*qoperator/s) });
    const report = await json(...args);
    expect(report.format).toBe('qoperator');
    expect((await cli([...args.slice(0, -1), 'int3'])).stderr).toMatch(/int3.*int2/s);
  });

  test('images become samples', async () => {
    mkdirSync(inFolder('images'));
    for (let i = 0; i < 3; ++i) {
      const image = sharp({
        create: { width: 64 + i, height: 20, channels: 3, background: { r: 80 * i, g: 9, b: 7 } },
      });
      await image.png().toFile(inFolder(`images/${i}.png`));
    }
    const report = await json(
      'quantize',
      models.angle.path,
      '-o',
      inFolder('angle.onnx'),
      '--calibration',
      inFolder('images'),
      '--preset',
      'ppocr-cls',
      '--samples',
      '2',
      '--mode',
      'static',
    );
    expect(report.samples).toBe(2);
  });

  test('labels: a line for each image, and right answers are counted', async () => {
    writeFileSync(inFolder('classes.csv'), 'image,class\n2.png,1\n0.png,0\n"1.png",0\n');
    const call = (labels: string) =>
      [
        ...['quantize', models.angle.path, '-o', inFolder('labelled.onnx'), '--force'],
        ...['--calibration', inFolder('images'), '--preset', 'ppocr-cls'],
        ...['--mode', 'static', '--target', 'drop=0.9', '--labels', inFolder(labels)],
      ] as const;
    const report = await json(...call('classes.csv'));
    expect(report.trials[0].accuracy).toBeGreaterThanOrEqual(0);
    expect(report.trials[0].options.mode).toBe('static');
    writeFileSync(inFolder('order.txt'), '0\n0\n1\n');
    const shown = await cli(call('order.txt'));
    expect(shown.stdout).toContain('right answers');
    expect(shown.stdout).toContain(`${(100 * report.trials[0].accuracy).toFixed(1)} %`);

    writeFileSync(inFolder('few.csv'), '0.png,0\n');
    const few = await cli(call('few.csv'));
    expect(few).toMatchObject({ code: 2 });
    expect(few.stderr).toContain('no line for 1.png');
    writeFileSync(inFolder('words.csv'), 'image,class\n0.png,cat\n');
    expect((await cli(call('words.csv'))).stderr).toContain("'NAME,CLASS'");
  });

  test('what stands out is said, with the option that helps', async () => {
    const { stdout } = await cli([
      ...['quantize', models.angle.path, '-o', inFolder('told.onnx'), '--force', '--mode', 'static'],
      ...['--calibration', inFolder('images'), '--preset', 'ppocr-cls', '--per-tensor'],
    ]);
    expect(stdout).toMatch(/\nwhat stands out:\n {2}\S+ \S+: .*--(repair|observer) [a-z-]+/);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('%s leaves nothing behind', async (signal) => {
    const before = readdirSync(folder);
    const out = inFolder('interrupted.onnx');
    const child = spawn(
      program,
      ['quantize', models.detection.path, '-o', out, '--samples', '100000', '--dims', sizes(160)],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let stderr = '';
    // The warning about synthetic samples comes just before the work.
    child.stderr.on('data', (data) => {
      if (stderr === '') setTimeout(() => child.kill(signal), 300);
      stderr += data;
    });
    const code = await new Promise((done) => child.on('close', done));
    expect({ code, stderr }).toMatchObject({
      code: signal === 'SIGINT' ? 130 : 143,
      stderr: expect.stringContaining('cancelled'),
    });
    expect(existsSync(out)).toBe(false);
    expect(readdirSync(folder)).toEqual(before);
  });
});

const sizes = (n: number) => `p2o.DynamicDimension.1=${n},p2o.DynamicDimension.2=${n}`;

describe('zeropoint run', () => {
  test('writes the outputs', async () => {
    const out = inFolder('out.npz');
    const result = await json('run', model, '--input', `x.1=${inFolder('x.npy')}`, '-o', out);
    expect(result).toMatchObject({
      milliseconds: expect.any(Number),
      outputs: { 53: { type: 'float32', dims: [1, 1] } },
    });
    const written = await readNpz(readFileSync(out));
    expect(written[53]?.data[0]).toBeCloseTo(result.outputs[53].first[0], 6);
    const refused = await cli(['run', model, '--input', `x.1=${inFolder('x.npy')}`, '-o', out]);
    expect(refused.code).toBe(2);
    // The same through .npz.
    writeFileSync(
      inFolder('feeds.npz'),
      await writeNpz({ 'x.1': new Tensor('float32', noise(16 * 96, 9), [1, 16, 96]) }),
    );
    const same = await json('run', model, '--input', inFolder('feeds.npz'));
    expect(same.outputs).toEqual(result.outputs);
  });

  test('without inputs: synthetic ones, and a warning', async () => {
    const { code, stderr, stdout } = await cli(['run', model]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning: /);
    expect(stdout).toContain('float32 [1, 1]');
  });
});

describe('zeropoint compare', () => {
  test('says how far two models agree', async () => {
    const small = inFolder('compared.onnx');
    await cli(['quantize', model, '-o', small, '--mode', 'weight-only', '--quiet']);
    const result = await json('compare', model, small, '--inputs', inFolder('samples'), '--layers');
    expect(result).toMatchObject({
      synthetic: false,
      samples: 4,
      outputs: [
        {
          output: '53',
          sqnr: expect.any(Number),
          cosine: expect.any(Number),
          maxAbs: expect.any(Number),
          top1: null,
        },
      ],
      latency: { reference: expect.any(Number), candidate: expect.any(Number) },
    });
    expect(result.layers.length).toBeGreaterThan(0);
    const same = await json('compare', model, model, '--inputs', inFolder('samples'));
    expect(same.outputs[0].sqnr).toBe('Infinity');
    const words = await cli(['compare', model, small, '--inputs', inFolder('samples')]);
    expect(words.stdout).toMatch(/SQNR.*cosine/);
    expect(words.stdout).toMatch(/latency/);
  });
});

describe('zeropoint bench', () => {
  test('measures one model, or two in turns', async () => {
    const result = await json('bench', model, model, '--runs', '5', '--warmup', '2', '--threads', '1');
    expect(result).toMatchObject({
      build: expect.stringMatching(/simd|relaxed/),
      threads: 1,
      relaxedDot: expect.any(String),
    });
    expect(result.results).toHaveLength(2);
    for (const { median, min, runs } of result.results) {
      expect(runs).toBe(5);
      expect(min).toBeGreaterThan(0);
      expect(median).toBeGreaterThanOrEqual(min);
    }
    const { stdout } = await cli(['bench', model, '--runs', '3']);
    expect(stdout).toMatch(/median/);
    expect(stdout).not.toMatch(/slowest steps/);
  });

  test('says how long each step took', async () => {
    const { results } = await json('bench', model, '--steps', '--runs', '3', '--threads', '1');
    const [{ steps, median }] = results;
    expect(steps.length).toBeGreaterThan(2);
    expect(steps).toContainEqual(
      expect.objectContaining({ op: 'Gemm', kernel: 'float32', milliseconds: expect.any(Number) }),
    );
    const total = steps.reduce((sum: number, step: { milliseconds: number }) => sum + step.milliseconds, 0);
    expect(total).toBeGreaterThan(0);
    expect(total).toBeLessThan(3 * median);
    expect((await cli(['bench', model, '--steps', '--runs', '3'])).stdout).toMatch(/slowest steps/);
  });
});
