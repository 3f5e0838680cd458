// node lib/node-contest.mjs FOLDER THREADS: runs the jobs of FOLDER/jobs.json in this process, and prints their results.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runJobs } from './contest.mjs';
import { onnxRuntime, zeropoint } from './engines.mjs';

const [folder, threads] = process.argv.slice(2);
const { jobs, timing } = JSON.parse(readFileSync(join(folder, 'jobs.json'), 'utf8'));
const options = { threads: Number(threads) };
// ONNX Runtime Web runs in the thread that calls it: so do we here.
const engines = {
  ours: zeropoint(await import('../../dist/node.js'), { ...options, worker: false }),
  theirs: onnxRuntime(await import('onnxruntime-web'), options),
};
const results = await runJobs(
  jobs,
  engines,
  (name) => readFileSync(join(folder, name)),
  timing,
  (id) => process.stderr.write(`${id}\n`),
);
const info = await engines.ours.info();
process.stdout.write(JSON.stringify({ results, info: { ...info, version: process.version } }));
process.exit(); // ONNX Runtime's threads would keep the process
