// The rows of a run as plain numbers. «…Vs…» says how many times better ours is; means are geometric; null where a
// contestant, or the table, is missing.
import { geometricMean } from './measure.mjs';

const least = (...values) => {
  const numbers = values.filter(Number.isFinite);
  return numbers.length ? Math.min(...numbers) : NaN;
};

/** Times of a row's entrants that may be compared: those whose outputs agree. */
export function comparable({ ms, differs }) {
  return Object.fromEntries(
    Object.entries(ms).map(([name, value]) => {
      const form = name.slice(name.indexOf(' ') + 1);
      const isDifferent = Object.keys(differs).some(
        (entrant) => entrant.slice(entrant.indexOf(' ') + 1) === form,
      );
      return [name, isDifferent ? NaN : value];
    }),
  );
}

/** How many times faster ours is in a row, entrant against entrant. */
export const ratio = (row, ours, theirs) => comparable(row)[theirs] / comparable(row)[ours];

/** Our fastest integer product against theirs. */
export function bestInt8(row) {
  const times = comparable(row);
  return (
    least(times['theirs QLinearMatMul'], times['theirs MatMulInteger']) /
    least(times['ours QLinearMatMul'], times['ours MatMulInteger'])
  );
}

export function summarize({ machine, peaks, downloads, rows }) {
  const table = (name) => rows.filter((row) => row.table === name);
  const single = (name) => table(name).filter((row) => row.threads === 1);
  const gemm = single('gemm');
  const models = single('model');
  const mean = geometricMean;
  const number = (value) => (Number.isFinite(value) ? value : null);

  // Of models over 20 ms. What two threads can give is the machine's: other machines' work may be on its processors.
  const twoThreads = (engine) =>
    mean(
      table('model')
        .filter((row) => row.threads === 2)
        .flatMap((row) => {
          const one = models.find(({ place, name }) => place === row.place && name === row.name);
          return [`${engine} float`, `${engine} int8`]
            .filter((entrant) => one?.ms[entrant] > 20)
            .map((entrant) => one.ms[entrant] / row.ms[entrant]);
        }),
    );
  const fresh = table('fresh');
  const runs = downloads.builds.filter(({ build }) => build.startsWith('run-'));
  return {
    vnni: ['unsigned', 'signed'].includes(machine.relaxedDot),
    int8GemmPeakShare: peaks
      ? mean(
          peaks.products.filter(({ size }) => Math.min(...size) >= 384).map(({ int8, peak }) => int8 / peak),
        )
      : null,
    int8GemmVsRival: mean(gemm.map(bestInt8)),
    f32GemmVsRival: mean(gemm.map((row) => ratio(row, 'ours MatMul', 'theirs MatMul'))),
    int8LayerVsLiteRT: mean(table('layer').map((row) => ratio(row, 'ours int8', 'litert int8'))),
    f32LayerVsLiteRT: mean(table('layer').map((row) => ratio(row, 'ours f32', 'litert f32'))),
    int8ModelsVsRival: mean(models.map((row) => ratio(row, 'ours int8', 'theirs int8'))),
    f32ModelsVsRival: mean(models.map((row) => ratio(row, 'ours float', 'theirs float'))),
    worstModelVsRival: number(
      least(
        ...table('model').flatMap((row) => [
          ratio(row, 'ours int8', 'theirs int8'),
          ratio(row, 'ours float', 'theirs float'),
        ]),
      ),
    ),
    int8ModelsVsOwnFloat: mean(models.map(({ ms }) => ms['ours float'] / ms['ours int8'])),
    int4VsOwnFloatM1: mean(
      gemm
        .filter(({ size: [m, k] }) => m === 1 && k === 4096)
        .map(({ ms }) => ms['ours MatMul'] / ms['ours MatMulNBits']),
    ),
    twoThreads: twoThreads('ours'),
    twoThreadsOfRival: twoThreads('theirs'),
    loadVsRival: mean(fresh.map(({ ours, theirs }) => theirs.load / ours.load)),
    wasmBytes: Math.max(...downloads.builds.map(({ bytes }) => bytes)),
    wasmGzipBytes: Math.max(...downloads.builds.map(({ gzip }) => gzip)),
    runWasmBytes: Math.max(...runs.map(({ bytes }) => bytes)),
    runWasmGzipBytes: Math.max(...runs.map(({ gzip }) => gzip)),
    peakMemoryVsRival: mean(
      fresh.map(({ ours, theirs }) => (ours.peak && theirs.peak ? theirs.peak / ours.peak : NaN)),
    ),
  };
}
