#!/usr/bin/env node
// The types of options (bindings/ts/scheme-options.ts) and docs/OPTIONS.md, from the engine's own table (src/quant/options.h):
// node tools/options.mjs writes them, after a build of the preset native or native-dev; with --check it says whether they
// are as they would be written.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, nodeBin, outputOf, root, runMain } from './process.mjs';

export const typesFile = join(root, 'bindings', 'ts', 'scheme-options.ts');
export const documentFile = join(root, 'docs', 'OPTIONS.md');

/** Everything that can be set, with the texts that builds for the web leave out; from a build of these sources only. */
function readSchema() {
  const changed = (file) => statSync(file).mtimeMs;
  const [program] = ['native-dev', 'native', 'native-release']
    .map((build) => join(root, 'build', build, 'zeropoint_schema'))
    .filter(existsSync)
    .sort((a, b) => changed(b) - changed(a));
  if (!program) throw new Failure('build the preset native or native-dev first');
  const newer = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .find((file) => changed(file) > changed(program));
  if (newer) {
    throw new Failure(
      `${relative(root, program)} is older than ${relative(root, newer)}: build the preset native or native-dev again`,
    );
  }
  return JSON.parse(outputOf(program, []));
}

const groups = (schema, group) => schema.options.filter((option) => option.group === group);

/** A paragraph as lines of at most `width`; lists and the like stay lines of their own. */
function wrapped(text, width) {
  return text.split('\n').flatMap((line) => {
    const indent = line.startsWith('- ') ? '  ' : '';
    const lines = [];
    let now = '';
    for (const word of line.split(' ')) {
      if (now && `${now} ${word}`.length > width) {
        lines.push(now);
        now = indent + word;
      } else {
        now = now ? `${now} ${word}` : word;
      }
    }
    return [...lines, now];
  });
}

/** The choices of an option, with a sentence for each, if they are registered. */
const registered = (schema, option) =>
  (option.open && { mode: schema.modes, observer: schema.observers, repairs: schema.repairs }[option.name]) ||
  [];

const isEverywhere = (schema, { modes = [] }) => modes.length === schema.modes.length;

function defaultOf({ default: value, fallback, choices, kind }) {
  if (fallback) return fallback === 'none' ? undefined : fallback;
  if (value === undefined || Array.isArray(value)) return undefined;
  if (kind === 'bytes') return `${value / 2 ** 30} GiB`;
  return typeof value === 'string' && choices ? `\`${value}\`` : String(value);
}

/** Which numbers an option may be, in words. */
function rangeOf({ min, max, above, below }) {
  if (min === undefined || (max === undefined && min === 0 && !above)) return '';
  if (max === undefined) return `${above ? 'above' : 'at least'} ${min}`;
  if (above) return `above ${min}, up to ${max}`;
  return below ? `from ${min}, below ${max}` : `${min} to ${max}`;
}

/** The comment of an option, as paragraphs. */
function comment(schema, option) {
  const { sentence, more = '' } = option;
  const all = registered(schema, option);
  const list = all.map(
    (each) => `- \`${each.name}\`: ${[each.sentence, each.more].filter(Boolean).join(' ')}`,
  );
  const facts = [];
  const value = defaultOf(option);
  if (value !== undefined) facts.push(`Default: ${value}.`);
  if (option.kind !== 'choice' && option.choices && !option.open)
    facts.push(`One of ${option.choices.join(', ')}.`);
  const allowed = rangeOf(option);
  if (allowed) facts.push(`${allowed.charAt(0).toUpperCase()}${allowed.slice(1)}.`);
  if (option.group === 'scheme' && !isEverywhere(schema, option) && option.modes?.length)
    facts.push(
      `${option.modes.length === 1 ? 'Mode' : 'Modes'} ${option.modes.map((mode) => `\`${mode}\``).join(', ')}.`,
    );
  const text = more.startsWith('\n') ? `${sentence}\n${more}` : [sentence, more].filter(Boolean).join(' ');
  const end = facts.join(' ');
  if (list.length) return `${text}\n\n${list.join('\n')}\n${end && `\n${end}`}`;
  return more.includes('\n') ? `${text}\n${end && `\n${end}`}` : [text, end].filter(Boolean).join(' ');
}

function typeOf({ kind, choices, open }) {
  const union = choices?.map((choice) => `'${choice}'`).join(' | ');
  switch (kind) {
    case 'flag':
      return 'boolean';
    case 'integer':
    case 'number':
      return 'number';
    case 'bytes':
      return 'number | string';
    case 'choice':
      return open ? `${union} | (string & {})` : union;
    case 'names':
      return open ? `readonly (${union} | (string & {}))[]` : 'readonly string[]';
    case 'target':
      return 'Target | string';
    case 'precision':
      return 'Readonly<Record<string, { activations?: string; weights?: string }>>';
    case 'ranges':
      return 'Readonly<Record<string, Range>>';
    case 'parameters':
      return 'Readonly<Record<string, number>>';
    case 'options':
      return 'TrainingOptions';
    default:
      throw new Failure(`no type for options of the kind '${kind}'`);
  }
}

/** Options whose type has a name of its own, with words for it. */
const named = {
  mode: { type: 'QuantizeMode', words: 'A mode by its name: see `mode` of the options.' },
  format: {
    type: 'ModelFormat',
    words: 'The form of a quantized model in its file: Q/DQ pairs, or operators that take integers.',
  },
};

/** The text of bindings/ts/scheme-options.ts. */
export function typesOf(schema) {
  const member = (option) => {
    const lines = wrapped(comment(schema, option).trimEnd(), 114);
    const text =
      lines.length === 1
        ? `  /** ${lines[0]} */`
        : ['  /**', ...lines.map((l) => `   * ${l}`.trimEnd()), '   */'].join('\n');
    return `${text}\n  ${option.name}?: ${named[option.name]?.type ?? typeOf(option)} | undefined;`;
  };
  const members = (group) => groups(schema, group).map(member).join('\n');
  const alias = Object.entries(named).map(
    ([name, { type, words }]) =>
      `/** ${words} */\nexport type ${type} = ${typeOf(schema.options.find((option) => option.name === name))};`,
  );
  const text = `// Written by \`node tools/options.mjs\` from the engine's own table of options (src/quant/options.h): change it there.
