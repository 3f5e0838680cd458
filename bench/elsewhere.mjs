#!/usr/bin/env node
// npm run bench:elsewhere: what we write, and what the rival's own quantizer writes, in the runtimes of others.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { measure, native, schemes, web } from './elsewhere/model.mjs';
import { docsOf, graphsText, modelTable, summaryOf, summaryText } from './elsewhere/tables.mjs';
import { measuredInChild } from './lib/children.mjs';
import { realModels } from './lib/inputs.mjs';
import { movedToCurrentNode, processor } from './lib/node.mjs';
import { cache, environment, prepare, reason } from './prepare/prepare.mjs';
import { samplesOf, slug } from './strangers/model.mjs';
import { strangers } from './strangers/packages.mjs';
import { Theirs } from './strangers/theirs.mjs';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const home = join(cache, 'elsewhere');
const sets = { project: "The project's models", strangers: "Strangers' models" };

const usage = `npm run bench:elsewhere -- [options]
  --set a,b        of models: ${Object.keys(sets).join(', ')} (both)
  --only TEXT      models whose name has it; several, with commas
  --megabytes N    models of so many at most; larger ones are named as left out
  --schemes a,b    ${Object.keys(schemes).join(', ')}
  --runtimes a,b   ${native}, ${web}, OpenVINO, tract, rten
  --graphs         of the static files alone: what ONNX Runtime's optimized graphs have left of Q and DQ
  --seconds N      of measuring for each contestant (0.4); 0: no times
  --limit N        seconds that one step may take (300)
  --images FOLDER  photographs for the models that want such; drawings without
  --dist FOLDER    another build of the package (dist)
  --build NAME     of its four WebAssembly builds this one, not the best
  --list           name the models, and stop
  --again          measure anew what is kept from an earlier run with the same build
  --json FILE      also write rows and summary
  --docs           write docs/ELSEWHERE.md
  --help

Needs the package (npm run build). ONNX Runtime, OpenVINO and tract are installed by pip, rten is built by cargo; what cannot
be is said in the table. Results are kept in bench/.cache/elsewhere: a run that was stopped goes on where it was.`;

const { values: options } = parseArgs({
  options: {
    set: { type: 'string', default: Object.keys(sets).join(',') },
    only: { type: 'string' },
    megabytes: { type: 'string', default: 'Infinity' },
    schemes: { type: 'string' },
    runtimes: { type: 'string' },
    graphs: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '0.4' },
    limit: { type: 'string', default: '300' },
    images: { type: 'string', default: here('../../shared/imagenet-256') },
    dist: { type: 'string', default: here('../dist') },
    build: { type: 'string' },
    list: { type: 'boolean', default: false },
    again: { type: 'boolean', default: false },
    json: { type: 'string' },
    docs: { type: 'boolean', default: false },
    child: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (options.graphs) Object.assign(options, { schemes: 'static', runtimes: native, seconds: '0' });

const listed = (text) => text?.split(',').map((word) => word.trim());

function chosenOf(given, known, what) {
  const wanted = listed(given) ?? known;
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`there is no ${what} '${unknown}': ${known.join(', ')}`);
  return known.filter((name) => wanted.includes(name));
}

/** Packages that only this bench needs, in the bench's environment: each by itself, and why one is missing. */
const pythonRuntimes = { OpenVINO: 'openvino==2026.4.1', tract: 'tract==0.23.9' };

async function installRuntimes(python, wants) {
  const missing = {};
  for (const [name, wanted] of Object.entries(pythonRuntimes)) {
    if (!wants(name)) continue;
    const [package_, version] = wanted.split('==');
    const check = `import importlib.metadata as m; assert m.version('${package_}') == '${version}'`;
    try {
      await run(python, ['-c', check]);
    } catch {
      console.error(`installing ${wanted}`);
      await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wanted]).catch(
        (error) => {
          missing[name] = `pip does not install ${wanted}: ${reason(error)}`;
        },
      );
    }
  }
  return missing;
}

