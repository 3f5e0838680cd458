// The rows of a run as Markdown.
import { bestInt8, ratio } from './summary.mjs';
import { giga, kb, ms, percent, table, times } from './table.mjs';

const rate = (row, entrant) => row.macs / row.ms[entrant] / 1e6;
const threads = (count) => (count === 1 ? 'one thread' : `${count} threads`);
const mb = (bytes) => (Number.isFinite(bytes) ? (bytes / 1e6).toFixed(0) : '–');

function peaksSection(peaks, copies) {
  if (!peaks) return '';
  const exact = peaks.products[0]?.method;
  const names = {
    dot8: 'relaxed dot product, 8 bits (exact where it is one instruction)',
    dot16: 'dot product of 16 bits, exact everywhere',
    narrow: 'relaxed dot product of pairs, exact for weights of 7 bits',
    float: 'f32, relaxed multiply-add',
    floatTwoStep: 'f32, multiply and add',
  };
  const rows = Object.entries(peaks.peaks)
    .filter(([, value]) => value)
    .map(([name, value]) => [
      `${names[name]}${name === exact ? ' — what int8 is measured by' : ''}`,
      giga(value),
    ]);
  const products = peaks.products.map(({ size, int8, peak, float, floatPeak }) => [
    size.join('×'),
    giga(int8),
    percent(int8 / peak),
    giga(float),
    percent(float / floatPeak),
  ]);
  return `## Peaks

Loops that do nothing but multiply (the best of several numbers of chains), and the kernels called by themselves, in Node,
one thread, GMAC/s.

${table(['loop', 'GMAC/s'], rows)}

${table(['M×K×N', 'int8', 'of its peak', 'f32', 'of its peak'], products)}

Outputs are copied to new arrays, whose pages the system hands out as they are touched, for all engines alike: GB/s of 800 KB
into a new array, and into one that has been written before.

${table(
  ['in', 'new', 'used'],
  copies.map(({ place, fresh, used }) => [place, giga(fresh), giga(used)]),
)}
`;
}

const floatEntrants = ['ours MatMul', 'theirs MatMul'];
const int8Entrants = ['ours', 'theirs'].flatMap((who) => [`${who} QLinearMatMul`, `${who} MatMulInteger`]);

/** What each engine's products of one thread are measured by. */
const peaksOf = (peaks) => ({
  float: peaks?.peaks.float ?? peaks?.peaks.floatTwoStep,
  int8: peaks?.products[0]?.peak,
});

/** Products that are faster than the peak they are measured by, a sentence each: then the peak is none. */
export function abovePeak({ rows, peaks }) {
  const { float, int8 } = peaksOf(peaks);
  return rows
    .filter(({ table, threads }) => table === 'gemm' && threads === 1)
    .flatMap((row) =>
      [
        ...floatEntrants.map((entrant) => [entrant, float]),
        ...int8Entrants.map((entrant) => [entrant, int8]),
      ].flatMap(([entrant, peak]) => {
        const value = rate(row, entrant);
        return value > peak
          ? [
              `${entrant} of ${row.name} in ${row.place} makes ${giga(value)} GMAC/s, and the peak is ${giga(peak)}`,
            ]
          : [];
      }),
    );
}

function gemmSection(rows, place, count, peaks) {
  const chosen = rows.filter((row) => row.table === 'gemm' && row.place === place && row.threads === count);
  if (chosen.length === 0) return '';
  const { float, int8 } = peaksOf(peaks);
  const shareOf = (value, peak) =>
    peak && count === 1 ? `${giga(value)} (${percent(value / peak)})` : giga(value);
  const cells = chosen.map((row) => [
    row.name,
    shareOf(rate(row, 'ours MatMul'), float),
    shareOf(rate(row, 'theirs MatMul'), float),
    times(ratio(row, 'ours MatMul', 'theirs MatMul')),
    shareOf(rate(row, 'ours QLinearMatMul'), int8),
    shareOf(rate(row, 'ours MatMulInteger'), int8),
    shareOf(rate(row, 'theirs QLinearMatMul'), int8),
    shareOf(rate(row, 'theirs MatMulInteger'), int8),
    times(bestInt8(row)),
    giga(rate(row, 'ours MatMulNBits')),
    giga(rate(row, 'theirs MatMulNBits')),
    times(ratio(row, 'ours MatMulNBits', 'theirs MatMulNBits')),
  ]);
  const head = [
    'M×K×N',
    'f32',
    'ORT',
    '',
    'QLinear',
    'Integer',
    'ORT QLinear',
    'ORT Integer',
    'best',
    '4 bits',
    'ORT',
    '',
  ];
  return `### ${place}, ${threads(count)}\n\n${table(head, cells)}\n`;
}

