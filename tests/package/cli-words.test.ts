// What the command line says, and what it refuses: help, progress, options that do nothing, arrays that go in and out.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { modelOf, node, valueInfo } from './handmade.ts';
import { cli, models, noise, temporaryFolder, zeropoint } from './helpers.ts';

const { Tensor, readNpy, writeNpy, writeNpz } = zeropoint;

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const here = { cwd: folder };
const { path: model } = models.wakeWord;

beforeAll(() => {
  mkdirSync(at('samples'));
  for (let i = 0; i < 4; ++i)
    writeFileSync(at(`samples/${i}.npy`), writeNpy(new Tensor('float32', noise(16 * 96, i), [1, 16, 96])));
});

describe('help', () => {
  test('has groups, in an order, with examples', async () => {
    const { code, stdout } = await cli(['quantize', '--help']);
    expect(code).toBe(0);
    expect(stdout.match(/^[A-Z][^:\n]*:$/gm)).toEqual([
      'Arguments:',
      'Files:',
      'Samples:',
      'Images and sound:',
      'Made-up samples:',
      'What is quantized, and how:',
      'Training:',
      'The file:',
      'Output and machine:',
      'Examples:',
      'Many models, and the standard streams:',
      'What it would take of memory and time:',
      'Again, and what became of the answers:',
    ]);
  });
});

describe('progress', () => {
  const call = ['quantize', model, '--mode', 'static', '--calibration', 'samples', '-o'];

  test('lines where there is no terminal, and none where nobody wants them', async () => {
    const { code, stderr } = await cli([...call, 'lines.onnx'], here);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^progress: measure( \d+ %)?$/m);
    expect(stderr).not.toContain('\u001b');
    for (const none of [['--progress', 'none'], ['--quiet']]) {
      expect((await cli([...call, 'none.onnx', '--force', ...none], here)).stderr).not.toContain('progress');
    }
  });

  test('JSON: every line of standard error is an object', async () => {
    const lines = async (...args: string[]) => {
      const { stderr } = await cli([...args, '--progress', 'json'], here);
      return stderr
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    };
    const said = await lines(...call, 'json.onnx');
    const phases = said.flatMap(({ progress }) => (progress ? [progress.phase] : []));
    expect(phases).toEqual(expect.arrayContaining(['calibrate', 'place', 'measure']));
    for (const { progress, warning } of said) {
      if (progress) expect(progress).toMatchObject({ done: expect.any(Number), total: expect.any(Number) });
      else expect(warning).toMatchObject({ message: expect.stringContaining('branches') });
    }
    expect(await lines('quantize', '/no/such.onnx', '-o', 'never.onnx')).toEqual([
      { error: expect.objectContaining({ code: 'io' }) },
    ]);
  });
});

describe('options that do nothing are refused', () => {
  test.each([
    [
      'of another mode',
      ['--mode', 'dynamic', '--block-size', '16'],
      /--block-size does nothing in mode dynamic.*weight-only/,
    ],
    ['of no training', ['--mode', 'static', '--epochs', '3'], /--epochs does nothing in mode static.*qat/],
    ['without a value', ['--mode', 'float16', '--per-tensor'], /--per-tensor does nothing in mode float16/],
    ['of the mode that is found', ['--block-size', '16'], /--block-size does nothing in mode static/],
    ['a state of no training', ['--mode', 'dynamic', '--checkpoint', 'x'], /--checkpoint does nothing.*qat/],
    [
      'images without any',
      ['--preset', 'imagenet'],
      /--preset is for samples out of files: give --calibration/,
    ],
    [
      'sizes where there are samples',
      ['--calibration', 'samples', '--dims', 'H=3'],
      /--dims is for made-up samples/,
    ],
    [
      'shapes where there are samples',
      ['--calibration', 'samples', '--shape', 'x.1:1,16,96'],
      /--shape is for made-up/,
    ],
    [
      'samples where none are read',
      ['--mode', 'dynamic', '--samples', '3'],
      /--samples does nothing in mode dynamic/,
    ],
    [
      'a seed of nothing',
      ['--calibration', 'samples', '--mode', 'static', '--seed', '3'],
      /--seed is for made-up samples/,
    ],
    [
      'labels that nobody counts',
      ['--calibration', 'samples', '--mode', 'static', '--labels', 'x.csv'],
      /--labels do nothing in mode static/,
    ],
  ])('%s', async (_, args, words) => {
    const { code, stderr } = await cli(['quantize', model, '-o', 'never.onnx', ...args], here);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
  });

  test('by the other commands too', async () => {
    for (const [args, words] of [
      [
        ['inspect', model, '--mode', 'dynamic', '--observer', 'mse'],
        /--observer does nothing in mode dynamic/,
      ],
      [['compare', model, model, '--preset', 'imagenet'], /--preset .*--inputs/],
      [['bench', model, '--inputs', 'samples', '--dims', 'H=3'], /--dims .*--inputs/],
      [['run', model, '--samples', '2'], /--samples/],
    ] as const) {
      const { code, stderr } = await cli(args, here);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
    }
  });
});

