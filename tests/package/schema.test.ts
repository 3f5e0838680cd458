// The table of everything that can be set: a row in it is an option of the package, a flag with its help, a control of the
// page, a type and a line of docs/OPTIONS.md, and nothing else has to be written.
import { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionRow, Schema } from 'zeropoint';
import { addFileOptions, addSchemeOptions, schemeFrom } from '../../bindings/ts/cli/scheme.ts';
import { worded, wordsOf } from '../../bindings/ts/findings.ts';
import { checkOptions } from '../../bindings/ts/options.ts';
import { configFrom, schemeChecks } from '../../bindings/ts/quantize.ts';
import { fromText } from '../../bindings/ts/schema.ts';
// @ts-expect-error: a script without types
import { documentOf, typesOf } from '../../tools/options.mjs';
import {
  actionOf,
  advancedOf,
  advancedOfTraining,
  defaults,
  modesOf,
  named,
  titleOf,
  toOptions,
  withRemedy,
} from '../../web/src/settings.ts';
import { errorOf, models, zeropoint } from './helpers.ts';

let schema: Schema;
beforeAll(async () => {
  schema = (await zeropoint.choices()).schema;
});

const row = (name: string, group: OptionRow['group'] = 'scheme'): OptionRow =>
  schema.options.find((option) => option.name === name && option.group === group) as OptionRow;

/** The schema with an option, a mode and a repair that nobody needs. */
const withMadeUp = (): Schema => ({
  ...schema,
  modes: [...schema.modes, { name: 'made-up', title: 'made-up integers', sentence: 'What tests want.' }],
  repairs: [...schema.repairs, { name: 'boast', title: 'Boast', sentence: 'Says that it ran.' }],
  options: [
    ...schema.options.map((option) =>
      option.name === 'mode'
        ? { ...option, choices: [...(option.choices ?? []), 'made-up'] }
        : option.name === 'repairs'
          ? { ...option, choices: [...(option.choices ?? []), 'boast'] }
          : option,
    ),
    {
      name: 'madeUpLimit',
      group: 'scheme',
      kind: 'number',
      title: 'Made-up limit',
      sentence: 'A number that tests set.',
      default: 3,
      min: 0,
      max: 10,
      modes: ['made-up'],
    },
    {
      name: 'madeUpHabit',
      group: 'training',
      kind: 'choice',
      title: 'Made-up habit',
      sentence: 'What tests train with.',
      default: 'good',
      choices: ['good', 'bad'],
      modes: ['qat'],
    },
  ],
});

const command = (of: Schema) =>
  addSchemeOptions(new Command('quantize').exitOverride().configureOutput({ writeErr: () => undefined }), of);

describe('a made-up option, mode and repair', () => {
  test('is checked, and handed to the engine', () => {
    const made = withMadeUp();
    const options = {
      mode: 'made-up',
      madeUpLimit: 4,
      repairs: ['boast'],
      training: { madeUpHabit: 'bad' },
    } as const;
    checkOptions(options, schemeChecks(made));
    expect(configFrom(made, options as never).options).toEqual(options);
    const wrong = (given: object) => () => checkOptions(given, schemeChecks(made));
    expect(wrong({ madeUpLimit: 11 })).toThrow('madeUpLimit: 11 is not at most 10');
    expect(wrong({ madeUpLimit: -1 })).toThrow('madeUpLimit: -1 is negative');
    expect(wrong({ training: { madeUpHabit: 'worst' } })).toThrow(/training: madeUpHabit: .*good, bad/);
    expect(() => checkOptions(options, schemeChecks(schema))).toThrow(/made-up.*static/);
    expect(() => checkOptions({ madeUpLimit: 4 }, schemeChecks(schema))).toThrow(
      "'madeUpLimit' is not an option",
    );
  });

  test('is a flag with its help', () => {
    const made = withMadeUp();
    const help = command(made).helpInformation().replaceAll(/\s+/g, ' ');
    expect(help).toContain('--made-up-limit <n> made-up: A number that tests set (0 to 10; default: 3)');
    expect(help).toContain('--made-up-habit <name> qat: What tests train with (default: good)');
    expect(help).toMatch(/--mode <name>.*made-up/);
    expect(help).toMatch(/--repair <names>.*boast/);
    const given = command(made)
      .parse(['--mode', 'made-up', '--made-up-limit', '4', '--made-up-habit', 'bad', '--repair', 'boast'], {
        from: 'user',
      })
      .opts();
    expect(schemeFrom(made, given)).toMatchObject({
      mode: 'made-up',
      madeUpLimit: 4,
      repairs: ['boast'],
      training: { madeUpHabit: 'bad' },
    });
    expect(() => command(made).parse(['--made-up-habit', 'worst'], { from: 'user' })).toThrow(/good, bad/);
  });

  test('has a control in the page', () => {
    const made = withMadeUp();
    const names = (mode: string) => advancedOf(made, { ...defaults, mode }).map(({ name }) => name);
    expect(names('made-up')).toContain('madeUpLimit');
    expect(names('static')).not.toContain('madeUpLimit');
    expect(advancedOfTraining(made).map(({ name }) => name)).toContain('madeUpHabit');
    expect(modesOf(made).map(({ name }) => name)).toContain('made-up');
    expect(toOptions({ ...defaults, mode: 'made-up', more: { madeUpLimit: 4 } })).toMatchObject({
      mode: 'made-up',
      madeUpLimit: 4,
    });
    expect(actionOf(made, { option: 'repairs', value: ['boast'] })).toBe('Boast');
  });

  test('has a type and a line in the documents', () => {
    const made = withMadeUp();
    const types: string = typesOf(made);
    expect(types).toMatch(/A number that tests set\. .*\n(.*\n)?\s*madeUpLimit\?: number \| undefined;/);
    expect(types).toContain("madeUpHabit?: 'good' | 'bad' | undefined;");
    expect(types).toMatch(/QuantizeMode =[^;]*'made-up'/);
    const document: string = documentOf(made);
    expect(document).toContain(
      '| `madeUpLimit` | `--made-up-limit` | 0 to 10 | 3 | `made-up` | A number that tests set. |',
    );
    expect(document).toContain('- `boast` (Boast): Says that it ran.');
  });
});