function layerSection(rows) {
  const chosen = rows.filter((row) => row.table === 'layer');
  if (chosen.length === 0) return '';
  const cells = chosen.map((row) => [
    row.name,
    giga(rate(row, 'ours int8')),
    giga(rate(row, 'litert int8')),
    times(ratio(row, 'ours int8', 'litert int8')),
    giga(rate(row, 'ours f32')),
    giga(rate(row, 'litert f32')),
    times(ratio(row, 'ours f32', 'litert f32')),
  ]);
  const head = ['M×K×N', 'int8', 'LiteRT.js', '', 'f32', 'LiteRT.js', ''];
  return `## One fully connected layer against LiteRT.js

Chromium, one thread, GMAC/s. From float to float: int8 includes quantizing and dequantizing.

${table(head, cells)}
`;
}

/** Milliseconds of float and int8 in both engines; `float` is what the table's entrants call it. */
function timesSection(name, float, rows, place, count) {
  const chosen = rows.filter((row) => row.table === name && row.place === place && row.threads === count);
  if (chosen.length === 0) return '';
  const cells = chosen.map((row) => [
    row.name,
    ms(row.ms[`ours ${float}`]),
    ms(row.ms[`theirs ${float}`]),
    times(ratio(row, `ours ${float}`, `theirs ${float}`)),
    ms(row.ms['ours int8']),
    ms(row.ms['theirs int8']),
    times(ratio(row, 'ours int8', 'theirs int8')),
    times(row.ms[`ours ${float}`] / row.ms['ours int8']),
  ]);
  const head = [name, float, 'ORT', '', 'int8', 'ORT', '', `int8 / ${float}`];
  return `### ${place}, ${threads(count)}\n\n${table(head, cells)}\n`;
}

function freshSection(rows, downloads, size) {
  const chosen = rows.filter((row) => row.table === 'fresh');
  const sizesOf = ({ bytes, gzip, brotli }) => [kb(bytes), kb(gzip), kb(brotli)];
  const sizes = ['zeropoint', 'zeropoint/run', 'ONNX Runtime Web', 'LiteRT.js'].map((name) => [
    name,
    ...sizesOf(downloads[name]),
  ]);
  const builds = downloads.builds.map(({ build, ...size }) => [`${build}.wasm`, ...sizesOf(size)]);
  const cells = chosen.map(({ name, place, type, bytes, ours, theirs }) => [
    `${name}, ${type}`,
    place,
    kb(bytes),
    ms(ours.load),
    ms(theirs.load),
    times(theirs.load / ours.load),
    ms(ours.firstRun),
    ms(theirs.firstRun),
    mb(ours.peak),
    mb(theirs.peak),
  ]);
  const head = ['model', 'in', 'KB', 'load ms', 'ORT', '', 'first run ms', 'ORT', 'peak MB', 'ORT'];
  const loads = chosen.length
    ? `
Each in a fresh process or page: load is the module and the model ready to run; the peak is what a process that runs the
model ever held beyond one that only reads the file.

${table(head, cells)}
`
    : '';
  return `## Downloads, load and memory

What a page fetches before a model: JavaScript and WebAssembly, in KB.

${table(['', 'KB', 'gzip', 'brotli'], [...sizes, ...builds])}
${sizeTable(size)}${loads}`;
}

const partNames = {
  ops: 'operators: shapes, plans, integer forms, gradients',
  quant: 'quantizers, repairs, reports',
  kernels: 'kernels',
  train: 'training',
  runtime: 'sessions and planning',
  onnx: 'reading and writing ONNX',
  bindings: 'Embind surface',
  core: 'tensors, threads, errors',
  graph: 'graph',
};

function sizeTable(size) {
  if (!size) return '';
  const totalOf = (parts) => parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const cells = (parts, name) => {
    const { bytes = 0 } = parts.find(({ part }) => part === name) ?? {};
    return [kb(bytes), percent(bytes / totalOf(parts))];
  };
  const { whole, run } = size;
  const rows = whole.map(({ part }) => [partNames[part] ?? part, ...cells(whole, part), ...cells(run, part)]);
  return `
What relaxed-threads.wasm and run-relaxed-threads.wasm consist of, by the folder of src/ that defines a function:

${table(['part', 'KB', '', 'run, KB', ''], rows)}
`;
}

