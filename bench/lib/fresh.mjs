// node lib/fresh.mjs ENGINE FOLDER JOB-ID ENTRANT THREADS: a process of its own that loads an engine and a model, runs it, and
// says how long each took and how much memory the process ever had. ENGINE `none` only reads the file.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onnxRuntime, zeropoint } from './engines.mjs';

/** The most memory that this process held. Linux counts in getrusage what the parent held before exec, too; not so here. */
function peakBytes() {
  try {
    const [, kilobytes] = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s+(\d+) kB$/m);
    return Number(kilobytes) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

const [engine, folder, id, entrantName, threads] = process.argv.slice(2);
const job = JSON.parse(readFileSync(join(folder, 'jobs.json'), 'utf8')).jobs.find((one) => one.id === id);
const { file } = job.entrants.find(({ name }) => name === entrantName);
const bytes = readFileSync(join(folder, file));
const feeds = Object.fromEntries(
  Object.entries(job.feeds).map(([name, { type, dims, file: from }]) => {
    const { buffer, byteOffset, byteLength } = readFileSync(join(folder, from));
    const Type = type === 'int64' ? BigInt64Array : Float32Array;
    return [name, { type, dims, data: new Type(buffer.slice(byteOffset, byteOffset + byteLength)) }];
  }),
);
const result = {};
if (engine !== 'none') {
  const start = performance.now();
  const options = { threads: Number(threads) };
  const opened = await (engine === 'ours'
    ? zeropoint(await import('../../dist/node.js'), options)
    : onnxRuntime(await import('onnxruntime-web'), options)
  ).open(bytes);
  result.load = performance.now() - start;
  const tensors = opened.prepare(feeds);
  const before = performance.now();
  await opened.run(tensors);
  result.firstRun = performance.now() - before;
  for (let i = 0; i < 3; ++i) await opened.run(tensors);
}
result.peak = peakBytes();
process.stdout.write(JSON.stringify(result));
process.exit();