describe('the options there are', () => {
  test('each has a flag, and each flag says what its option may be', () => {
    const made = addFileOptions(command(schema), schema);
    const flags = made.options.map(({ long }) => long);
    for (const flag of [
      ...[
        'mode',
        'activations',
        'weights',
        'per-tensor',
        'symmetric',
        'reduce-range',
        'block-size',
        'observer',
      ],
      ...['quantized-inputs', 'quantized-outputs', 'include', 'exclude', 'repair', 'parameter', 'target'],
      ...[
        'runtime',
        'sensitivity',
        'weight-bits',
        'activation-bits',
        'epochs',
        'learning-rate',
        'batch-size',
      ],
      ...['loss', 'optimizer', 'schedule', 'scales', 'learn-zero-points', 'intermediate', 'memory-limit'],
      ...['blocks', 'freeze', 'format', 'opset', 'seed'],
      // What the command line lacked.
      ...['precision', 'ranges', 'symmetric-weights', 'no-symmetric-weights', 'warm-up', 'momentum'],
      ...['weight-decay', 'clip-norm', 'validation'],
    ])
      expect(flags, flag).toContain(`--${flag}`);
    const rows = schema.options.filter(({ group, kind }) => group !== 'parameters' && kind !== 'options');
    expect(flags.filter((flag) => !flag?.startsWith('--no-'))).toHaveLength(rows.length);
    expect(new Set(flags).size).toBe(flags.length);
    for (const { name } of schema.options.filter(({ group }) => group === 'parameters'))
      expect(made.helpInformation()).toContain(name);
  });

  test('flags that are left out choose nothing', () => {
    const { training, ...scheme } = schemeFrom(schema, command(schema).parse([], { from: 'user' }).opts());
    expect(Object.values(scheme).every((value) => value === undefined)).toBe(true);
    expect(Object.values(training ?? {}).every((value) => value === undefined)).toBe(true);
    expect(Object.keys({ ...scheme, ...training })).toContain('clipNorm');
  });

  test('flags are options', () => {
    const given = command(schema)
      .parse(
        [
          ...[
            '--per-tensor',
            '--no-symmetric-weights',
            '--quantized-inputs',
            '--learn-zero-points',
            '--blocks',
          ],
          ...[
            '--block-size',
            '64',
            '--exclude',
            'Softmax,conv_1',
            '--exclude',
            'c',
            '--memory-limit',
            '500MB',
          ],
          ...['--target', 'drop=0.005', '--parameter', 'percentile=99', '--parameter', 'momentum=0.9'],
          ...['--precision', 'a/b=c=uint16/int8,d=float/float16', '--ranges', 'x:0=-1.5:2e3'],
          ...['--warm-up', '0', '--seed', '7'],
        ],
        { from: 'user' },
      )
      .opts();
    const { training, ...scheme } = schemeFrom(schema, given);
    expect(JSON.parse(JSON.stringify(scheme))).toEqual({
      perChannel: false,
      symmetricWeights: false,
      inputs: 'quantized',
      blockSize: 64,
      exclude: ['Softmax', 'conv_1', 'c'],
      target: { drop: 0.005 },
      parameters: { percentile: 99, momentum: 0.9 },
      precision: {
        'a/b=c': { activations: 'uint16', weights: 'int8' },
        d: { activations: 'float', weights: 'float16' },
      },
      ranges: { 'x:0': { min: -1.5, max: 2000 } },
    });
    expect(JSON.parse(JSON.stringify(training))).toEqual({
      zeroPoints: 'learned',
      blocks: true,
      memoryLimit: '500MB',
      warmUp: 0,
      seed: 7,
    });
    checkOptions({ ...scheme, training }, schemeChecks(schema));
    expect(
      schemeFrom(schema, command(schema).parse(['--repair', 'none'], { from: 'user' }).opts()).repairs,
    ).toEqual([]);
  });

  test('the engine gets sizes as bytes, and nothing that JavaScript alone knows', () => {
    const { options, checkpoints } = configFrom(schema, {
      target: { size: '2.5MB' },
      training: {
        memoryLimit: '1KiB',
        epochs: 0,
        stop: new AbortController().signal,
        onCheckpoint: () => undefined,
      },
      format: 'qdq',
      layerErrors: 2,
      mode: undefined,
    });
    expect(options).toEqual({
      target: { size: 2_500_000 },
      training: { memoryLimit: 1024, epochs: 0 },
      format: 'qdq',
    });
    expect(checkpoints).toBe(true);
  });

  test('text that is no value says what is needed', () => {
    expect(() => fromText(row('precision'), 'conv')).toThrow('node=activations/weights is needed');
    expect(() => fromText(row('ranges'), 'x=1')).toThrow('value=min:max is needed');
    expect(() => fromText(row('target'), 'drop=2')).toThrow('drop=0.005');
    expect(() => fromText(row('epochs', 'training'), 'many')).toThrow('a number is needed');
    expect(fromText(row('ranges'), 'a=0:1\nb=-2:0.5\n')).toEqual({
      a: { min: 0, max: 1 },
      b: { min: -2, max: 0.5 },
    });
  });

  test('each has a control: its own, or one under “Advanced”', () => {
    const own = [
      'mode',
      'activations',
      'weights',
      'perChannel',
      'symmetric',
      'blockSize',
      'observer',
      'repairs',
    ];
    const more = [
      'format',
      'runtime',
      'outputs',
      'exclude',
      'target',
      'weightBits',
      'activationBits',
      'parameters',
    ];
    for (const option of schema.options.filter(({ group }) => group !== 'training')) {
      if (option.kind === 'options' || own.includes(option.name) || more.includes(option.name)) continue;
      const shown = schema.modes.flatMap(({ name }) => advancedOf(schema, { ...defaults, mode: name }));
      expect(shown, option.name).toContain(option);
    }
    for (const option of schema.options.filter(({ group }) => group === 'training'))
      if (!['epochs', 'learningRate', 'blocks'].includes(option.name))
        expect(advancedOfTraining(schema)).toContain(option);
    expect(titleOf(schema, 'perChannel')).toBe('A scale for each output channel');
  });

  test('what flags set is what a run does', async () => {
    await using model = await zeropoint.Model.load(models.wakeWord.path);
    const { plan } = await model.inspect({ mode: 'weight-only' });
    const first = plan.layers.find(({ quantized }) => quantized)?.node;
    const given = ['--mode', 'weight-only', '--precision', `${first}=float/float`];
    const { plan: without } = await model.inspect(
      schemeFrom(schema, command(schema).parse(given, { from: 'user' }).opts()),
    );
    expect(plan.layersQuantized).toBeGreaterThan(1);
    expect(without.layersQuantized).toBe(plan.layersQuantized - 1);
    const error = await errorOf(
      () => model.inspect({ precision: { a: { weight: 'int8' } } as never }),
      'invalid-argument',
    );
    expect(error.message).toContain('neither activations nor weights');
  });
});

