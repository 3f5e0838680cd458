// One model in every scheme: our file and the rival's own, in every runtime that is here.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onnxRuntime } from '../lib/engines.mjs';
import { race } from '../lib/measure.mjs';
import { agreement, slug } from '../strangers/model.mjs';

/** `theirs`: what the rival makes of the same kind (runtimes.py). */
export const schemes = {
  static: { options: { mode: 'static' }, samples: true, theirs: 'static' },
  dynamic: { options: { mode: 'dynamic' }, theirs: 'dynamic' },
  'int8 weights': { options: { mode: 'weight-only' }, theirs: 'weights8' },
  'int4 weights': { options: { mode: 'weight-only', weights: 'int4' }, samples: true, theirs: 'weights4' },
  float16: { options: { mode: 'float16' } },
};

export const web = 'ONNX Runtime Web';
export const native = 'ONNX Runtime';
/** What the package calls a runtime; the others get files for the default one. */
const nameOf = { [native]: 'onnxruntime', [web]: 'onnxruntime-web', OpenVINO: 'openvino' };

const messageOf = (error) => `${error?.message ?? error}`.replaceAll('\n', ' ').slice(0, 300);

/** ONNX Runtime Web in this process; sessions by path, which `close` ends. */
function webRuntime(module) {
  const engine = onnxRuntime(module, { threads: 1 });
  const sessions = new Map();
  const open = async (path) => {
    if (!sessions.has(path)) sessions.set(path, await engine.open(readFileSync(path)));
    return sessions.get(path);
  };
  return {
    async outputs(path, samples) {
      const session = await open(path);
      const runs = [];
      for (const feeds of samples) {
        const outputs = await session.run(session.prepare(feeds));
        runs.push(
          Object.fromEntries(
            Object.entries(outputs).map(([name, { data }]) => [name, { data: data.slice() }]),
          ),
        );
      }
      return runs;
    },
    async race(paths, feeds, seconds) {
      const contestants = {};
      for (const [name, path] of Object.entries(paths)) {
        const session = await open(path);
        const prepared = session.prepare(feeds);
        contestants[name] = () => session.run(prepared);
      }
      return race(contestants, { warmUp: 200, budget: seconds * 1000, rounds: [3, 60] });
    },
    async close() {
      for (const session of sessions.values()) await session.close();
      sessions.clear();
    },
  };
}

/**
 * Measures a model. `model`: { name, file, bytes }; `samples`: { calibration, heldOut, paths: { calibration, heldOut } };
 * `context`: { zeropoint, theirs (runtimes.py), runtimes (names), chosen (schemes), seconds (of each contestant; 0: no
 * times), folder, limit, report (text) }.
 *
 * Answers { name, bytes, float: { runtime → { db, ms } or { error } }, rows: [{ scheme, runtime, who, bytes, db, ms } or
 * { …, error }], left: [{ who, operators, beside }] } (runtimes.py: optimized).
 */
