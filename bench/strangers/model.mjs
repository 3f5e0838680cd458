// One model in all modes, here and in ONNX Runtime. Its results are kept in a file after each step: a later run measures
// only the missing ones.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from '../lib/measure.mjs';
import { feedsOf } from './inputs.mjs';
import { home } from './packages.mjs';
import { canSpeak } from './sound.mjs';
import { Theirs } from './theirs.mjs';

/** `blind`: without samples, which it does not need. */
export const modes = {
  static: { mode: 'static' },
  'static, operators': { mode: 'static', format: 'qoperator' },
  dynamic: { mode: 'dynamic', blind: true },
  'dynamic, operators': { mode: 'dynamic', format: 'qoperator', blind: true },
  'weight-only int8': { mode: 'weight-only', blind: true },
  'weight-only int4': { mode: 'weight-only', weights: 'int4' },
  auto: { mode: 'auto' },
  float16: { mode: 'float16', blind: true },
};
/** ONNX Runtime's own quantizer. */
export const theirModes = { static: 'static', dynamic: 'dynamic' };

const calibrationSamples = 8;
const heldOutSamples = 4;
const heldOutFrom = 1000;
/** Goes up when what is measured changes its meaning: results that are kept are then measured again. */
const meaning = 2;
const theirMeaning = 2;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const digest = (...parts) =>
  parts
    .reduce((hash, part) => hash.update(part), createHash('sha256'))
    .digest('hex')
    .slice(0, 12);

/** What changes when the package that is measured does. */
export const buildOf = (dist) =>
  digest(
    ...['wasm/simd-threads.wasm', 'wasm/relaxed-threads.wasm', 'node.js'].map((file) =>
      readFileSync(join(dist, file)),
    ),
  );

export const slug = (name) => name.replaceAll(/[^\w.@-]+/g, '+');
export const resultsFile = (build, name) => join(home, 'results', build, `${slug(name)}.json`);

/**
 * How well outputs agree with those of the reference, over all samples: dB and cosine of the output where they agree
 * worst. Differences below 1e-7 are none: a probability that is 0 in one runtime may be 1e-9 in another. 200 dB stand for
 * equal numbers, -200 for such as are not finite where they should be.
 */
export function agreement(reference, outputs) {
  let worst = { db: 200, cosine: 1 };
  for (const name of Object.keys(reference[0])) {
    let [signal, noise, product, other] = [0, 0, 0, 0];
    for (const [i, { [name]: expected }] of reference.entries()) {
      const found = outputs[i][name];
      if (!found) throw new Error(`there is no output '${name}'`);
      if (found.data.length !== expected.data.length) {
        throw new Error(`output '${name}' has ${found.data.length} numbers, not ${expected.data.length}`);
      }
      for (let at = 0; at < expected.data.length; ++at) {
        const [a, b] = [Number(expected.data[at]), Number(found.data[at])];
        if (Object.is(a, b) && !Number.isFinite(a)) continue;
        signal += a * a;
        other += b * b;
        product += a * b;
        if (!(Math.abs(a - b) < 1e-7)) noise += (a - b) ** 2;
      }
    }
    const db = noise === 0 ? 200 : Number.isFinite(noise) ? 10 * Math.log10(signal / noise) : -200;
    const cosine = noise === 0 ? 1 : Number.isFinite(noise) ? product / Math.sqrt(signal * other) || 0 : 0;
    worst = {
      db: Math.min(worst.db, Math.max(-200, Math.min(200, db))),
      cosine: Math.min(worst.cosine, cosine),
    };
  }
  return worst;
}

/** What is wrong, and where. */
function messageOf(error) {
  const { node, op, tensor } = error?.details ?? {};
  const place = [op, node && `node '${node}'`, tensor && `tensor '${tensor}'`].filter(Boolean).join(', ');
  return `${error?.message ?? error}${place ? ` (${place})` : ''}`.slice(0, 600);
}

/** float16 and bfloat16 as the numbers that their bits mean; all other types as they are. */
function numbersOf({ type, data }) {
  if (type === 'bfloat16') return new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer);
  if (type !== 'float16') return data;
  return Float32Array.from(data, (bits) => {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const magnitude =
      exponent === 31
        ? fraction
          ? Number.NaN
          : Infinity
        : exponent === 0
          ? fraction * 2 ** -24
          : (1024 + fraction) * 2 ** (exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
  });
}

