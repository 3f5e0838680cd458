// How a run is made again elsewhere: as JSON, as a command, and in code.
import {
  type ImageOptions,
  type OptionRow,
  type Recipe,
  recipeOf as recipe,
  recipeText,
  type Schema,
} from 'zeropoint';
import { fileNameOf, toOptions } from './settings.ts';
import type { Run } from './work.ts';

/** The whole of it: `options` go to quantize(), `samples.image` to samplesFromFiles(). The command line takes the file. */
export function recipeOf(run: Run, name: string, digest: string | undefined): Recipe {
  const { training, ...options } = toOptions(run.settings);
  return recipe({
    model: { name, sha256: digest },
    samples: { what: run.samples, count: run.report.samples, image: run.image },
    options: { ...options, ...(run.settings.mode === 'qat' && { training }) },
  });
}

export { recipeText };

const dashed = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const flagOf = ({ name, flag }: OptionRow) => `--${flag || dashed(name)}`;
/** A word of a command in a shell. */
export const quoted = (text: string): string =>
  /^[\w./=:,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** The argument of a flag. */
function argumentOf({ kind }: OptionRow, value: unknown): string {
  if (Array.isArray(value)) return value.length ? value.join(',') : 'none';
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, of]) =>
      kind === 'ranges'
        ? `${name}=${of.min}:${of.max}`
        : kind === 'precision'
          ? `${name}=${of.activations}/${of.weights}`
          : `${name}=${of}`,
    )
    .join(',');
}

function flagsOf(
  schema: Schema,
  options: Readonly<Record<string, unknown>>,
  mode: string | undefined,
): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    const row = schema.options.find((option) => option.name === name && option.group !== 'parameters');
    // An empty list leaves nothing out; of repairs it means that none is to run.
    if (!row || (Array.isArray(value) && value.length === 0 && name !== 'repairs')) return [];
    // The command line refuses options that do nothing.
    if (mode !== undefined && row.modes && !row.modes.includes(mode)) return [];
    if (row.flagSets !== undefined) return String(value) === row.flagSets ? [flagOf(row)] : [];
    if (row.kind === 'flag') {
      if (value === true) return [flagOf(row)];
      return row.fallback !== undefined || row.default === true ? [`--no-${flagOf(row).slice(2)}`] : [];
    }
    return [`${flagOf(row)} ${quoted(argumentOf(row, value))}`];
  });
}

/** The command line's flags for the preparation of images. */
function imageFlags(image: ImageOptions | undefined): string[] {
  return Object.entries(image ?? {}).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [`--${dashed(name)} ${quoted([value].flat().join(name === 'size' ? 'x' : ','))}`],
  );
}

/** The exact command. `samples/` is where the samples lie. */
export function commandOf(schema: Schema, run: Run, name: string): string {
  const { training = {}, ...options } = recipeOf(run, name, undefined).options;
  const parts = [
    `npx zeropoint quantize ${quoted(name)} -o ${quoted(fileNameOf(name, run.settings))}`,
    ...(run.report.samples > 0 && !run.synthetic ? ['--calibration samples/', ...imageFlags(run.image)] : []),
    ...flagsOf(schema, { ...options }, options.mode),
    ...flagsOf(schema, { ...training }, options.mode),
  ];
  return parts.join(' \\\n  ');
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

/** Code that makes the model, or runs it. */
export function codesOf(
  run: Run,
  name: string,
  digest: string | undefined,
): { title: string; code: string }[] {
  const recipe = recipeOf(run, name, digest);
  const file = fileNameOf(name, run.settings);
  const hasSamples = run.report.samples > 0;
  const write =
    run.files.length > 1
      ? `const files = await small.toFiles({ name: ${JSON.stringify(file)} }); // the model, and its weights`
      : 'const bytes = await small.toBytes();';
  return [
    {
      title: 'Make it with this package',
      code: `import { ${hasSamples ? 'Model, samplesFromFiles' : 'Model'} } from 'zeropoint';

const model = await Model.load(${JSON.stringify(name)});
${hasSamples ? `const calibration = () => samplesFromFiles(files, model.inputs, ${json(recipe.samples.image ?? {})});\n` : ''}const { model: small } = await model.quantize(${hasSamples ? `{\n  ...${json(recipe.options)},\n  calibration,\n}` : json(recipe.options)});
${write}`,
    },
    {
      title: 'Run it with this package',
      code: `import { Model } from 'zeropoint';

const model = await Model.load(${JSON.stringify(file)});
const session = await model.createSession();
const outputs = await session.run({ [session.inputNames[0]]: input });`,
    },
    {
      title: 'Run it with ONNX Runtime Web',
      code: `import * as ort from 'onnxruntime-web';

const session = await ort.InferenceSession.create(${JSON.stringify(file)});
const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', data, dims) });`,
    },
    {
      title: 'Run it in Python',
      code: `import onnxruntime as ort

session = ort.InferenceSession(${JSON.stringify(file)})
outputs = session.run(None, {session.get_inputs()[0].name: input})`,
    },
  ];
}
