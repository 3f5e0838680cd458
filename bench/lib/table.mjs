// Tables as Markdown, which a terminal shows well enough when the columns are padded.

export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((cell) => String(cell ?? '–')));
  const widths = head.map((_, i) => Math.max(3, ...cells.map((row) => [...row[i]].length)));
  const line = (row) =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`;
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}

const isNumber = (value) => typeof value === 'number' && !Number.isNaN(value);
const shown = (format) => (value) => (isNumber(value) ? format(value) : '–');

export const ms = shown((value) => value.toFixed(value < 1 ? 3 : value < 100 ? 2 : 0));
export const times = shown((value) => `${value.toFixed(2)}×`);
export const percent = shown((value) => `${(100 * value).toFixed(0)} %`);
export const giga = shown((value) => value.toFixed(1));
export const kb = shown((bytes) => (bytes < 1e4 ? (bytes / 1e3).toFixed(1) : (bytes / 1e3).toFixed(0)));
export const db = shown((value) => (value === Infinity ? '∞' : value.toFixed(1)));
