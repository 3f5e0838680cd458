// Right answers out of a table: which column has the file, which the class, and which the name of the class.
import type { Names } from '../answers/kind.ts';

export interface Table {
  /** What the columns are called, or their numbers. */
  columns: readonly string[];
  rows: readonly (readonly string[])[];
}

/** Columns by their number; `file` undefined: rows are in the order of the samples. */
export interface Columns {
  file: number | undefined;
  label: number;
  name: number | undefined;
}

export interface Labels {
  /** Of each sample; undefined: not known. */
  of: readonly (number | undefined)[];
  names: Names;
}

const isClass = (text: string | undefined) => text !== undefined && /^\d{1,9}$/.test(text.trim());
const baseName = (path: string) => path.trim().split(/[\\/]/).at(-1) ?? '';

/** Commas, semicolons, tabs; quotes as usual. A first row without a class, above rows with one, is a heading. */
export async function tableOf(file: File): Promise<Table> {
  const { default: papa } = await import('papaparse');
  const { data } = papa.parse<string[]>((await file.text()).replace(/^\uFEFF/, ''), {
    skipEmptyLines: 'greedy',
  });
  const [first = [], ...rest] = data.map((row) => row.map((cell) => cell.trim()));
  const width = Math.max(first.length, ...rest.map((row) => row.length));
  const numbered = Array.from({ length: width }, (_, i) => `column ${i + 1}`);
  const isHeading = rest.length > 0 && !first.some(isClass) && rest.some((row) => row.some(isClass));
  return isHeading
    ? { columns: numbered.map((name, i) => first[i] || name), rows: rest }
    : { columns: numbered, rows: first.length ? [first, ...rest] : [] };
}

/** The share of rows whose cell passes a test. */
const shareOf = ({ rows }: Table, column: number, is: (cell: string) => boolean) =>
  rows.filter((row) => is(row[column] ?? '')).length / Math.max(1, rows.length);

/** What the columns look like. `files`: names of the samples. */
export function guessColumns(table: Table, files: readonly string[]): Columns {
  const known = new Set(files.map(baseName));
  const all = table.columns.map((_, i) => i);
  const most = (score: (column: number) => number, least: number, not: (number | undefined)[] = []) => {
    const best = all
      .filter((column) => !not.includes(column))
      .map((column) => [score(column), column] as const)
      .reduce((a, b) => (b[0] > a[0] ? b : a), [0, -1]);
    return best[0] >= least ? best[1] : undefined;
  };
  const hinted = (column: number, pattern: RegExp) => (pattern.test(table.columns[column] ?? '') ? 0.5 : 0);
  const file = most(
    (column) =>
      shareOf(table, column, (cell) => known.has(baseName(cell))) +
      shareOf(table, column, (cell) => /\.\w{2,5}$/.test(cell)) / 2,
    0.3,
  );
  const label =
    most((column) => shareOf(table, column, isClass) + hinted(column, /label|class|target|index/i), 0.9, [
      file,
    ]) ??
    all.find((column) => column !== file) ??
    0;
  const name = most(
    (column) => shareOf(table, column, (cell) => cell !== '' && !isClass(cell)) + hinted(column, /name/i),
    0.5,
    [file, label],
  );
  return { file, label, name };
}

/** The labels of samples, whose files have these names; or what is wrong with them, in a sentence. */
export function labelsFrom(table: Table, columns: Columns, files: readonly string[]): Labels | string {
  const { rows } = table;
  const cell = (row: readonly string[], column: number | undefined) =>
    column === undefined ? '' : (row[column] ?? '');
  const wrong = rows.findIndex((row) => !isClass(cell(row, columns.label)));
  if (rows.length === 0) return 'the file is empty';
  if (wrong >= 0) {
    return `“${cell(rows[wrong] as string[], columns.label)}” in “${table.columns[columns.label]}” is not a class number (0 or more): choose another column`;
  }
  const names: Record<number, string> = {};
  if (columns.name !== undefined) {
    for (const row of rows) names[Number(cell(row, columns.label))] = cell(row, columns.name);
  }
  if (columns.file === undefined) {
    if (rows.length !== files.length) {
      return `it says ${rows.length} ${rows.length === 1 ? 'class' : 'classes'}, and there are ${files.length} samples: give one for each, in their order, or a column with the names of the files`;
    }
    return { of: rows.map((row) => Number(cell(row, columns.label))), names };
  }
  const known = new Map(
    rows.map((row) => [baseName(cell(row, columns.file)), Number(cell(row, columns.label))] as const),
  );
  const stems = new Map([...known].map(([file, label]) => [file.replace(/\.\w+$/, ''), label] as const));
  const of = files.map(
    (file) => known.get(baseName(file)) ?? stems.get(baseName(file).replace(/\.\w+$/, '')),
  );
  if (of.every((label) => label === undefined)) {
    return `no row of “${table.columns[columns.file]}” names one of the samples: choose another column`;
  }
  return { of, names };
}