/** Builds rten's program. What it answers goes into the environment of runtimes.py. */
async function buildRten() {
  const target = join(cache, 'rten');
  const folder = here('elsewhere/rten');
  const [, version] = readFileSync(join(folder, 'Cargo.toml'), 'utf8').match(
    /^rten = \{ version = "=([\d.]+)"/m,
  );
  try {
    const args = ['build', '--release', '--quiet', '--target-dir', target];
    await run('cargo', args, { cwd: folder, maxBuffer: 2 ** 26 });
    return { RTEN_RUNTIME: join(target, 'release', 'rten-runtime'), RTEN_VERSION: version };
  } catch (error) {
    const why =
      error.code === 'ENOENT' ? 'there is no cargo here' : `cargo does not build it: ${reason(error)}`;
    return { RTEN_MISSING: why };
  }
}

/** The models of a set: { name, file, bytes, samples(context) }, and what is missing. */
async function modelsOf(set, zeropoint, python) {
  if (set === 'strangers') {
    const { models, missing } = await strangers(python, { report: (text) => console.error(text) });
    const fileOf = (end) => models.find(({ name }) => name.endsWith(end)).file;
    return {
      missing,
      models: models.map((model) => ({
        ...model,
        samples: (context) => samplesOf(model, { ...context, fileOf }),
      })),
    };
  }
  const images = existsSync(options.images) ? options.images : undefined;
  const { models, missing } = await realModels(zeropoint, { images });
  const { models: made, missing: notMade } = await prepare(['digits']);
  const all = Object.entries(models).map(([key, { path, input }]) => ({ name: key, file: path, input }));
  if (made.digits) {
    const { digits } = await import('./digits.mjs');
    const { images: drawn } = digits(20, 1).training;
    const input = async (seed) => ({
      image: { type: 'float32', data: drawn[seed % drawn.length], dims: [1, 1, 28, 28] },
    });
    all.push({ name: 'digits', file: made.digits, input });
  }
  return {
    missing: Object.entries({ ...missing, ...notMade }).map(([name, why]) => ({ name, why })),
    models: all.map(({ name, file, input }) => ({
      name,
      file,
      bytes: statSync(file).size,
      samples: () => ownSamples(name, input, zeropoint),
    })),
  };
}

/** Eight samples to calibrate with and four others, as tensors and as files. */
async function ownSamples(name, input, zeropoint) {
  const folder = join(home, 'samples', slug(name));
  mkdirSync(folder, { recursive: true });
  const made = { calibration: [], heldOut: [], paths: { calibration: [], heldOut: [] } };
  for (const [kind, first, count] of [
    ['calibration', 0, 8],
    ['heldOut', 100, 4],
  ]) {
    for (let seed = first; seed < first + count; ++seed) {
      const feeds = Object.fromEntries(
        Object.entries(await input(seed)).map(([key, { type, data, dims }]) => [
          key,
          new zeropoint.Tensor(type, data, [...dims]),
        ]),
      );
      const path = join(folder, `${seed}.npz`);
      writeFileSync(path, await zeropoint.writeNpz(feeds));
      made[kind].push(feeds);
      made.paths[kind].push(path);
    }
  }
  return made;
}

/** What results are kept for: this package, these scripts, these settings. */
function stateOf(dist, chosen, runtimes) {
  const hash = createHash('sha256');
  for (const file of [
    join(dist, 'node.js'),
    join(dist, 'wasm', 'simd.wasm'),
    here('elsewhere/model.mjs'),
    here('elsewhere/runtimes.py'),
    here('lib/answering.py'),
    here('lib/rival_quantizer.py'),
  ]) {
    hash.update(readFileSync(file));
  }
  return hash
    .update(JSON.stringify([chosen, runtimes, options.seconds]))
    .digest('hex')
    .slice(0, 12);
}

async function main() {
  if (options.help) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  const dist = resolve(options.dist);
  if (!existsSync(join(dist, 'node.js'))) throw new Error('the package is not built: npm run build');
  const chosen = chosenOf(options.schemes, Object.keys(schemes), 'scheme');
  const wantedSets = chosenOf(options.set, Object.keys(sets), 'set');
  const zeropoint = await import(join(dist, 'node.js'));
  zeropoint.configure({ threads: 1, ...(options.build && { build: options.build }) });

  let python;
  try {
    python = await environment();
  } catch (error) {
    throw new Error(
      `ONNX Runtime cannot be installed (python3 with venv and pip is needed): ${reason(error)}`,
    );
  }
  const wants = (runtime) => !options.runtimes || listed(options.runtimes).includes(runtime);
  let notInstalled = {};
  if (!options.child && !options.list) {
    notInstalled = await installRuntimes(python, wants);
    if (wants('rten')) Object.assign(process.env, await buildRten());
  }
  const theirs = new Theirs(python, Number(options.limit), here('elsewhere/runtimes.py'));
  const { runtimes: versions, missing } = await theirs.ask({ do: 'about' });
  Object.assign(missing, notInstalled);
  for (const name of Object.keys(missing)) if (!wants(name)) delete missing[name];
  const { version } = JSON.parse(readFileSync(here('../node_modules/onnxruntime-web/package.json'), 'utf8'));
  versions[web] = version;
  const known = [native, web, 'OpenVINO', 'tract', 'rten'];
  const runtimes = chosenOf(options.runtimes, known, 'runtime').filter((name) => versions[name]);
  const state = stateOf(dist, chosen, runtimes);
  const kept = (set, name) => join(home, 'results', state, set, `${slug(name)}.json`);

  if (options.child) {
    const [set, name] = JSON.parse(options.child);
    const { models } = await modelsOf(set, zeropoint, python);
    const model = models.find((one) => one.name === name);
    const report = (text) => process.send(text);
    const ort = new Theirs(python, Number(options.limit));
    const images = existsSync(options.images) ? options.images : undefined;
    let result;
    try {
      const samples = await model.samples({ zeropoint, theirs: ort, images });
      result = await measure(model, samples, {
        zeropoint,
        theirs,
        runtimes,
        chosen,
        seconds: Number(options.seconds),
        limit: Number(options.limit),
        folder: join(home, 'files', set),
        webModule: await import('onnxruntime-web'),
        report,
      });
    } catch (error) {
      result = { name, failed: error.message };
      report(error.message);
    }
    ort.close();
    theirs.close();
    mkdirSync(join(home, 'results', state, set), { recursive: true });
    writeFileSync(kept(set, name), JSON.stringify(result, null, 1));
    process.disconnect();
    process.exit(); // ONNX Runtime Web would keep the process
  }
  theirs.close();

  const has = ({ name }) => !options.only || listed(options.only).some((text) => name.includes(text));
  const { model: cpu, cores, features } = processor();
  const machine = `${cpu}, ${cores} cores, ${features.join(' ')}; Node ${process.version}`;
  const found = [];
  const facts = {};
  for (const set of wantedSets) {
    const { models, missing: absent } = await modelsOf(set, zeropoint, python);
    const fits = ({ bytes }) => bytes <= Number(options.megabytes) * 1e6;
    const wanted = models.filter((model) => has(model) && fits(model));
    for (const { name, bytes } of models.filter((model) => has(model) && !fits(model)))
      absent.push({
        name,
        why: `${(bytes / 1e6).toFixed(1)} MB, more than --megabytes ${options.megabytes}`,
      });
    const others = models.filter((model) => !has(model)).map(({ name }) => name);
    if (others.length) absent.push({ name: others.join(', '), why: 'not asked for' });
    if (options.list) {
      for (const { name, bytes } of wanted) console.log(`${set}: ${name} (${(bytes / 1e6).toFixed(2)} MB)`);
      continue;
    }
    const results = [];
    const left = [...absent];
    for (const [i, { name, bytes }] of wanted.entries()) {
      console.error(`${set} ${i + 1}/${wanted.length} ${name} (${(bytes / 1e6).toFixed(2)} MB)`);
      let why;
      if (options.again || !existsSync(kept(set, name)))
        why = await measuredInChild(here('elsewhere.mjs'), JSON.stringify([set, name]), options.limit * 4);
      const result = existsSync(kept(set, name))
        ? JSON.parse(readFileSync(kept(set, name), 'utf8'))
        : undefined;
      if (result && !result.failed) results.push(result);
      else left.push({ name, why: result?.failed ?? why });
      if (result && !result.failed && !options.graphs) console.log(modelTable(result));
    }
    const title = sets[set];
    facts[title] = { machine, versions, missing, left };
    found.push({ set, title, summary: summaryOf(results), models: results });
    const { summary } = found.at(-1);
    console.log(
      `## ${title}\n\n${options.graphs ? graphsText(summary.left) : summaryText(summary, facts[title])}`,
    );
  }
  if (options.list) return;
  if (options.json) {
    const all = found.map(({ set, title, ...rest }) => [set, { left: facts[title].left, ...rest }]);
    writeFileSync(
      options.json,
      JSON.stringify({ machine, versions, missing, state, ...Object.fromEntries(all) }, null, 1),
    );
  }
  if (options.docs) writeFileSync(here('../docs/ELSEWHERE.md'), docsOf(found, facts));
}

await main();