describe('findings', () => {
  const layer = { node: 'conv', op: 'Conv', output: 'y' };
  const said = (code: string, numbers: Record<string, number>, ...remedies: [string, string][]) =>
    worded(schema, layer, [
      { code, numbers, remedies: remedies.map(([option, value]) => ({ option, value })) },
    ])[0] as ReturnType<typeof worded>[number];

  test('are data, which the command line and the page word each in its own way', () => {
    const unequal = said(
      'unequal-weights',
      { channel: 17, ratio: 40, depthwise: 1 },
      ['perChannel', 'true'],
      ['repairs', 'equalization'],
    );
    expect(unequal).toMatchObject({
      ...layer,
      code: 'unequal-weights',
      remedies: [
        { option: 'perChannel', value: true },
        { option: 'repairs', value: ['equalization'] },
      ],
    });
    expect(unequal.text).toBe(
      'channel 17 of this depthwise Conv spans 40 times the median range, and all channels share one scale: use a ' +
        'scale for each channel (leave out --per-tensor), or --repair equalization',
    );
    expect(wordsOf(unequal, named(schema))).toContain(
      'use a scale for each channel (“A scale for each output channel”), or “Equalize channels of neighbouring layers”',
    );
    expect(said('unequal-weights', { channel: 2, ratio: 9, depthwise: 0 }).text).toMatch(
      /^channel 2 of this Conv /,
    );
  });

  test.each([
    [
      'poor-weights',
      { sqnr: 22.46, bits: 8 },
      [
        ['target', 'sqnr=30'],
        ['exclude', ''],
      ],
      'rounding leaves the weights 22 dB, less than 8 bits usually leave, because a few large weights set the scale of ' +
        'all: --target sqnr=30 leaves layers like this in float if they matter, --exclude leaves this one',
    ],
    [
      'poor-weights',
      { sqnr: 9.96, bits: 4 },
      [
        ['repairs', 'equalization,gptq'],
        ['weights', 'int8'],
      ],
      'rounding leaves the weights 10 dB, less than 4 bits usually leave, because a few large weights set the scale of ' +
        'all: use --repair equalization,gptq, or --weights int8',
    ],
    [
      'poor-weights',
      { sqnr: 9.96, bits: 4 },
      [
        ['repairs', 'gptq'],
        ['repairs', 'hqq'],
        ['weights', 'int8'],
      ],
      'rounding leaves the weights 10 dB, less than 4 bits usually leave, because a few large weights set the scale of ' +
        'all: use --repair gptq, or --repair hqq if there are no samples, or --weights int8',
    ],
    [
      'cut-off',
      { share: 0.008, min: -1.25, max: 3.5 },
      [['observer', 'min-max']],
      '0.8 % of this value lies outside the calibrated range of -1.3 to 3.5 and is cut off: calibrate with more ' +
        'samples like these, or with --observer min-max',
    ],
    [
      'unequal-values',
      { channel: 3, ratio: 64, left: 4, steps: 256 },
      [
        ['repairs', 'equalization'],
        ['repairs', 'smooth'],
      ],
      'channel 3 of this value spans 64 times the median channel, which has 4 of 256 steps left: use --repair ' +
        'equalization, or --repair smooth in a transformer',
    ],
    [
      'outliers',
      { left: 4.6, steps: 256 },
      [
        ['observer', 'percentile'],
        ['observer', 'mse'],
        ['activations', 'uint16'],
      ],
      'a few outliers stretch the range, so that half of the values share 4.6 of 256 steps: use --observer percentile ' +
        'or mse, or --activations uint16',
    ],
    [
      'beyond-float16',
      { count: 1 },
      [['exclude', '']],
      '1 element of this value is beyond the largest number of float16 (65504): calibrate with samples like these, or ' +
        '--exclude this layer',
    ],
    [
      'shifted-means',
      { share: 0.62 },
      [['repairs', 'bias-correction']],
      '62 % of the error here is a shift of channel means, which a bias can correct: use --repair bias-correction',
    ],
  ] as [string, Record<string, number>, [string, string][], string][])(
    '%s',
    (code, numbers, remedies, text) => {
      expect(said(code, numbers, ...remedies).text).toBe(text);
      const page = wordsOf(said(code, numbers, ...remedies), named(schema));
      expect(page).not.toContain('--');
    },
  );

  test('one of a code without words still names what helps', () => {
    expect(said('strange', {}, ['repairs', 'gptq']).text).toBe('strange: --repair gptq');
  });

  test('a remedy sets its option', () => {
    const set = (option: string, value: unknown, settings = defaults) =>
      withRemedy(settings, { option, value }, ['smooth']);
    expect(set('perChannel', true, { ...defaults, perChannel: false }).perChannel).toBe(true);
    expect(set('repairs', ['equalization']).repairs).toEqual(['smooth', 'equalization']);
    expect(set('repairs', ['gptq'], { ...defaults, repairs: ['gptq', 'hqq'] }).repairs).toEqual([
      'gptq',
      'hqq',
    ]);
    expect(set('exclude', ['conv'], { ...defaults, exclude: 'a' }).exclude).toBe('a, conv');
    expect(set('target', { sqnr: 30 }).target).toEqual({ sqnr: 30 });
    expect(set('observer', 'mse', { ...defaults, mode: 'auto' })).toMatchObject({
      mode: 'static',
      observer: 'mse',
    });
    expect(set('reduceRange', true).more).toEqual({ reduceRange: true });
    expect(toOptions(set('reduceRange', true))).toMatchObject({ reduceRange: true });
  });
});
