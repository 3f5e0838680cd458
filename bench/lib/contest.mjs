// Runs jobs: files that several engines run on the same inputs. Outputs are compared first; an engine whose outputs differ
// is named, and not timed. Works in Node and in browsers; `load(name)` gives the bytes of a file of the jobs'.
//
// job: { id, entrants: [{ name, engine, file }], feeds: { input: { type, dims, file } }, pairs: [[name, name]], tolerance }
// Entrants may have feeds of their own. `pairs` are to agree: to `tolerance.relative` of the largest magnitude, or to
// `tolerance.sqnr` decibels.

import { agreement, race } from './measure.mjs';

const arrays = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  int64: BigInt64Array,
};

async function loadFeeds(feeds, load) {
  const entries = Object.entries(feeds).map(async ([name, { type, dims, file }]) => {
    const bytes = await load(file);
    const aligned = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    return [name, { type, dims, data: new arrays[type](aligned) }];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** Why two engines' outputs cannot pass for the same; undefined if they can. */
function difference(reference, candidate, { relative, sqnr }) {
  for (const [name, { data }] of Object.entries(reference)) {
    const other = candidate[name] ?? Object.values(candidate)[0];
    if (other.data.length !== data.length) return `${name}: ${other.data.length} numbers, not ${data.length}`;
    const found = agreement(data, other.data);
    if (relative !== undefined && !(found.maxAbs <= relative * found.magnitude)) {
      return `${name}: ${found.maxAbs} apart, of ${found.magnitude}`;
    }
    if (sqnr !== undefined && !(found.sqnr >= sqnr))
      return `${name}: they agree to ${found.sqnr.toFixed(1)} dB only`;
  }
  return undefined;
}

async function runJob(job, engines, load, timing) {
  const result = { id: job.id, ms: {}, differs: {}, failed: {} };
  const files = new Map();
  const fileOf = async (name) => {
    if (!files.has(name)) files.set(name, await load(name));
    return files.get(name);
  };
  const opened = {};
  const outputs = {};
  const calls = {};
  for (const { name, engine, file, feeds } of job.entrants) {
    if (!engines[engine]) continue;
    try {
      const entrant = await engines[engine].open(await fileOf(file));
      opened[name] = entrant;
      const tensors = entrant.prepare(await loadFeeds(feeds ?? job.feeds, load));
      outputs[name] = await entrant.run(tensors);
      calls[name] = () => entrant.run(tensors);
    } catch (error) {
      result.failed[name] = String(error?.message ?? error);
    }
  }
  files.clear();
  for (const [reference, candidate, tolerance] of job.pairs ?? []) {
    if (!outputs[reference] || !outputs[candidate]) continue;
    const found = difference(outputs[reference], outputs[candidate], tolerance ?? job.tolerance);
    if (found) result.differs[candidate] = `${reference} and ${candidate} differ: ${found}`;
  }
  result.ms = await race(calls, timing);
  for (const entrant of Object.values(opened)) await entrant.close();
  return result;
}

export async function runJobs(jobs, engines, load, timing, report = () => {}) {
  const results = [];
  // Modules go on being compiled while they run, beside what is measured first: so the first job runs once uncounted.
  if (jobs.length > 0) await runJob(jobs[0], engines, load, timing);
  for (const job of jobs) {
    results.push(await runJob(job, engines, load, timing));
    report(job.id);
  }
  return results;
}
