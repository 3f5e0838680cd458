// What bench/elsewhere found, as tables, a summary of plain numbers, and docs/ELSEWHERE.md.
import { fileURLToPath } from 'node:url';
import { geometricMean } from '../lib/measure.mjs';
import { ms, table, times } from '../lib/table.mjs';
import { native, web } from './model.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Beyond this a time is another one: medians of a quiet machine differ by less. */
const slack = 1.05;

const decibels = (value) => (value === undefined ? '–' : value >= 200 ? '=' : value.toFixed(0));

/** A model's rows by runtime and scheme: { runtime, scheme, float, ours, theirs }. */
function pairs({ name, float, rows }) {
  const found = new Map();
  for (const row of rows) {
    const key = `${row.runtime}\n${row.scheme}`;
    if (!found.has(key)) {
      found.set(key, { name, runtime: row.runtime, scheme: row.scheme, float: float[row.runtime] });
    }
    found.get(key)[row.who] = row;
  }
  return [...found.values()];
}

const label = ({ name, scheme }) => `${name}, ${scheme}`;
const both = (a, b) => Number.isFinite(a?.ms) && Number.isFinite(b?.ms);

/** What was found, in each runtime: counts, and the rows in which ours is not what it should be. */
export function summaryOf(models) {
  const runtimes = {};
  for (const pair of models.flatMap(pairs)) {
    runtimes[pair.runtime] ??= {
      files: 0,
      run: 0,
      theirFiles: 0,
      theirRun: 0,
      timed: 0,
      floatDoesNotRun: [],
      refused: [],
      slowerThanTheirs: [],
      slowerThanFloatAlone: [],
      vsTheirs: [],
      vsFloat: [],
      theirsVsFloat: [],
    };
    const found = runtimes[pair.runtime];
    const { ours, theirs, float } = pair;
    if (float.error) {
      if (!found.floatDoesNotRun.includes(pair.name)) found.floatDoesNotRun.push(pair.name);
    } else {
      if (ours) {
        found.files++;
        if (ours.error) found.refused.push({ row: label(pair), error: ours.error });
        else found.run++;
      }
      if (theirs && theirs.made !== false) {
        found.theirFiles++;
        if (!theirs.error) found.theirRun++;
      }
    }
    if (both(ours, float)) {
      found.timed++;
      found.vsFloat.push(float.ms / ours.ms);
    }
    if (both(theirs, float)) found.theirsVsFloat.push(float.ms / theirs.ms);
    if (both(ours, theirs)) {
      found.vsTheirs.push(theirs.ms / ours.ms);
      if (ours.ms > theirs.ms * slack) {
        found.slowerThanTheirs.push({ row: label(pair), ours: ours.ms, theirs: theirs.ms, float: float.ms });
      }
    }
    if (
      both(ours, float) &&
      both(theirs, float) &&
      ours.ms > float.ms * slack &&
      theirs.ms <= float.ms * slack
    ) {
      found.slowerThanFloatAlone.push({
        row: label(pair),
        ours: ours.ms,
        theirs: theirs.ms,
        float: float.ms,
      });
    }
  }
  for (const found of Object.values(runtimes)) {
    for (const key of ['vsTheirs', 'vsFloat', 'theirsVsFloat']) found[key] = geometricMean(found[key]);
  }
  const left = models.flatMap(({ name, left: list }) =>
    list.map(({ who, operators, beside, error }) => ({
      name,
      who,
      ...(error ? { error } : { ...leftOf(operators), beside }),
    })),
  );
  return { models: models.length, runtimes, left };
}

/** Q/DQ that ONNX Runtime left, and operators that take integers in its graph. */
function leftOf(operators) {
  const count = (...names) => names.reduce((sum, name) => sum + (operators[name] ?? 0), 0);
  return {
    quantize: count('QuantizeLinear'),
    dequantize: count('DequantizeLinear'),
    integer: Object.entries(operators)
      .filter(([op]) => /^QLinear|^QGemm|Integer|^MatMulNBits|^QAttention|^DynamicQuantize/.test(op))
      .reduce((sum, [, n]) => sum + n, 0),
    float: count(
      'MatMul',
      'Gemm',
      'FusedMatMul',
      'FusedGemm',
      'Conv',
      'FusedConv',
      'ConvTranspose',
      'NhwcFusedConv',
    ),
  };
}

// Without the folders of this machine.
const reasonOf = (text) => text.replaceAll('|', '\\|').replaceAll(root, '');

function listing(title, rows) {
  if (rows.length === 0) return [];
  return [`${title} (${rows.length}):`, '', ...rows.map((row) => `- ${row}`), ''];
}

const withTimes = ({ row, ours, theirs, float }) =>
  `${row}: ours ${ms(ours)} ms, the rival's ${ms(theirs)}, float ${ms(float)}`;

