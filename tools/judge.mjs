// node tools/judge.mjs [options]: native ONNX Runtime as the judge of what we write. Small graphs (tests/judge/graphs.py)
// and real models are quantized in every scheme, form and target; ONNX's checker looks at each file, ONNX Runtime opens and
// runs it, and its outputs are compared with our run of the file and with the float model.
//   --only TEXT     graphs whose name has it; several, with commas
//   --schemes a,b   schemes whose name has it (tests/judge/cases.mjs)
//   --targets a,b   targets whose name has it
//   --build NAME    one of the four WebAssembly builds (default: the best)
// The files that were judged stay in build/judge, with the results in build/judge/rows.json.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { exceptions, realModels, realSlack, schemes } from '../tests/judge/cases.mjs';
import { Failure, machineNode, root, run, runMain, step } from './process.mjs';
import { cacheFolderOf, ensureFolder, pythonWith } from './python.mjs';

const folder = join(root, 'tests', 'judge');
const requirements = join(folder, 'requirements.txt');
const work = join(root, 'build', 'judge');
/** The forms of a file; undefined: what the scheme or the target has by itself. */
const forms = [undefined, 'qdq', 'qoperator'];
/** Disagreements whose node is looked for, of one run. */
const mostLocated = 20;

/** So often in a row a job may end the process of the judge before it is taken for one that cannot work at all. */
const mostDeaths = 20;

/** judge.py: jobs go in as they come, and are answered in that order. */
class Judge {
  #python;
  #child;
  #waiting = new Map(); // by id, in the order of asking: the job, and who waits
  #deaths = 0; // in a row, without an answer between them
  #said = '';
  #closed = false;

  constructor(python) {
    this.#python = python;
    this.#start();
  }

  #start() {
    const child = spawn(this.#python, [join(folder, 'judge.py')], {
      cwd: root,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#said = '';
    child.stdin.on('error', () => {}); // it ended: `close` says so
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#said = (this.#said + text).slice(-4000);
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#deaths = 0;
      this.#answer(JSON.parse(line));
    });
    child.on('error', (error) => this.#end(error.message));
    child.on('close', (code, signal) => this.#end(signal ?? `exit code ${code}`));
  }

  #answer(answer) {
    this.#waiting.get(answer.id)?.answer(answer);
    this.#waiting.delete(answer.id);
  }

  /** Jobs are done in order: the process died of the first that waits. The others go to a new one, unless none works. */
  #end(why) {
    if (this.#closed || this.#waiting.size === 0) return;
    const text = `the judge ended (${why}): ${this.#said.trim().split('\n').at(-1)}`;
    const ids = [...this.#waiting.keys()];
    const works = ++this.#deaths < mostDeaths;
    for (const id of works ? ids.slice(0, 1) : ids) this.#answer({ id, faults: [{ kind: 'judge', text }] });
    this.#start();
    for (const { job } of this.#waiting.values()) this.#send(job);
  }

  #send(job) {
    this.#child.stdin.write(`${JSON.stringify(job)}\n`);
  }

  ask(job) {
    return new Promise((answer) => {
      this.#waiting.set(job.id, { job, answer });
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) this.#start();
      this.#send(job);
    });
  }

  close() {
    this.#closed = true;
    this.#child.kill();
  }
}

/** A model's bytes without what says who made it, and how (ModelProto's fields 2, 3 and 14): what makes two files one. */
function contentOf(bytes) {
  const hash = createHash('sha256');
  const varint = (at) => {
    let [value, factor, next] = [0, 1, at];
    for (;;) {
      const byte = bytes[next++];
      value += (byte & 127) * factor;
      if (byte < 128) return [value, next];
      factor *= 128;
    }
  };
  for (let at = 0; at < bytes.length; ) {
    const start = at;
    const [tag, first] = varint(at);
    const [value, next] = varint(first);
    at = tag % 8 === 2 ? next + value : next;
    if (![2, 3, 14].includes(Math.floor(tag / 8))) hash.update(bytes.subarray(start, at));
  }
  return hash.digest('hex');
}

/** Dark strokes on light ground, which text models answer to; in [-2, 1.3]. The same numbers in every run. */
function writing(dims, seed) {
  let state = (seed * 2654435761) >>> 0;
  const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const [batch, channels, height, width] = dims;
  const data = new Float32Array(batch * channels * height * width);
  for (let image = 0; image < batch; ++image) {
    const page = new Float32Array(height * width).fill(1.2);
    for (let y = 6; y + 14 < height; y += 20) {
      for (let x = 5; x + 12 < width; x += 11) {
        for (let stroke = 0; stroke < 3; ++stroke) {
          const isVertical = random(2) === 0;
          const at = random(7);
          for (let t = 0; t < (isVertical ? 13 : 8); ++t) {
            const [row, column] = isVertical ? [y + t, x + at] : [y + 2 * at, x + t];
            page[row * width + column] = -2;
          }
        }
      }
    }
    for (let channel = 0; channel < channels; ++channel) {
      data.set(page, (image * channels + channel) * page.length);
    }
  }
  return data;
}

