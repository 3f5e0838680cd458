// Times the kernels against this machine's peaks: `node bench/kernels/kernels.mjs [relaxed|simd] [filter]`, with a
// Node that has relaxed SIMD, and emcc on the PATH (it builds into build/bench-kernels first). With --json the peaks and
// the products of 8 bits and of floats are printed as JSON, for bench/run.mjs; --quick takes fewer products and less time.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';

// A function moves up to V8's optimizing compiler after fewer calls; the warm-up below waits for it.
setFlagsFromString('--wasm-tiering-budget=10000');

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: options, positionals } = parseArgs({
  options: { json: { type: 'boolean' }, quick: { type: 'boolean' } },
  allowPositionals: true,
});
const relaxed = (positionals[0] ?? 'relaxed') === 'relaxed';
const filter = new RegExp(positionals[1] ?? '.');
const target = path.join(root, 'build/bench-kernels', relaxed ? 'relaxed.mjs' : 'simd.mjs');

mkdirSync(path.dirname(target), { recursive: true });
const newest = (folder) =>
  Math.max(
    ...readdirSync(folder, { withFileTypes: true }).map((entry) => {
      const file = path.join(folder, entry.name);
      return entry.isDirectory() ? newest(file) : statSync(file).mtimeMs;
    }),
  );