import type { Range } from './engine/module.ts';
import type { TrainingOptions } from './quantize.ts';
import type { Target } from './schema.ts';

${alias.join('\n')}

/** What is quantized, and how. */
export interface SchemeOptions {
${members('scheme')}
}

/** How mode \`qat\` trains: the part of TrainingOptions that the engine knows. */
export interface EngineTrainingOptions {
${members('training')}
}

/** How the result is written. */
export interface FileOptions {
${members('file')}
}
`;
  return execFileSync(nodeBin('biome'), ['format', `--stdin-file-path=${typesFile}`], {
    input: text,
    encoding: 'utf8',
    cwd: root,
  });
}

const flagOf = ({ name, flag, kind, flagSets, fallback, default: value }) => {
  if (kind === 'options') return '';
  const long = `--${flag || name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const without =
    kind === 'flag' && !flagSets && (fallback || value === true) ? `, \`--no-${long.slice(2)}\`` : '';
  return `\`${long}\`${without}`;
};

/** The values of options that have neither choices nor a range. */
const forms = {
  flag: 'true, false',
  integer: 'an integer',
  number: 'a number',
  bytes: 'bytes, or `500MB`',
  names: 'names',
  target: '`sqnr`, `drop` or `size`',
  precision: 'by node: `activations`, `weights`',
  ranges: 'by value: `min`, `max`',
  parameters: 'numbers, by name',
};

/** The text of docs/OPTIONS.md. */
export function documentOf(schema) {
  const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const range = (option) => {
    const { choices, open } = option;
    if (choices) return open ? 'see below' : choices.map((choice) => `\`${choice}\``).join(', ');
    return rangeOf(option);
  };
  const table = (group) =>
    [
      '| option | flag | values | default | modes | |',
      '|---|---|---|---|---|---|',
      ...groups(schema, group)
        .filter(({ kind }) => kind !== 'options')
        .map((option) => {
          const modes = isEverywhere(schema, option)
            ? 'all'
            : option.modes.map((mode) => `\`${mode}\``).join(', ');
          const values = range(option) || forms[option.kind];
          return `| \`${option.name}\` | ${flagOf(option)} | ${values} | ${cell(defaultOf(option) ?? '')} | ${modes} | ${cell(option.sentence)} |`;
        }),
    ].join('\n');
  const described = (all) =>
    all
      .map(
        ({ name, title, sentence, more }) =>
          `- \`${name}\` (${title}): ${[sentence, more].filter(Boolean).join(' ')}`,
      )
      .join('\n');
  const details = schema.options
    .filter(({ more }) => more)
    .map(({ name, more }) => `**\`${name}\`**: ${more.trim()}`)
    .join('\n\n');
  return `# Options

These are all options of a quantization: their names in \`model.quantize()\`, and their flags in \`zeropoint quantize\` and
\`zeropoint inspect\`. The page has them under “Options”. An option that the mode does not know does nothing; the command line
refuses it. [GLOSSARY.md](GLOSSARY.md) explains the words.

## What is quantized, and how

${table('scheme')}

## Training

Entries of \`training\`, for mode \`qat\`. [TRAINING.md](TRAINING.md) explains training.

${table('training')}

JavaScript has three more options: \`onCheckpoint\`, \`resume\` and \`stop\`.

## The file

${table('file')}

## Modes

${described(schema.modes)}

## Observers

${described(schema.observers)}

## Repairs

${described(schema.repairs)}

## Runtimes

[RUNTIMES.md](RUNTIMES.md) lists what each takes.

${schema.runtimes.map(({ name, title }) => `- \`${name}\`: ${title}`).join('\n')}

## Parameters

Numbers of observers and repairs: entries of \`parameters\`, or \`--parameter name=number\`.

| parameter | of | range | default | |
|---|---|---|---|---|
${groups(schema, 'parameters')
  .map(
    ({ name, owner, min, max, default: value, sentence = '' }) =>
      `| \`${name}\` | ${owner} | ${min}...${max} | ${value} | ${sentence} |`,
  )
  .join('\n')}

## More about some options

${details}

\`node tools/options.mjs\` writes this page.
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(() => {
    const check = process.argv.includes('--check');
    const schema = readSchema();
    const files = [
      [typesFile, typesOf(schema)],
      [documentFile, documentOf(schema)],
    ];
    if (!check) {
      for (const [file, text] of files) writeFileSync(file, text);
      return 0;
    }
    const stale = files.filter(([file, text]) => !existsSync(file) || readFileSync(file, 'utf8') !== text);
    for (const [file] of stale) console.log(`${file} is stale: node tools/options.mjs writes it`);
    return stale.length === 0 ? 0 : 1;
  });
}