/** What is judged: { name, file, calibration: feeds, heldOut: feeds, samples: paths of heldOut, floor, unsupported, isReal }. */
async function subjects(zp, python) {
  const graphs = cacheFolderOf('judge-graphs', [requirements, join(folder, 'graphs.py')]);
  await ensureFolder(graphs, (unfinished) =>
    step('small graphs', () => run(python, [join(folder, 'graphs.py'), unfinished], { quiet: true })),
  );
  const read = (paths) => Promise.all(paths.map((path) => zp.readNpz(new Uint8Array(readFileSync(path)))));
  const small = JSON.parse(readFileSync(join(graphs, 'index.json'), 'utf8')).map((entry) => {
    const files = (kind) =>
      readdirSync(join(graphs, entry.name, kind)).map((name) => join(graphs, entry.name, kind, name));
    return {
      ...entry,
      file: join(graphs, entry.name, 'model.onnx'),
      prepare: async () => ({
        samples: files('held-out'),
        calibration: await read(files('calibration')),
        heldOut: await read(files('held-out')),
      }),
    };
  });
  const real = realModels.map(({ name, file, feeds }) => ({
    name,
    file: join(root, file),
    floor: realSlack,
    isReal: true,
    prepare: async (out) => {
      const sample = (seed) =>
        Object.fromEntries(
          Object.entries(feeds).map(([key, dims]) => [
            key,
            new zp.Tensor('float32', writing(dims, seed), dims),
          ]),
        );
      const path = join(out, 'held-out.npz');
      writeFileSync(path, await zp.writeNpz(sample(100)));
      return { samples: [path], calibration: [1, 2, 3, 4].map(sample), heldOut: [sample(100)] };
    },
  }));
  const digits = real.find(({ file }) => !existsSync(file));
  if (digits)
    await step('digits', () => run(machineNode, [join(root, 'tools', 'digits.mjs')], { quiet: true }));
  return [...small, ...real];
}

/** Schemes with the targets that they meet. A real model has what meets every target, and those in mode static only. */
function* casesOf({ isReal }, targets, chosen) {
  for (const [scheme, { options, floor, everywhere, lowest }] of Object.entries(schemes)) {
    if (isReal && !everywhere) continue;
    const meetsAll = everywhere && (!isReal || scheme === 'static');
    for (const [i, target] of targets.entries()) {
      if ((i === 0 || meetsAll) && chosen(scheme, target)) yield { scheme, options, floor, lowest, target };
    }
  }
}

/** Runs a file of ours on samples; answers the paths of what came out. */
async function ourRun(zp, file, bytes, samples) {
  const model = await zp.Model.load(bytes);
  try {
    const session = await model.createSession({ threads: 1 });
    const paths = [];
    for (const [i, feeds] of samples.entries()) {
      const taken = Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]]));
      const path = `${file}.${i}.npz`;
      writeFileSync(path, await zp.writeNpz(await session.run(taken)));
      paths.push(path);
    }
    await session.dispose();
    return paths;
  } finally {
    await model.dispose();
  }
}

