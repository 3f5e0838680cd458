// Checks of options that callers pass: a mistake is an error that names the option and what it may be.
import { ZeropointError } from './errors.ts';

/** Returns what is wrong with a value ("true or false is needed"), or undefined. */
export type Check = (value: unknown) => string | undefined;

export const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false is needed');

export const func: Check = (value) => (typeof value === 'function' ? undefined : 'a function is needed');

export const signal: Check = (value) =>
  typeof value === 'object' && value !== null && 'aborted' in value && 'addEventListener' in value
    ? undefined
    : 'an AbortSignal is needed';

export const oneOf =
  (values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : `${show(value)} is not one of ${values.join(', ')}`;

export const integer =
  (min: number, max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `${show(value)} is not an integer from ${min} to ${max}`;

export const finite: Check = (value) =>
  typeof value === 'number' && Number.isFinite(value) ? undefined : `${show(value)} is not a number`;

export const string: Check = (value) => (typeof value === 'string' ? undefined : 'a string is needed');

export const listOf =
  (check: Check): Check =>
  (value) => {
    if (!Array.isArray(value)) return 'an array is needed';
    for (const item of value) {
      const wrong = check(item);
      if (wrong) return wrong;
    }
    return undefined;
  };

export const recordOf =
  (check: Check): Check =>
  (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'an object is needed';
    for (const [key, item] of Object.entries(value)) {
      const wrong = check(item);
      if (wrong) return `${key}: ${wrong}`;
    }
    return undefined;
  };

export const anyOf =
  (...checks: Check[]): Check =>
  (value) => {
    const wrongs = checks.map((check) => check(value));
    return wrongs.includes(undefined) ? undefined : wrongs.join('; or: ');
  };

export const anything: Check = () => undefined;

/** Options inside of options. */
export const optionsOf =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) => {
    try {
      checkOptions(value, checks);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };

/** Throws for the first option that is unknown or not what it may be. Undefined ones count as absent. */
export function checkOptions(options: unknown, checks: Readonly<Record<string, Check>>): void {
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ZeropointError('invalid-argument', 'options: an object is needed');
  }
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (!check) {
      throw new ZeropointError(
        'invalid-argument',
        `'${name}' is not an option; there are ${Object.keys(checks).join(', ')}`,
      );
    }
    const wrong = check(value);
    if (wrong) throw new ZeropointError('invalid-argument', `${name}: ${wrong}`);
  }
}

/**
 * Options as they are at the moment of a call, for work that reads them later: lists, records and bytes are copied, and
 * what has a life of its own (signals, functions, and the options that are named `live`) is passed on.
 */
export function taken<T>(value: T, live: readonly string[] = []): T {
  if (Array.isArray(value)) return value.map((item) => taken(item)) as T;
  if (value instanceof Uint8Array) return new Uint8Array(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, live.includes(key) ? item : taken(item)]),
  ) as T;
}

function show(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}