const explained = {
  vnni: 'the relaxed dot product is one exact instruction here',
  int8GemmPeakShare: 'int8 products of 384³ and more, share of the peak of the best exact sequence',
  int8GemmVsRival: 'int8 products against the best int8 path of ONNX Runtime Web',
  f32GemmVsRival: 'f32 products against ONNX Runtime Web',
  int8LayerVsLiteRT: 'one int8 layer against LiteRT.js',
  f32LayerVsLiteRT: 'one f32 layer against LiteRT.js',
  int8ModelsVsRival: 'int8 models against the same files in ONNX Runtime Web',
  f32ModelsVsRival: 'float models against ONNX Runtime Web',
  worstModelVsRival: 'the model that does worst against ONNX Runtime Web',
  int8ModelsVsOwnFloat: 'int8 models against our own float',
  int4VsOwnFloatM1: '4-bit weights at 1×4096×4096 against our own f32',
  twoThreads: 'two threads against one, models over 20 ms',
  twoThreadsOfRival: 'the same for ONNX Runtime Web: what this machine gives',
  loadVsRival: 'module and model ready to run, against ONNX Runtime Web',
  wasmBytes: 'the largest WebAssembly build, bytes',
  wasmGzipBytes: 'the same, gzipped',
  runWasmBytes: 'the largest that only runs models, bytes',
  runWasmGzipBytes: 'the same, gzipped',
  peakMemoryVsRival: 'peak memory of a run, against ONNX Runtime Web',
};

function summarySection(summary) {
  const shown = (name, value) => {
    if (value === null) return '–';
    if (typeof value === 'boolean') return value ? 'yes' : 'no';
    if (name.endsWith('Bytes')) return value;
    return name.endsWith('Share') ? percent(value) : times(value);
  };
  const rows = Object.entries(summary).map(([name, value]) => [
    explained[name],
    `\`${name}\``,
    shown(name, value),
  ]);
  return `## Summary\n\n${table(['what', 'in the summary of --json', ''], rows)}\n`;
}

const intros = {
  gemm: `## Products

GMAC/s of files of one operator through both engines' public interfaces, copying of inputs and outputs included. In
brackets the share of the machine's peak. ORT is ONNX Runtime Web; the columns after two numbers say how many times faster
ours is, «best» with the faster of the two integer operators on either side.
`,
  convolution: `## Convolutions

Layers of real models as files of one operator, in milliseconds; int8 is QLinearConv, or between Q/DQ pairs where it is
transposed.
`,
  model: `## Models

Milliseconds. The int8 file was quantized here, with inputs like those the model is for, and runs in both engines.
`,
};

export function report({ machine, notes, peaks, downloads, size, rows, summary }) {
  const sections = (kind, make) => {
    const pairs = [
      ...new Set(rows.filter((row) => row.table === kind).map((row) => `${row.place} ${row.threads}`)),
    ];
    const parts = pairs.map((pair) => make(...pair.split(' ').map((x, i) => (i ? Number(x) : x))));
    return parts.length ? [intros[kind], ...parts] : [];
  };
  const differences = rows.flatMap((row) =>
    [
      ...Object.values(row.differs ?? {}),
      ...Object.entries(row.failed ?? {}).map(([who, why]) => `${who}: ${why}`),
    ].map((text) => `- ${row.place}, ${row.threads} thread(s), ${row.name}: ${text}`),
  );
  return [
    `Measured on ${machine.date}${machine.quick ? ', quickly' : ''}: ${machine.model}, ${machine.cores} cores (${machine.features.join(', ')}); relaxed
dot product: ${machine.relaxedDot}; ${machine.versions.join(', ')}. Contestants take turns, after a warm-up; medians. Outputs
are compared before times are.
`,
    summarySection(summary),
    peaksSection(
      peaks,
      rows.filter((row) => row.table === 'copy'),
    ),
    ...sections('gemm', (place, count) => gemmSection(rows, place, count, peaks)),
    layerSection(rows),
    ...sections('convolution', (place, count) => timesSection('convolution', 'f32', rows, place, count)),
    ...sections('model', (place, count) => timesSection('model', 'float', rows, place, count)),
    freshSection(rows, downloads, size),
    notes.length ? `## Missing\n\n${notes.map((note) => `- ${note}`).join('\n')}\n` : '',
    differences.length ? `## Not compared\n\n${[...new Set(differences)].join('\n')}\n` : '',
  ]
    .filter(Boolean)
    .join('\n')
    .trimEnd();
}
