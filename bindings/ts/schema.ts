// The table of everything that can be set, which the engine brings along: checks of values, values out of text, and the
// values for the engine. An option that is a row there needs nothing here.
import type { OptionRow, Schema } from './engine/module.ts';
import * as check from './options.ts';

/**
 * The goal of mixed precision:
 *
 * - `sqnr`: a quality of the outputs, in dB
 * - `drop`: the share of right answers that may be lost, 0...1 (0.005: half a percent). Without `labels` an answer is
 *   right when it is the float model's; an answer is the largest element of a row of the first output that has any.
 *   Wants many samples: of 1,000 at most a good 900 are held out to count on
 * - `size`: bytes of weights, as a number or as in `'2.5MB'`
 */
export type Target = { sqnr: number } | { drop: number } | { size: number | string };

const units: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

/** Bytes of '2.5MB', '900 kB', '3MiB' or a number. */
export function bytesOfSize(size: unknown): number | undefined {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b)?\s*$/i.exec(String(size));
  const unit = units[found?.[2]?.toUpperCase() ?? ''];
  const bytes = Number(found?.[1]) * (unit ?? Number.NaN);
  return bytes > 0 && Number.isFinite(bytes) ? bytes : undefined;
}

/** The options of a group, in the order of the schema. */
export const optionsOf = (schema: Schema, ...groups: OptionRow['group'][]): OptionRow[] =>
  groups.flatMap((group) => schema.options.filter((option) => option.group === group));

/** What an option of one value is where nobody chose. */
export const byItself = (schema: Schema, option: string): string =>
  String(schema.options.find(({ name }) => name === option)?.default);

/** The types that activations and weights can have. */
const typesOf = (schema: Schema): string[] =>
  ['activations', 'weights'].flatMap(
    (name) => schema.options.find((option) => option.name === name)?.choices ?? [],
  );

const finite =
  ({ min = -Infinity, max = Infinity, above, below }: OptionRow): check.Check =>
  (value) => {
    const wrong = check.finite(value);
    if (wrong) return wrong;
    const number = value as number;
    if (above ? number <= min : number < min)
      return min === 0 && !above
        ? `${number} is negative`
        : `${number} is not ${above ? 'above' : 'at least'} ${min}`;
    if (below ? number >= max : number > max) return `${number} is not ${below ? 'below' : 'at most'} ${max}`;
    return undefined;
  };

const range: check.Check = (value) => {
  const { min, max } = (value ?? {}) as { min?: unknown; max?: unknown };
  return typeof min === 'number' && typeof max === 'number' && min <= max
    ? undefined
    : '{ min, max } is needed';
};

/** Of one node: `{ activations, weights }`. */
const precision =
  (schema: Schema): check.Check =>
  (value) => {
    const wrong = check.recordOf(check.oneOf(['float', ...typesOf(schema)]))(value);
    if (wrong) return wrong;
    const unknown = Object.keys(value as object).find((key) => key !== 'activations' && key !== 'weights');
    return unknown === undefined ? undefined : `'${unknown}' is neither activations nor weights`;
  };

const targetOf = (value: unknown): Record<string, number> | undefined => {
  const [[kind, goal] = ['', undefined], ...more] = Object.entries((value ?? {}) as object);
  const positive = typeof goal === 'number' && Number.isFinite(goal) && goal > 0;
  if (more.length > 0) return undefined;
  if (kind === 'sqnr' && positive) return { sqnr: goal };
  if (kind === 'drop' && positive && goal < 1) return { drop: goal };
  const size = kind === 'size' ? bytesOfSize(goal) : undefined;
  return size === undefined ? undefined : { size };
};

/**
 * Checks of options, by name. `own`: those that JavaScript alone knows, by the option whose options they are ('' for none),
 * as `{ training: { stop: check.signal } }`.
 */
export function checksOf(
  schema: Schema,
  options: readonly OptionRow[],
  own: Readonly<Record<string, Readonly<Record<string, check.Check>>>> = {},
): Record<string, check.Check> {
  const runtimes = check.oneOf(schema.runtimes.map(({ name }) => name));
  const kinds: Record<OptionRow['kind'], (option: OptionRow) => check.Check> = {
    flag: () => check.boolean,
    integer:
      ({ min = 0, max = Number.MAX_SAFE_INTEGER, choices }) =>
      (value) =>
        choices
          ? typeof value === 'number' && choices.includes(String(value))
            ? undefined
            : `${value} is not one of ${choices.join(', ')}`
          : check.integer(min, max)(value),
    number: finite,
    bytes: () => (value) => (bytesOfSize(value) === undefined ? 'bytes are needed, as in 500MB' : undefined),
    choice:
      ({ choices = [], refused }) =>
      (value) => {
        const wrong = check.oneOf(choices)(value);
        return wrong && refused ? `${wrong}: ${refused}` : wrong;
      },
    names: ({ choices }) => check.listOf(choices ? check.oneOf(choices) : check.string),
    target: () => (value) =>
      typeof value === 'string'
        ? runtimes(value)
        : targetOf(value)
          ? undefined
          : "{ sqnr: 30 }, { drop: 0.005 } or { size: '2.5MB' } is needed",
    precision: () => check.recordOf(precision(schema)),
    ranges: () => check.recordOf(range),
    parameters: () => check.recordOf(check.finite),
    options: ({ name }) =>
      check.optionsOf({
        ...checksOf(
          schema,
          schema.options.filter(({ group }) => group === name),
        ),
        ...own[name],
      }),
  };
  return {
    ...Object.fromEntries(options.map((option) => [option.name, kinds[option.kind](option)])),
    ...own[''],
  };
}