const built = statSync(target, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const isFresh =
  built > Math.max(newest(path.join(root, 'src/kernels')), newest(path.join(root, 'bench/kernels')));
if (!isFresh && !process.env.NO_BUILD) {
  const sources = ['', 'gemm', 'conv'].flatMap((room) => {
    const folder = path.join(root, 'src/kernels', room);
    return readdirSync(folder)
      .filter((name) => name.endsWith('.cpp'))
      .map((name) => path.join(folder, name));
  });
  execFileSync(
    'em++',
    [
      ...sources,
      path.join(root, 'bench/kernels/kernels.cpp'),
      ...['-I', path.join(root, 'src'), '-o', target, `-DZEROPOINT_RELAXED=${Number(relaxed)}`],
      ...(relaxed ? ['-mrelaxed-simd'] : []),
      ...'-std=c++23 -O3 -DNDEBUG -msimd128 -ffp-contract=off -fno-math-errno -fwasm-exceptions --no-entry'.split(
        ' ',
      ),
      ...'-sMODULARIZE -sEXPORT_ES6 -sENVIRONMENT=node -sALLOW_MEMORY_GROWTH -sMAXIMUM_MEMORY=4GB'.split(' '),
    ],
    { stdio: ['ignore', 2, 2] },
  );
}
const { default: create } = await import(pathToFileURL(target).href);
const engine = await create();

// Best of several calls, after a warm-up.
function time(call) {
  const deadline = performance.now() + (options.quick ? 120 : 300);
  while (performance.now() < deadline) call();
  let best = Infinity;
  for (
    let i = 0, end = performance.now() + (options.quick ? 60 : 250);
    i < 5 || performance.now() < end;
    ++i
  ) {
    const start = performance.now();
    call();
    best = Math.min(best, performance.now() - start);
  }
  return best / 1e3;
}
const giga = (macs, seconds) => macs / seconds / 1e9;
const row = (name, ...cells) =>
  console.log(name.padEnd(24), ...cells.map((cell) => String(cell).padStart(18)));
const share = (value, peak) => `${value.toFixed(1)} (${((100 * value) / peak).toFixed(0)} %)`;

const relaxedDot = ['absent', 'unsigned', 'signed', 'saturating'][engine._machine()];
const rounds = 20000;
const loops = Array.from({ length: engine._peak_loops() }, (_, loop) => loop);
// Function, and products of one step.
const peakLoops = {
  dot16: ['_peak_dot16', 8],
  dot8: ['_peak_dot8', 16],
  narrow: ['_peak_dot8_narrow', 16],
  float: ['_peak_float', 4],
  floatTwoStep: ['_peak_float_simd128', 4],
};
const peaks = {};
const peakChains = {};
// The best of loops with different numbers of chains. Measured again at the end: a processor's clock is not always the same.
function measurePeaks() {
  for (const [name, [loop, macs]] of Object.entries(peakLoops)) {
    if (!engine[loop]) continue;
    for (const index of loops) {
      const chains = engine._peak_chains(index);
      const seconds = time(() => engine[loop](index, rounds));
      const rate = giga(rounds * chains * macs, seconds);
      if (rate <= (peaks[name] ?? 0)) continue;
      peaks[name] = rate;
      peakChains[name] = chains;
    }
  }
}
measurePeaks();

// A product that is faster than its peak says that the peak is none. Once more, and again: another program may have been
// in the way.
function checkRuler(measured) {
  const above = () => measured.filter(({ value, peak }) => value > peaks[peak]);
  for (let i = 0; i < 5 && above().length > 0; ++i) measurePeaks();
  for (const { name, value, peak } of above()) {
    const percent = ((100 * value) / peaks[peak]).toFixed(0);
    console.error(
      `error of the bench: ${name} makes ${value.toFixed(1)} GMAC/s, ${percent} % of its peak (${peak}, ${peaks[peak].toFixed(1)}): that loop is no measure of this machine`,
    );
    process.exitCode = 1;
  }
}
const sizes = [
  [384, 384, 384],
  [512, 512, 512],
  [768, 768, 768],
  [1024, 1024, 1024],
  [128, 3072, 768],
  [196, 512, 512],
  [3136, 64, 64],
  [1, 1024, 1024],
  [1, 4096, 4096],
];
const methods = ['dot16', 'dot8', 'dot8', 'narrow'];

// A call does a slice of the rows, as a thread would: short calls are less often interrupted.
function sliced([m, n, k]) {
  const rows = Math.min(m, Math.max(96, Math.round(4e7 / n / k / 96) * 96));
  const macs = rows * n * k;
  return { rows, macs, times: Math.max(1, Math.round(2e6 / macs)) };
}
function timeInt8(size, exact, mask) {
  const { rows, macs, times } = sliced(size);
  const method = methods[engine._set_up_int8(rows, size[1], size[2], exact, mask)];
  return {
    method,
    value: giga(
      macs * times,
      time(() => engine._run_int8(exact, times)),
    ),
  };
}
function timeFloat(size, best) {
  const { rows, macs, times } = sliced(size);
  engine._set_up_float(rows, size[1], size[2]);
  return giga(
    macs * times,
    time(() => engine._run_float(best, times)),
  );
}

const bestFloat = peaks.float ? 'float' : 'floatTwoStep';

if (options.json) {
  const chosen = sizes.filter(([m]) => (options.quick ? m === 384 || m === 768 : true));
  const products = chosen.map((size) => {
    const [m, n, k] = size;
    const { method, value } = timeInt8(size, 0, 255);
    return { size: [m, k, n], method, int8: value, float: timeFloat(size, 1) };
  });
  measurePeaks();
  checkRuler(
    products.flatMap(({ size, method, int8, float }) => [
      { name: `int8 ${size.join('×')}`, value: int8, peak: method },
      { name: `f32 ${size.join('×')}`, value: float, peak: bestFloat },
    ]),
  );
  const withPeaks = products.map((product) => ({
    ...product,
    peak: peaks[product.method],
    floatPeak: peaks[bestFloat],
  }));
  console.log(JSON.stringify({ relaxedDot, peaks, peakChains, products: withPeaks }));
  process.exit();
}

console.log(`${cpus()[0].model}; relaxed dot: ${relaxedDot}`);
const measured = [];
for (const size of sizes) {
  const [m, n, k] = size;
  const name = `${m} x ${k} x ${n}`;
  if (!filter.test(name)) continue;
  const int8 = (exact, mask) => {
    const { method, value } = timeInt8(size, exact, mask);
    return { name, value, peak: method };
  };
  measured.push([
    int8(0, 255),
    int8(1, 255),
    int8(0, 127),
    { name, value: timeFloat(size, 1), peak: bestFloat },
    { name, value: timeFloat(size, 0), peak: 'floatTwoStep' },
  ]);
}
measurePeaks();
checkRuler(measured.flat());
console.log(
  'peaks, GMAC/s (chains):',
  Object.entries(peaks)
    .map(([k, v]) => `${k} ${v.toFixed(1)} (${peakChains[k]})`)
    .join(', '),
);
row('GMAC/s, M x K x N', 'int8', 'int8 16-bit', 'int8 7-bit weights', 'f32', 'f32 simd128');
for (const cells of measured) {
  row(cells[0].name, ...cells.map(({ value, peak }) => share(value, peaks[peak])));
}
row('float x narrow weights', '4 bits, block 32', '8 bits, channel');
for (const [m, n, k] of [
  [1, 1024, 1024],
  [1, 4096, 4096],
  [2, 1024, 1024],
  [16, 1024, 1024],
  [96, 1024, 1024],
]) {
  const name = `${m} x ${k} x ${n} weight-only`;
  if (!filter.test(name)) continue;
  const value = (bits, block) => {
    engine._set_up_weight_only(m, n, k, bits, block);
    return giga(
      m * n * k,
      time(() => engine._run_weight_only(1)),
    ).toFixed(1);
  };
  row(name, value(4, 32), value(8, k));
}
row('depthwise', 'GMAC/s int8', 'f32');
for (const [size, channels, kernel, stride] of [
  [112, 32, 3, 1],
  [112, 96, 3, 2],
  [56, 144, 3, 1],
  [28, 240, 5, 1],
  [14, 480, 3, 1],
  [14, 672, 5, 1],
  [7, 1152, 3, 1],
]) {
  const name = `${size}x${size}x${channels} k${kernel} s${stride}`;
  if (!filter.test(name)) continue;
  const macs = engine._set_up_depthwise(size, channels, kernel, stride);
  row(
    name,
    giga(
      macs,
      time(() => engine._run_depthwise_int8()),
    ).toFixed(1),
    giga(
      macs,
      time(() => engine._run_depthwise_float()),
    ).toFixed(1),
  );
}
