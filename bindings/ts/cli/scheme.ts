// The flags that say what is quantized, and how, of `quantize` and `inspect`: made from the engine's table of options.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { OptionRow, Schema } from '../engine/module.ts';
import { flagOf } from '../findings.ts';
import type { FileOptions, SchemeOptions } from '../node.ts';
import { defaultOf, exampleOf, formOf, fromText } from '../schema.ts';
import { WrongCall } from './common.ts';

/** What commander found, by the names of flags. */
export type SchemeArguments = Record<string, unknown>;

const groups: readonly OptionRow['group'][] = ['scheme', 'training'];

/** Headings in the help. */
const headings: Readonly<Partial<Record<OptionRow['group'], string>>> = {
  scheme: 'What is quantized, and how:',
  training: 'Training:',
  file: 'The file:',
};

/** A row may be of the options of the command (`groups`), or of a file. */
const rowsOf = (schema: Schema, of: readonly OptionRow['group'][]): OptionRow[] =>
  schema.options.filter(({ group, kind }) => of.includes(group) && kind !== 'options');

/** Defaults of this command line that differ from the package's. */
const remarks: Readonly<Record<string, string>> = {
  mode: 'auto for quantize with --calibration and without --observer and --repair, else static',
};

/** The modes that train. */
export const trainingModes = (schema: Schema): readonly string[] =>
  schema.options.find(({ kind, name }) => kind === 'options' && name === 'training')?.modes ?? [];

/** The modes that an option does something in. */
const modesOf = (schema: Schema, { modes, group }: OptionRow): readonly string[] =>
  modes ?? (group === 'training' ? trainingModes(schema) : schema.modes.map(({ name }) => name));

/** The same in words; nothing if the option works in all modes. A short list of the other modes stands after “not”. */
function modesIn(schema: Schema, option: OptionRow): string {
  const { modes: all } = schema;
  const modes = modesOf(schema, option);
  const others = all.map(({ name }) => name).filter((name) => !modes.includes(name));
  if (others.length === 0) return '';
  return others.length < modes.length ? `not ${others.join(', ')}: ` : `${modes.join(', ')}: `;
}

/** One line of the help. */
export function helpOf(schema: Schema, option: OptionRow): string {
  const { name, kind, choices, open, min, max, sentence, flagSets } = option;
  const text = sentence.replace(/\.$/, '').replaceAll('`', '');
  const facts: string[] = [];
  // Commander lists those of one value.
  if (open && choices && kind !== 'choice')
    facts.push(`${choices.join(', ')}${kind === 'names' ? ', or none' : ''}`);
  const example = exampleOf(option);
  if (example) facts.push(`as in ${example}`);
  if (min !== undefined && max !== undefined) facts.push(`${min} to ${max}`);
  if (kind === 'parameters')
    facts.push(
      schema.options
        .filter(({ group }) => group === 'parameters')
        .map((row) => `${row.name}=${row.default}`)
        .join(', '),
    );
  const value = remarks[name] ?? (flagSets === undefined && kind !== 'flag' ? defaultOf(option) : undefined);
  if (value !== undefined && value !== 'none' && kind !== 'parameters') facts.push(`default: ${value}`);
  const sets = flagSets === undefined ? '' : `sets ${name} to ${flagSets}: `;
  return `${modesIn(schema, option)}${sets}${text}${facts.length ? ` (${facts.join('; ')})` : ''}`;
}

/** A flag that may be repeated adds to what it said before. */
const added = (before: unknown, value: unknown): unknown =>
  Array.isArray(before) && Array.isArray(value)
    ? [...before, ...value]
    : typeof before === 'object' && before !== null
      ? { ...before, ...(value as object) }
      : value;

const isRepeated = ({ kind }: OptionRow) => ['names', 'precision', 'ranges', 'parameters'].includes(kind);

/** The flags of an option; `--no-...` too, where it may be on by itself. */
export function flagsOf(schema: Schema, option: OptionRow): Option[] {
  const flag = flagOf(option);
  const help = helpOf(schema, option);
  if (option.flagSets !== undefined) return [new Option(flag, help)];
  if (option.kind === 'flag') {
    const flags = [new Option(flag, help)];
    if (option.fallback !== undefined || option.default === true)
      flags.push(new Option(`--no-${flag.slice(2)}`, `the opposite of ${flag}`));
    return flags;
  }
  const made = new Option(`${flag} <${formOf(option)}>`, help);
  if (option.choices && (!option.open || option.kind === 'choice')) made.choices([...option.choices]);
  const parsed = (text: string, before: unknown): unknown => {
    if (option.choices && !option.open && !option.choices.includes(text))
      throw new InvalidArgumentError(
        `Allowed choices are ${option.choices.join(', ')}${option.refused ? `: ${option.refused}` : ''}.`,
      );
    try {
      const value = fromText(option, text);
      return isRepeated(option) ? added(before, value) : value;
    } catch (error) {
      throw new InvalidArgumentError(`${(error as Error).message}.`);
    }
  };
  return [made.argParser(parsed)];
}

function addOptions(command: Command, schema: Schema, of: readonly OptionRow['group'][]): Command {
  const taken = new Set(command.options.map(({ long }) => long));
  // A flag that the command has itself means the same: --seed.
  for (const option of rowsOf(schema, of)) {
    for (const flag of flagsOf(schema, option)) {
      if (!taken.has(flag.long)) command.addOption(flag.helpGroup(headings[option.group] ?? ''));
    }
  }
  return command;
}

/** Throws for a flag that does nothing in this mode. */
export function refuseIgnored(schema: Schema, command: Command, mode: string): void {
  for (const option of rowsOf(schema, [...groups, 'file'])) {
    const modes = modesOf(schema, option);
    if (modes.includes(mode)) continue;
    const flag = flagOf(option);
    const isOwn = command.options.some(
      ({ long, helpGroupHeading }) => long === flag && helpGroupHeading === headings[option.group],
    );
    if (isOwn && command.getOptionValueSource(camelCase(flag)) === 'cli')
      throw new WrongCall(`${flag} does nothing in mode ${mode}: it is for ${modes.join(', ')}`);
  }
}

export const addSchemeOptions = (command: Command, schema: Schema): Command =>
  addOptions(command, schema, groups);

export const addFileOptions = (command: Command, schema: Schema): Command =>
  addOptions(command, schema, ['file']);

const camelCase = (flag: string) =>
  flag.slice(2).replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

function valuesOf(
  schema: Schema,
  of: readonly OptionRow['group'][],
  given: SchemeArguments,
): Record<string, unknown> {
  const value = (option: OptionRow): unknown => {
    const found = given[camelCase(flagOf(option))];
    return found !== undefined && option.flagSets !== undefined
      ? option.kind === 'flag'
        ? option.flagSets === 'true'
        : option.flagSets
      : found;
  };
  return Object.fromEntries(rowsOf(schema, of).map((option) => [option.name, value(option)]));
}

export function schemeFrom(schema: Schema, given: SchemeArguments): SchemeOptions {
  return { ...valuesOf(schema, ['scheme'], given), training: valuesOf(schema, ['training'], given) };
}

export const fileOptionsFrom = (schema: Schema, given: SchemeArguments): FileOptions =>
  valuesOf(schema, ['file'], given);