describe('run', () => {
  test('-o out.npy is one array, and other endings are refused', async () => {
    const { code } = await cli(['run', model, '--input', 'samples/0.npy', '-o', 'out.npy'], here);
    expect(code).toBe(0);
    expect(readNpy(readFileSync(at('out.npy')))).toMatchObject({ type: 'float32', dims: [1, 1] });
    const other = await cli(['run', model, '-o', 'out.csv'], here);
    expect(other).toMatchObject({ code: 2, stderr: expect.stringMatching(/\.npz, or as \.npy/) });
  });

  test('-o out.npy is refused where there are several outputs', async () => {
    const graph = [
      ...node('Relu', ['x'], ['y']),
      ...node('Neg', ['x'], ['z']),
      ...valueInfo(11, 'x', [2]),
      ...valueInfo(12, 'y', [2]),
      ...valueInfo(12, 'z', [2]),
    ];
    writeFileSync(at('two.onnx'), modelOf(graph));
    const { code, stderr } = await cli(['run', 'two.onnx', '-o', 'two.npy'], here);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/2 outputs \(y, z\): write \.npz/),
    });
  });

  test('takes the types that calibration takes', async () => {
    const values = [...noise(16 * 96)].map((x) => Math.round(100 * x));
    const outputs = [];
    for (const type of ['float32', 'float64', 'int8', 'int64'] as const) {
      const tensor = new Tensor(type, values as never, [1, 16, 96]);
      writeFileSync(at(`${type}.npy`), writeNpy(tensor));
      writeFileSync(at(`${type}.npz`), await writeNpz({ 'x.1': tensor }));
      for (const input of [`x.1=${type}.npy`, `${type}.npy`, `${type}.npz`]) {
        const { code, stdout, stderr } = await cli(['run', model, '--input', input, '--json'], here);
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        outputs.push(JSON.parse(stdout).outputs);
      }
    }
    expect(outputs).toHaveLength(12);
    for (const each of outputs) expect(each).toEqual(outputs[0]);
  });

  test('a folder of one sample is one; several are refused', async () => {
    mkdirSync(at('one'));
    writeFileSync(at('one/x.npy'), readFileSync(at('samples/0.npy')));
    expect(await cli(['run', model, '--input', 'one', '--quiet'], here)).toMatchObject({ code: 0 });
    const { code, stderr } = await cli(['run', model, '--input', 'samples'], here);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/samples holds 4 samples/) });
  });
});

describe('--shape', () => {
  test('sets dimensions that have no name, for samples', async () => {
    // An input of the dimensions ?, 3.
    const graph = [
      ...node('Relu', ['x'], ['y']),
      ...valueInfo(11, 'x', ['?', 3]),
      ...valueInfo(12, 'y', ['?', 3]),
    ];
    writeFileSync(at('open.onnx'), modelOf(graph));
    const { code, stdout } = await cli(['run', 'open.onnx', '--shape', 'x:5,3', '--json', '--quiet'], here);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).outputs.y.dims).toEqual([5, 3]);
    for (const [shape, words] of [
      ['x:5,4', /\[5, 4\] does not fit \[\?, 3\]/],
      ['z:5,3', /the model has no such input; its inputs are x/],
      ['x', /NAME:SIZE/],
    ] as const) {
      const wrong = await cli(['run', 'open.onnx', '--shape', shape], here);
      expect(wrong).toMatchObject({ code: 2, stderr: expect.stringMatching(words) });
    }
  });

  test('names dimensions by an input, to count operations', async () => {
    const macs = async (...args: string[]) =>
      JSON.parse((await cli(['inspect', models.recognition.path, '--json', ...args])).stdout).macs;
    const { stdout } = await cli(['inspect', models.recognition.path, '--json']);
    const [input] = JSON.parse(stdout).inputs;
    const sizes = [1, 3, 48, 96];
    const named = input.dims.flatMap((dim: unknown, i: number) =>
      typeof dim === 'string' ? [`${dim}=${sizes[i]}`] : [],
    );
    expect(named.length).toBeGreaterThan(0);
    const counted = await macs('--shape', `${input.name}:${sizes.join(',')}`);
    expect(counted).toBeGreaterThan(0);
    expect(counted).toBe(await macs('--dims', named.join(',')));
  });
});