/** Quantizes one subject in every way, and hands the files to the judge. Rows are filled in as answers come. */
async function judgeSubject(subject, { zp, theJudge, targets, chosen, rows, pending }) {
  const out = join(work, subject.name.replaceAll(' ', '-'));
  mkdirSync(out, { recursive: true });
  const { samples, calibration, heldOut } = await subject.prepare(out);
  const failed = (error) => ({ error: error.message, code: error.code, details: error.details });
  let model;
  try {
    model = await zp.Model.load(subject.file);
  } catch (error) {
    rows.push({ graph: subject.name, scheme: 'float', form: 'any', ...failed(error) });
    return;
  }
  const verdicts = new Map();
  for (const { scheme, options, floor, lowest, target } of casesOf(subject, targets, chosen)) {
    const row = { graph: subject.name, scheme, target, form: 'any' };
    let small;
    let opset;
    try {
      const how = { ...options, ...(target && { runtime: target }) };
      small = await model.quantize({ ...how, calibration, layerErrors: 0 });
      if (lowest) opset = (await small.model.inspect()).lowestOpset;
    } catch (error) {
      rows.push({ ...row, ...failed(error) });
      continue;
    }
    for (const form of forms) {
      const own = { ...row, form: form ?? 'default', warnings: small.report.warnings };
      rows.push(own);
      try {
        const bytes = await small.model.toBytes({ ...(form && { format: form }), ...(opset && { opset }) });
        const content = contentOf(bytes);
        if (!verdicts.has(content)) {
          const id = `${subject.name}/${verdicts.size}`;
          const name = [scheme, own.form, target]
            .filter(Boolean)
            .join('.')
            .replaceAll(/[^\w.]+/g, '-');
          const file = join(out, `${name}.onnx`);
          writeFileSync(file, bytes);
          let ours = null;
          try {
            let fed = heldOut;
            if (options.inputs === 'quantized') {
              const feeds = samples.map((_, i) => `${file}.fed${i}.npz`);
              const { faults } = await theJudge.ask({ id: `${id}/feeds`, file, samples, feeds });
              if (faults.length > 0) throw new Error(faults[0].text);
              fed = await Promise.all(feeds.map((path) => zp.readNpz(new Uint8Array(readFileSync(path)))));
            }
            ours = await ourRun(zp, file, bytes, fed);
          } catch (error) {
            own.ours = failed(error);
          }
          const job = {
            id,
            float: subject.file,
            file,
            samples,
            ours,
            floor: floor - (subject.floor ?? 0),
            deep: subject.isReal ?? false,
          };
          verdicts.set(content, { file, verdict: theJudge.ask(job) });
        }
        const { file, verdict } = verdicts.get(content);
        own.file = relative(root, file);
        pending.push(
          verdict.then((answer) => {
            own.answer = answer;
          }),
        );
      } catch (error) {
        Object.assign(own, failed(error));
      }
    }
    await small.model.dispose();
  }
  await model.dispose();
}

/** The first node whose result differs from ONNX Runtime's: the file with all that it computes as outputs, run in both. */
async function locate(row, { zp, theJudge }) {
  const file = join(root, row.file);
  const { samples } = row.answer;
  const probe = file.replace(/onnx$/, 'probe.onnx');
  const { faults } = await theJudge.ask({ id: `${file}/probe`, file, probe });
  if (faults.length > 0) return undefined;
  try {
    const feeds = await Promise.all(samples.map((path) => zp.readNpz(new Uint8Array(readFileSync(path)))));
    const ours = await ourRun(zp, probe, new Uint8Array(readFileSync(probe)), feeds);
    return (await theJudge.ask({ id: `${file}/locate`, file: probe, samples, ours, locate: true })).node;
  } catch {
    return undefined; // with other outputs it may not even run: then there is no node to name
  }
}

/** Whether a refusal of ours is what is said of the graph, or of the runtime, which is refused by its name. */
const isKnown = (failure, { target }, { unsupported }) =>
  (unsupported && failure.code?.startsWith('unsupported') && failure.error.includes(unsupported)) ||
  (failure.code === 'invalid-argument' && failure.error.includes(`runtime '${target}'`));

/** What is wrong with a row: { kind, text }. */
function faultsOf(row, subject) {
  const { error, code, details, ours, answer, target, warnings } = row;
  const faults = [];
  if (error && !isKnown({ error, code }, row, subject)) {
    const place = [details?.node, details?.op].filter(Boolean).join(', ');
    faults.push({ kind: 'error', text: `${code}: ${error}${place ? ` (${place})` : ''}` });
  }
  if (ours && !isKnown(ours, row, subject))
    faults.push({ kind: 'ours', text: `we do not run the file: ${ours.error}` });
  for (const { kind, text, optimized } of answer?.faults ?? []) {
    // What a target's rules make unfit for ONNX Runtime, the report says.
    const isSaid =
      ['refused', 'fails'].includes(kind) &&
      target &&
      warnings.some((words) => words.includes(target) && words.includes('ONNX Runtime'));
    if (isSaid) continue;
    const how = optimized === null || optimized === undefined ? '' : optimized ? ', optimized' : ', plain';
    faults.push({ kind, text: `${kind}${how}: ${text}` });
  }
  return faults;
}

const placeOf = ({ graph, scheme, form, target }) =>
  [graph, scheme, form, target].filter(Boolean).join(' · ');

const has = (list) => (name) => !list || list.split(',').some((text) => (name ?? '').includes(text));