export function summaryText(summary, { machine, versions, missing, left }) {
  const lines = [`Measured on ${machine}.`, ''];
  lines.push(
    `Runtimes: ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}.`,
    '',
  );
  for (const [name, why] of Object.entries(missing)) lines.push(`- ${name}: not installed here: ${why}`);
  for (const { name, why } of left) lines.push(`- left out: ${name}: ${reasonOf(why)}`);
  lines.push('');
  lines.push(
    table(
      [
        'runtime',
        'ours run',
        "rival's run",
        'ours : rival',
        'ours : float',
        'rival : float',
        'slower than rival',
        'slower than float, rival not',
      ],
      Object.entries(summary.runtimes).map(([name, found]) => [
        name,
        `${found.run}/${found.files}`,
        `${found.theirRun}/${found.theirFiles}`,
        times(found.vsTheirs),
        times(found.vsFloat),
        times(found.theirsVsFloat),
        found.slowerThanTheirs.length,
        found.slowerThanFloatAlone.length,
      ]),
    ),
    '',
  );
  for (const [name, found] of Object.entries(summary.runtimes)) {
    lines.push(
      ...listing(
        `${name}: our files that do not run`,
        found.refused.map(({ row, error }) => `${row}: ${reasonOf(error)}`),
      ),
      ...listing(`${name}: float models that do not run, whose files are not counted`, found.floatDoesNotRun),
      ...listing(`${name}: slower than the rival's`, found.slowerThanTheirs.map(withTimes)),
      ...listing(
        `${name}: slower than float, and the rival's is not`,
        found.slowerThanFloatAlone.map(withTimes),
      ),
    );
  }
  if (summary.left.length > 0) lines.push(graphsText(summary.left), '');
  return lines.join('\n');
}

/** What is left in ONNX Runtime's graphs of the static files (summaryOf's `left`). */
export const graphsText = (
  left,
) => `Left in ONNX Runtime's optimized graph of each static file: QuantizeLinear and DequantizeLinear that nothing fused, operators
on integers, and products and convolutions in float.

${table(
  ['model', 'file', 'Q', 'DQ', 'integer', 'float', 'beside Q and DQ'],
  left.map(({ name, who, error, beside, ...n }) => {
    const file = who === 'ours' ? 'ours' : "rival's";
    if (error) return [name, file, '✗', '✗', '✗', '✗', reasonOf(error)];
    const counted = Object.entries(beside).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    const words = counted.map(([op, count]) => (count > 1 ? `${op} ×${count}` : op)).join(', ');
    return [name, file, n.quantize, n.dequantize, n.integer, n.float, words];
  }),
)}`;

/** All rows of one model. */
export function modelTable(model) {
  const cell = (row, float) => {
    if (!row) return '–';
    if (row.error) return row.made === false ? 'not made' : '✗';
    const time = Number.isFinite(row.ms)
      ? ` · ${ms(row.ms)} ms${Number.isFinite(float?.ms) ? ` (${(float.ms / row.ms).toFixed(2)}×)` : ''}`
      : '';
    return `${decibels(row.db)} dB${time}`;
  };
  const rows = pairs(model).map((pair) => [
    pair.scheme,
    pair.runtime,
    cell(pair.float),
    cell(pair.ours, pair.float),
    cell(pair.theirs, pair.float),
  ]);
  const why = model.rows
    .filter(({ error }) => error)
    .map(({ scheme, runtime, who, made, error }) =>
      made === false
        ? `- ${scheme}: ${who === 'ours' ? 'we' : 'the rival'}: ${reasonOf(error)}`
        : `- ${scheme}, ${runtime}, ${who}: ${reasonOf(error)}`,
    );
  for (const [runtime, { error }] of Object.entries(model.float)) {
    if (error) why.push(`- float, ${runtime}: ${reasonOf(error)}`);
  }
  return [
    `### ${model.name}`,
    '',
    table(['scheme', 'runtime', 'float', 'ours', "rival's"], rows),
    '',
    ...(why.length ? [...new Set(why), ''] : []),
  ].join('\n');
}

export const docsOf = (sets, facts) => `# Elsewhere

\`npm run bench:elsewhere -- --docs\` writes this file. zeropoint's files are for other runtimes first. For each model and
scheme three files are opened and run: the float model, ours (made for that runtime, in its default form), and the file of the
rival's own quantizer: ONNX Runtime's \`quantize_static\` (Q/DQ, per channel), \`quantize_dynamic\` and
\`MatMulNBitsQuantizer\` (8 and 4 bits in blocks of 32). Eight samples calibrate, four others are measured, one thread.

- dB: against the float model in ${native} without optimizations; "=": equal numbers; ✗: it does not run (the reason stands
  below the table); "not made": the quantizer refused the model.
- ms: medians; all files of a model take turns. In brackets, and in the summary: how many times faster than float.
- Slower: by more than ${((slack - 1) * 100).toFixed(0)} %.

The runtimes that checked the files: files for \`onnxruntime\` in ${native}, \`onnxruntime-web\` in ${web} (WebAssembly, in Node), \`openvino\`
in OpenVINO's CPU plugin. tract and rten run the files for \`onnxruntime\`. TensorRT, QNN and WebGPU are on no machine here: files for
them are checked by their rules alone.

${sets.map(({ title, summary, models }) => `## ${title}\n\n${summaryText(summary, facts[title])}\n${models.map(modelTable).join('\n')}`).join('\n')}`;