export async function measure(model, samples, context) {
  const { zeropoint, theirs, runtimes, chosen, seconds, report } = context;
  const folder = join(context.folder, slug(model.name));
  mkdirSync(folder, { recursive: true });
  const out = join(folder, 'outputs.bin');
  const { heldOut } = samples.paths;
  const result = { name: model.name, bytes: model.bytes, float: {}, rows: [], left: [] };

  // What there is to open: for each scheme the rival's file, and ours for each runtime.
  const known = new Set((await zeropoint.choices()).runtimes.map(({ name }) => name));
  const keyOf = (runtime) => (known.has(nameOf[runtime]) ? nameOf[runtime] : 'onnxruntime');
  const source = await zeropoint.Model.load(readFileSync(model.file));
  const files = new Map(); // scheme → { theirs: path, ours: { runtime → path } }
  for (const scheme of chosen) {
    const { options, samples: wanted, theirs: kind } = schemes[scheme];
    const made = { scheme, ours: {}, errors: {} };
    files.set(scheme, made);
    for (const runtime of runtimes) {
      const key = keyOf(runtime);
      if (key in made.ours || key in made.errors) continue;
      const signal = AbortSignal.timeout(context.limit * 1000);
      try {
        const { model: small, report: said } = await source.quantize({
          ...options,
          runtime: key,
          ...(wanted && { calibration: samples.calibration }),
          layerErrors: 0,
          signal,
        });
        const path = join(folder, `${slug(scheme)}.${key}.onnx`);
        writeFileSync(path, await small.toBytes());
        await small.dispose();
        made.ours[key] = path;
        made.bytes ??= said.sizeAfter;
      } catch (error) {
        made.errors[key] = signal.aborted
          ? `quantizing took longer than ${context.limit} s`
          : messageOf(error);
      }
    }
    if (kind) {
      const path = join(folder, `${slug(scheme)}.theirs.onnx`);
      try {
        const { bytes } = await theirs.ask({
          do: 'quantize',
          model: model.file,
          target: path,
          kind,
          samples: samples.paths.calibration,
        });
        Object.assign(made, { theirs: path, theirBytes: bytes });
      } catch (error) {
        made.theirError = messageOf(error);
      }
    }
    report(`${scheme}: made${made.theirError ? `; the rival: ${made.theirError}` : ''}`);
  }
  await source.dispose();

  const reference = await theirs.run(model.file, heldOut, { runtime: native, plain: true, out });
  await theirs.ask({ do: 'forget' });
  for (const runtime of runtimes) {
    const inWeb = runtime === web ? webRuntime(context.webModule) : undefined;
    const outputsOf = (path) =>
      inWeb ? inWeb.outputs(path, samples.heldOut) : theirs.run(path, heldOut, { runtime, out });
    const contestants = {};
    const attempt = async (name, path) => {
      try {
        const found = agreement(reference, await outputsOf(path));
        contestants[name] = path;
        return { db: found.db };
      } catch (error) {
        return { error: messageOf(error) };
      }
    };
    result.float[runtime] = await attempt('float', model.file);
    const rows = [];
    for (const made of files.values()) {
      const key = keyOf(runtime);
      const entrants = [
        ['ours', made.ours[key], made.errors[key], made.bytes],
        ['theirs', made.theirs, made.theirError, made.theirBytes],
      ];
      for (const [who, path, error, bytes] of entrants) {
        if (path === undefined && error === undefined) continue;
        const row = {
          scheme: made.scheme,
          runtime,
          who,
          bytes,
          ...(path === undefined && { made: false, error }),
        };
        rows.push(row);
        if (path !== undefined) Object.assign(row, await attempt(`${made.scheme} ${who}`, path));
      }
    }
    if (seconds > 0 && Object.keys(contestants).length > 0) {
      try {
        const ms = inWeb
          ? await inWeb.race(contestants, samples.heldOut[0], seconds)
          : (await theirs.ask({ do: 'race', runtime, models: contestants, sample: heldOut[0], seconds })).ms;
        result.float[runtime].ms = ms.float;
        for (const row of rows) row.ms = ms[`${row.scheme} ${row.who}`];
      } catch (error) {
        report(`${runtime}: no times: ${messageOf(error)}`);
      }
    }
    await inWeb?.close();
    if (!inWeb) await theirs.ask({ do: 'forget' }).catch(() => {});
    result.rows.push(...rows);
    report(`${runtime}: ${rows.filter((row) => !row.error).length} of ${rows.length} files run`);
  }

  const made = files.get('static');
  if (made) {
    const key = keyOf(native);
    for (const [who, path] of [
      ['ours', made.ours[key]],
      ['theirs', made.theirs],
    ]) {
      if (!path) continue;
      try {
        result.left.push({ who, ...(await theirs.ask({ do: 'optimized', model: path })) });
      } catch (error) {
        result.left.push({ who, error: messageOf(error) });
      }
    }
  }
  return result;
}
