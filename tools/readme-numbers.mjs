// The numbers in README.md, out of the documents that benches write: docs-check compares the README with them, and
// `node tools/docs-check.mjs --write` brings it up to date after a new run.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './process.mjs';

const document = (name) => readFileSync(join(root, 'docs', `${name}.md`), 'utf8');

/** Cells of the table rows under a heading (or of the whole text). */
function rowsUnder(text, heading) {
  const start = heading === undefined ? 0 : text.indexOf(`\n${heading}\n`);
  if (start < 0) throw new Error(`there is no heading "${heading}"`);
  const end = text.indexOf('\n#', start + heading.length + 1);
  const rows = text.slice(start, end < 0 ? undefined : end).match(/^\|.*\|$/gm) ?? [];
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

function rowOf(rows, ...names) {
  const found = rows.find((cells) => names.every((name, i) => cells[i] === name));
  if (!found) throw new Error(`there is no row "${names.join(' ')}"`);
  return found;
}

const thousands = (text) => text.replaceAll(/\B(?=(\d{3})+$)/g, ',');

function numbers() {
  const performance = document('PERFORMANCE');
  const downloads = rowsUnder(performance, '## Downloads, load and memory');
  const gzipped = (name) => thousands(rowOf(downloads, name)[2]);
  const summary = rowsUnder(performance, '## Summary');
  const times = rowOf(summary, 'int8 models against the same files in ONNX Runtime Web')[2];

  const accuracy = rowsUnder(document('ACCURACY'), '### EfficientNet-Lite0');
  const float = rowOf(accuracy, 'zeropoint', 'float');
  const ours = rowOf(accuracy, 'zeropoint', 'auto');
  const column = accuracy[0].indexOf('MB');
  // The best of the rival's settings for integers.
  const [theirs] = accuracy
    .filter(([tool, setting]) => tool === 'ONNX Runtime' && /^(static|dynamic)/.test(setting))
    .filter(([, , right]) => Number.isFinite(Number(right)))
    .toSorted((a, b) => Number(b[2]) - Number(a[2]));
  const same = accuracy[0].indexOf('agreement');
  const result = (row) => `${row[2]} % right, ${row[same]} % as float, ${row[column]} MB`;
  return `| | zeropoint | ONNX Runtime | command |
|---|---|---|---|
| **Size**: download of a page before its model, gzipped | ${gzipped('zeropoint')} KB | ${gzipped('ONNX Runtime Web')} KB | \`npm run bench\` |
| **Speed**: time of int8 models, the same files in the browser and in Node | 1 | ${times.replace('×', '')} | \`npm run bench\` |
| **Accuracy**: EfficientNet-Lite0 as int8: right answers, answers that stay the float model's, and file (float: ${float[2]} %, ${float[column]} MB) | ${result(ours)} | ${result(theirs)} | \`npm run bench:accuracy\` |
`;
}

function operators() {
  const text = document('OPERATORS');
  const [, newest] = /opsets 1 to (\d+)/.exec(text);
  const [, all, passed] = /of these (\d+) cases (\d+) pass/.exec(text);
  const count = rowsUnder(text, '## ai.onnx').length - 2; // without its head
  return `- **Operators.** zeropoint knows ${count} operators of ai.onnx, opsets 1 to ${newest}, and passes ${passed} of ONNX's own ${all} test cases. [docs/OPERATORS.md](docs/OPERATORS.md) lists the operators, and the missing ones.
`;
}

/** By name of a block: the text between \`<!-- NAME -->\` and \`<!-- end of NAME -->\`. */
export const readmeBlocks = () => ({ numbers: numbers(), operators: operators() });