/** Runs the suite: { passed, failed, skipped, failures: a line each }. */
export async function judge({ only, schemes: some, targets: these, build } = {}) {
  const python = await pythonWith(requirements);
  const zp = await import(pathToFileURL(join(root, 'dist', 'node.js')).href);
  zp.configure({ threads: 1, ...(build && { build }) });
  const { modes, runtimes } = await zp.choices();
  const missing = modes.filter(
    (mode) => !Object.values(schemes).some(({ options }) => options.mode === mode),
  );
  if (missing.length > 0)
    throw new Failure(`tests/judge/cases.mjs has no scheme of mode ${missing.join(', ')}`);
  const targets = runtimes.map(({ name }) => name);
  const isWhole = !only && !some && !these;

  const all = (await subjects(zp, python)).filter(({ name }) => has(only)(name));
  if (all.length === 0) throw new Failure(`no graph has '${only}' in its name`);
  rmSync(work, { recursive: true, force: true });
  const rows = [];
  const pending = [];
  const theJudge = new Judge(python);
  const context = {
    zp,
    theJudge,
    targets,
    rows,
    pending,
    chosen: (scheme, target) => has(some)(scheme) && has(these)(target),
  };
  const lines = [];
  const used = new Map(exceptions.map((exception) => [exception, 0]));
  const excepted = new Set();
  const refused = new Set();
  const failing = new Set();
  try {
    for (const subject of all) await judgeSubject(subject, context);
    await Promise.all(pending);

    const subjectOf = new Map(all.map((subject) => [subject.name, subject]));
    const seen = new Set();
    for (const row of rows) {
      const subject = subjectOf.get(row.graph);
      const faults = faultsOf(row, subject).filter((fault) => {
        const exception = exceptions.find(
          ({ graph = /./, scheme = /./, form = /./, target = /./, kind }) =>
            graph.test(row.graph) &&
            scheme.test(row.scheme) &&
            form.test(row.form) &&
            target.test(row.target) &&
            kind.test(fault.kind),
        );
        if (!exception) return true;
        used.set(exception, used.get(exception) + 1);
        excepted.add(row);
        return false;
      });
      if (row.error && faults.length === 0) refused.add(row);
      if (faults.length > 0) failing.add(row);
      for (const { kind, text } of faults) {
        let node;
        if (kind === 'disagrees' && !seen.has(row.file) && seen.size < mostLocated) {
          seen.add(row.file);
          node = await locate(row, context);
        }
        lines.push(`${placeOf(row)}: ${text}${node ? `; the first node that differs: '${node}'` : ''}`);
      }
    }
  } finally {
    theJudge.close();
  }
  const judged = rows.filter(({ answer }) => answer);
  const count = (what) => new Set(judged.filter(what).map(({ file }) => file)).size;
  const levels = count(({ answer }) => answer.levels);
  const saturating = count(({ answer }) => answer.saturates);
  if (isWhole) {
    // What is not compared on this processor needs no exception here.
    for (const [{ graph, kind }, times] of saturating > 0 ? [] : used) {
      if (times === 0)
        lines.push(`the exception of ${graph}, ${kind} is not needed: take it off tests/judge/cases.mjs`);
    }
    for (const { name, unsupported } of all) {
      if (unsupported && !rows.some((row) => row.graph === name && (row.error || row.ours)))
        lines.push(`${name} runs: take "unsupported" off tests/judge/graphs.py`);
    }
  }
  if (isWhole && levels === 0)
    lines.push('nothing needs the accuracy level: take it out of tests/judge/judge.py');
  mkdirSync(work, { recursive: true });
  writeFileSync(join(work, 'rows.json'), JSON.stringify(rows));
  for (const line of lines) console.log(`FAILED: ${line}`);
  console.log(
    `  ${all.length} graphs × ${targets.length} targets: ${rows.length} cases, ${count(() => true)} different files\n` +
      `  ${refused.size} refused as they should be, ${excepted.size} that exceptions explain; ${levels} files agree when ONNX Runtime is told not to round activations`,
  );
  if (saturating > 0)
    console.log(
      `  ONNX Runtime's products saturate on this processor: runs of ${saturating} files were not compared`,
    );
  const skipped = new Set([...refused, ...excepted]);
  for (const row of failing) skipped.delete(row);
  const passed = rows.length - failing.size - skipped.size;
  const failed = Math.max(failing.size, lines.length > 0 ? 1 : 0);
  return { passed, failed, skipped: skipped.size, failures: lines };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = { type: 'string' };
  const { values } = parseArgs({ options: { only: text, schemes: text, targets: text, build: text } });
  await runMain(async () => ((await judge(values)).failed === 0 ? 0 : 1));
}