/** What was chosen of the schema's options, as the engine takes it: checked before, sizes as bytes. */
export function chosenOf(
  schema: Schema,
  options: readonly OptionRow[],
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const value = ({ name, kind }: OptionRow): unknown => {
    const chosen = given[name];
    if (kind === 'bytes') return bytesOfSize(chosen);
    if (kind === 'target' && typeof chosen !== 'string') return targetOf(chosen);
    if (kind === 'options')
      return chosenOf(
        schema,
        schema.options.filter(({ group }) => group === name),
        chosen as Record<string, unknown>,
      );
    if (kind === 'precision')
      return Object.fromEntries(
        Object.entries(chosen as object).map(([node, own]) => [node, withoutUndefined(own)]),
      );
    return chosen;
  };
  const said = options.filter(({ name }) => given[name] !== undefined);
  return Object.fromEntries(said.map((option) => [option.name, value(option)]));
}

const withoutUndefined = (object: object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

/** What an option's value is written as on the command line, and in fields of a page. */
export const formOf = ({ kind }: OptionRow): string =>
  ({
    flag: '',
    integer: 'n',
    number: 'n',
    bytes: 'size',
    choice: 'name',
    names: 'names',
    target: 'what',
    precision: 'node=activations/weights',
    ranges: 'value=min:max',
    parameters: 'name=number',
    options: '',
  })[kind];

/** Values that say what the form does not. */
export const exampleOf = ({ kind }: OptionRow): string | undefined =>
  ({
    bytes: '500MB',
    target: 'sqnr=30 (dB), drop=0.005 (of right answers), size=2.5MB',
    precision: 'conv1=uint16/int8, fc=float/float',
    ranges: 'x=-1:1',
  })[kind as string];

/** `name=value`, or several after commas or in lines. The name may have `=` and commas in it. */
const entriesOf = <T>(text: string, value: RegExp, of: (found: string[]) => T): Record<string, T> => {
  const pattern = new RegExp(`\\s*(.+?)\\s*=\\s*${value.source}\\s*(?:[,\\n]|$)`, 'y');
  const entries: [string, T][] = [];
  while (pattern.lastIndex < text.length) {
    const found = pattern.exec(text);
    if (!found) throw new TypeError('');
    entries.push([found[1] as string, of(found.slice(2))]);
  }
  return Object.fromEntries(entries);
};

const number = /(-?[\d.]+(?:e[-+]?\d+)?)/.source;

/**
 * The value of an option out of text, as the command line and the fields of a page have it; whether it is one that the
 * option may have, its check says. Throws a TypeError that says what is needed.
 */
export function fromText(option: OptionRow, text: string): unknown {
  const { kind } = option;
  const wrong = (what: string) => new TypeError(`${what} is needed`);
  const parsed = <T>(read: () => T): T => {
    try {
      return read();
    } catch {
      throw wrong(formOf(option));
    }
  };
  switch (kind) {
    case 'flag':
      if (text !== 'true' && text !== 'false') throw wrong('true or false');
      return text === 'true';
    case 'integer':
    case 'number':
      if (text.trim() === '' || !Number.isFinite(Number(text))) throw wrong('a number');
      return Number(text);
    case 'names': {
      const names = text
        .split(/[,\n]/)
        .map((name) => name.trim())
        .filter((name) => name !== '');
      return option.choices ? names.filter((name) => name !== 'none') : names;
    }
    case 'target': {
      if (!text.includes('=')) return text; // a runtime's name
      const [, what = '', value = ''] = /^(sqnr|drop|size)=(.+)$/.exec(text) ?? [];
      const target = { [what]: what === 'size' ? value : Number(value) };
      if (!targetOf(target)) throw wrong('sqnr=30, drop=0.005 or size=2.5MB');
      return target;
    }
    case 'precision':
      return parsed(() =>
        entriesOf(text, /(\w+)\/(\w+)/, ([activations, weights]) => ({ activations, weights })),
      );
    case 'ranges':
      return parsed(() =>
        entriesOf(text, new RegExp(`${number}:${number}`), ([min, max]) => ({
          min: Number(min),
          max: Number(max),
        })),
      );
    case 'parameters':
      return parsed(() => entriesOf(text, new RegExp(number), ([value]) => Number(value)));
    default:
      return text;
  }
}

/** The words for what holds where nobody chose. */
export function defaultOf({ kind, default: value, fallback }: OptionRow): string | undefined {
  if (fallback !== undefined) return fallback;
  if (kind === 'bytes') return `${Number(value) / 2 ** 30} GiB`;
  return Array.isArray(value) ? (value.length ? value.join(', ') : undefined) : value?.toString();
}