/** A session of ours, opened as a user would: from bytes, or from a path, beside which weights may lie. */
async function open(zeropoint, source, limit) {
  const model = await zeropoint.Model.load(source);
  try {
    const session = await model.createSession({ threads: 1 });
    const run = (feeds) => session.run(feeds, { signal: AbortSignal.timeout(limit * 1000) });
    return {
      model,
      run,
      async outputs(samples) {
        const runs = [];
        for (const feeds of samples) {
          const outputs = Object.entries(await run(feeds));
          runs.push(Object.fromEntries(outputs.map(([name, tensor]) => [name, { data: numbersOf(tensor) }])));
        }
        return runs;
      },
      async close() {
        await session.dispose();
        await model.dispose();
      },
    };
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

/** The samples as .npz files and as tensors; made once. */
export async function samplesOf({ name, file, hash }, { zeropoint, theirs, images, fileOf }) {
  const maker = digest(
    readFileSync(here('inputs.mjs')),
    readFileSync(here('sound.mjs')),
    canSpeak() ? 'spoken' : 'hummed',
    readFileSync(here('../lib/inputs.mjs')),
    hash,
    images ? 'photographs' : 'drawings',
  );
  const folder = join(home, 'samples', slug(name));
  const stamp = join(folder, 'made-by');
  const seeds = [
    ...Array.from({ length: calibrationSamples }, (_, i) => i),
    ...Array.from({ length: heldOutSamples }, (_, i) => heldOutFrom + i),
  ];
  const path = (seed) => join(folder, `${seed}.npz`);
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== maker) {
    mkdirSync(folder, { recursive: true });
    const { inputs } = await theirs.ask({ do: 'inputs', model: file });
    const feed = join(folder, 'feed.npz');
    const run = async (feeds, model = file) => {
      writeFileSync(feed, await zeropoint.writeNpz(feeds));
      const [outputs] = await theirs.run(model, [feed], { optimized: true, out: join(folder, 'feed.bin') });
      return outputs;
    };
    for (const seed of seeds) {
      const feeds = await feedsOf(name, { inputs, run, fileOf, zeropoint, images }, seed);
      writeFileSync(path(seed), await zeropoint.writeNpz(feeds));
    }
    writeFileSync(stamp, maker);
  }
  const read = async (seed) => zeropoint.readNpz(new Uint8Array(readFileSync(path(seed))));
  const [calibration, heldOut] = [seeds.slice(0, calibrationSamples), seeds.slice(calibrationSamples)];
  return {
    maker,
    paths: { calibration: calibration.map(path), heldOut: heldOut.map(path) },
    calibration: await Promise.all(calibration.map(read)),
    heldOut: await Promise.all(heldOut.map(read)),
  };
}

/**
 * Medians in milliseconds. Contestants take turns; ours are calls, ONNX Runtime's are timed by its own process.
 */
async function race(contestants, seconds) {
  const entries = Object.entries(contestants);
  const samples = Object.fromEntries(entries.map(([name]) => [name, []]));
  const runs = {};
  for (const [name, time] of entries) {
    await time(2); // V8 compiles twice, and caches are cold
    runs[name] = Math.max(1, Math.min(20, Math.floor(10 / (await time(1)))));
  }
  const end = performance.now() + seconds * 1000 * entries.length;
  for (let round = 0; round < 3 || (round < 15 && performance.now() < end); ++round) {
    for (let i = 0; i < entries.length; ++i) {
      const [name, time] = entries[(i + round) % entries.length];
      samples[name].push(await time(runs[name]));
    }
  }
  return Object.fromEntries(entries.map(([name]) => [name, median(samples[name])]));
}

/** Whether words of the report name one of the layers. */
const namesLayer = (report) =>
  report.findings.length > 0 ||
  report.warnings.some((text) =>
    report.layers.some(
      ({ node, output }) => (node && text.includes(node)) || (output && text.includes(output)),
    ),
  );

/**
 * Measures a model, and keeps the results. `context`: { zeropoint, build, python, limit (seconds of a step), images,
 * fileOf (the path of another model, by the end of its name), modes (names), times (seconds of each contestant, or 0),
 * again (whether results that are kept are dropped), report (text) }.
 */
export async function measure(model, context) {
  const { zeropoint, build, limit, times, report } = context;
  const theirs = new Theirs(context.python, limit);
  const path = resultsFile(build, model.name);
  const theirPath = resultsFile('onnxruntime', model.name);
  const kept = (file) => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {});
  const described = { name: model.name, bytes: model.bytes, packages: model.packages };
  const results = { ...(context.again ? {} : kept(path)), ...described };
  // What ONNX Runtime's quantizer does is the same beside every build.
  const rivals = kept(theirPath);
  const save = () => {
    results.theirs = rivals.rows;
    for (const [file, content] of [
      [path, results],
      [theirPath, rivals],
    ]) {
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(`${file}.new`, JSON.stringify(content, null, 1));
      renameSync(`${file}.new`, file);
    }
  };
  const files = join(home, 'files', build);
  mkdirSync(files, { recursive: true });
  const out = join(files, `${slug(model.name)}.out`);
  const opened = {};
  const timer = (entrant, feeds) => async (count) => {
    const start = performance.now();
    for (let i = 0; i < count; ++i) await entrant.run(feeds);
    return (performance.now() - start) / count;
  };
  try {
    let samples;
    try {
      samples = await samplesOf(model, { ...context, theirs });
    } catch (error) {
      results.samples = messageOf(error);
      return;
    }
    const state = `${samples.maker} ${model.hash} ${meaning}`;
    if (results.state !== state)
      Object.assign(results, { state, samples: undefined, float: undefined, rows: {} });
    const rivalState = `${state} ${theirMeaning}`;
    if (rivals.state !== rivalState) Object.assign(rivals, { state: rivalState, rows: {} });
    const { heldOut } = samples.paths;
    const theirTimer = (file) => async (runs) =>
      (await theirs.ask({ do: 'time', model: file, sample: heldOut[0], runs })).ms;

    let reference;
    try {
      reference = await theirs.run(model.file, heldOut, { optimized: false, out });
    } catch (error) {
      results.samples = `ONNX Runtime does not run it: ${messageOf(error)}`;
      return;
    }

    // The float model: does it run, and is it the same?
    let float;
    try {
      opened.float = await open(zeropoint, model.file, limit);
      float = await opened.float.outputs(samples.heldOut);
    } catch (error) {
      results.float = { error: messageOf(error), code: error.code };
    }
    if (float && !results.float?.db) {
      try {
        results.float = agreement(reference, float);
      } catch (error) {
        results.float = { error: messageOf(error) };
      }
    }
    save();
    report(`float: ${results.float.error ?? `${results.float.db.toFixed(0)} dB`}`);

    // ONNX Runtime's own quantizer on the same samples.
    for (const [name, mode] of Object.entries(theirModes)) {
      if (
        !context.modes.some((chosen) => chosen.startsWith(name) || chosen === 'auto') ||
        results.theirs[name]
      )
        continue;
      const target = join(files, `${slug(model.name)}.theirs-${mode}.onnx`);
      const row = {};
      try {
        const made = await theirs.ask({
          do: 'quantize',
          model: model.file,
          target,
          mode,
          samples: samples.paths.calibration,
        });
        Object.assign(
          row,
          made,
          agreement(reference, await theirs.run(target, heldOut, { optimized: false, out })),
        );
        row.optimized = agreement(reference, await theirs.run(target, heldOut, { optimized: true, out }));
        if (times)
          row.ms = await race({ float: theirTimer(model.file), quantized: theirTimer(target) }, times);
      } catch (error) {
        row.error = messageOf(error);
      }
      rivals.rows[name] = row;
      save();
      report(`ONNX Runtime's ${name}: ${row.error ?? `${row.db.toFixed(1)} dB`}`);
    }

    for (const name of context.modes) {
      if (results.rows[name]) continue;
      const row = {};
      const { blind, ...how } = modes[name];
      const target = join(files, `${slug(model.name)}.${slug(name)}.onnx`);
      const source = opened.float?.model ?? (await zeropoint.Model.load(model.file).catch(() => undefined));
      try {
        const started = performance.now();
        const { model: quantized, report: made } = await (
          source ?? (await zeropoint.Model.load(model.file))
        ).quantize({
          ...how,
          ...(!blind && { calibration: samples.calibration }),
          signal: AbortSignal.timeout(limit * 1000),
        });
        row.seconds = (performance.now() - started) / 1000;
        const file = await quantized.toBytes();
        await quantized.dispose();
        writeFileSync(target, file);
        Object.assign(row, {
          bytes: file.length,
          layers: made.layers.length,
          layersQuantized: made.layersQuantized,
          weights: [made.weightBytesBefore, made.weightBytesAfter],
          warnings: made.warnings,
          repairs: made.repairs,
          findings: made.findings.slice(0, 5).map(({ node, text }) => `${node}: ${text}`),
          named: namesLayer(made),
        });
        let ours;
        try {
          opened.quantized = await open(zeropoint, file, limit);
          ours = await opened.quantized.outputs(samples.heldOut);
          row.ours = agreement(reference, ours);
        } catch (error) {
          row.ours = { error: messageOf(error) };
        }
        try {
          const plain = await theirs.run(target, heldOut, { optimized: false, out });
          Object.assign(row, agreement(reference, plain));
          if (ours) row.agree = agreement(plain, ours);
          row.optimized = agreement(reference, await theirs.run(target, heldOut, { optimized: true, out }));
        } catch (error) {
          row.refused = messageOf(error);
        }
        if (times && !row.ours.error) {
          row.ms = await race(
            {
              ...(opened.float && { float: timer(opened.float, samples.heldOut[0]) }),
              quantized: timer(opened.quantized, samples.heldOut[0]),
              theirFloat: theirTimer(model.file),
              ...(!row.refused && { theirs: theirTimer(target) }),
            },
            times,
          );
        }
      } catch (error) {
        row.error = messageOf(error);
        row.code = error.code;
      }
      if (source && source !== opened.float?.model) await source.dispose();
      await opened.quantized?.close();
      opened.quantized = undefined;
      results.rows[name] = row;
      save();
      const accuracy = (value) =>
        value ? `${value.db.toFixed(1)} dB, cosine ${value.cosine.toFixed(4)}` : '–';
      report(
        `${name}: ${row.error ?? (row.refused ? `ONNX Runtime refuses it: ${row.refused}` : accuracy(row))}`,
      );
    }
  } finally {
    if (results.samples) report(results.samples);
    save();
    await opened.float?.close();
    theirs.close();
  }
}
