// npm run bench: builds, then times zeropoint beside its rivals in one run, in Node and in browsers.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { variants } from '../tools/build.mjs';
import { openChromium, openFirefox, serve } from './lib/browsers.mjs';
import { realModels } from './lib/inputs.mjs';
import { convolutionJobs, gemmJobs, layerJobs, modelJobs } from './lib/jobs.mjs';
import { copyRates, median } from './lib/measure.mjs';
import { currentNode, movedToCurrentNode, processor } from './lib/node.mjs';
import { abovePeak, report } from './lib/report.mjs';
import { sizeByPart } from './lib/size.mjs';
import { summarize } from './lib/summary.mjs';

const usage = `node bench/run.mjs [options]
  --quick         fewer rows, in under a minute once everything is built
  --json FILE     also write all rows, and a summary of plain numbers
  --write-docs    write the tables into docs/PERFORMANCE.md
  --from FILE     measure nothing: take what an earlier --json wrote
  --images DIR    photographs to calibrate EfficientNet-Lite0 with; without them it gets drawings, which take as long
  --only a,b      only these parts: peaks, gemm, layer, convolution, model, fresh, size
  --no-build      take dist/ as it is
  --help`;

const root = fileURLToPath(new URL('..', import.meta.url));
const lib = (name) => join(root, 'bench/lib', name);
const run = promisify(execFile);
const say = (text) =>
  process.stderr.write(`${(performance.now() / 1000).toFixed(0).padStart(4)} s  ${text}\n`);

const quickModels = ['recognition', 'angle', 'embedding', 'minilm16'];
const benchModels = [
  'detection',
  'recognition',
  'angle',
  'embedding',
  'minilm16',
  'minilm128',
  'efficientnet',
];
const quickTiming = { warmUp: 60, budget: 60, rounds: [3, 15] };
const fullTiming = { warmUp: 300, budget: 400, rounds: [7, 60] };
const withThreads = { rest: 60, rounds: [5, 9] }; // see race()

function build() {
  return new Promise((resolve, reject) => {
    const child = spawn('node', [join(root, 'tools/build.mjs'), 'wasm', 'package'], {
      stdio: ['ignore', 2, 2],
    });
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error('the build failed'))));
  });
}

/** Runs a script with a current Node and reads the JSON that it prints. */
async function scriptResult(script, args, environment = {}) {
  const { stdout } = await run(currentNode, [script, ...args], {
    maxBuffer: 2 ** 28,
    env: { ...process.env, ...environment },
  });
  return JSON.parse(stdout);
}

/** The kernels by themselves, in loops that only multiply and in products: what share of this machine they use. */
async function measurePeaks(quick) {
  say('kernels and peaks');
  const { setUp } = await import('../tools/setup.mjs');
  return scriptResult(
    join(root, 'bench/kernels/kernels.mjs'),
    ['--json', ...(quick ? ['--quick'] : [])],
    await setUp(),
  );
}

/** What the largest build consists of, whole and for runs alone; null where it has not been built here. */
async function measureSize(notes) {
  say('size by part');
  const { setUp } = await import('../tools/setup.mjs');
  const environment = await setUp();
  try {
    return {
      whole: await sizeByPart(root, 'relaxed-threads', environment),
      run: await sizeByPart(root, 'run-relaxed-threads', environment),
    };
  } catch (error) {
    notes.push(`relaxed-threads.wasm was not taken apart: ${error.message.split('\n')[0]}`);
    return null;
  }
}

/** Jobs of a table in one place with a number of threads: rows. */
async function contest(place, threads, jobs, timing, folder, engines, where) {
  writeFileSync(join(folder, 'jobs.json'), JSON.stringify({ jobs, timing }));
  const {
    results,
    missing = {},
    info,
  } = place.name === 'Node'
    ? await scriptResult(lib('node-contest.mjs'), [folder, threads])
    : await place.browser.task(where, 'contest', { engines, threads, jobs: 'jobs.json' });
  const rows = results.map((result, i) => {
    const { table, name, macs, size, from, bytes } = jobs[i];
    return { table, place: place.name, threads, name, macs, size, from, bytes, ...result };
  });
  return { rows, missing, info };
}

/** Load time, first run and (in Node) peak memory of each engine with each model: medians of fresh processes or pages. */
async function fresh(place, jobs, folder, repeats) {
  writeFileSync(join(folder, 'jobs.json'), JSON.stringify({ jobs }));
  const rows = [];
  for (const job of jobs) {
    say(`${place.name}: load, first run, memory: ${job.name}`);
    for (const type of ['float', 'int8']) {
      const samples = { ours: [], theirs: [], none: [] };
      for (let i = 0; i < repeats; ++i) {
        for (const engine of Object.keys(samples)) {
          const entrant = `${engine === 'none' ? 'ours' : engine} ${type}`;
          const { file } = job.entrants.find(({ name }) => name === entrant);
          try {
            if (place.name === 'Node') {
              samples[engine].push(
                await scriptResult(lib('fresh.mjs'), [engine, folder, job.id, entrant, 1]),
              );
            } else if (engine !== 'none') {
              const options = { engine, threads: 1, file, feeds: job.feeds };
              samples[engine].push(await place.browser.task('inWorker', 'fresh', options));
            }
          } catch (error) {
            say(`  ${place.name}: ${job.name}, ${entrant}: ${error.message.split('\n')[0]}`);
          }
        }
      }
      const of = (engine, key) => {
        const values = samples[engine].map((sample) => sample[key]).filter((value) => value !== undefined);
        return values.length ? median(values) : null;
      };
      const idle = of('none', 'peak');
      const engine = (name) => ({
        load: of(name, 'load'),
        firstRun: of(name, 'firstRun'),
        peak: idle === null ? null : Math.max(1, of(name, 'peak') - idle),
      });
      rows.push({
        table: 'fresh',
        place: place.name,
        threads: 1,
        name: job.name,
        type,
        bytes: job.bytes[type],
        ours: engine('ours'),
        theirs: engine('theirs'),
      });
    }
  }
  return rows;
}

/** What comes over the network before a first run: the module and its JavaScript, plain, gzipped and with brotli. */
function downloads() {
  const total = (files) => {
    const contents = files.map((file) => readFileSync(join(root, file)));
    return {
      bytes: contents.reduce((sum, { length }) => sum + length, 0),
      gzip: contents.reduce((sum, content) => sum + gzipSync(content, { level: 9 }).length, 0),
      brotli: contents.reduce((sum, content) => sum + brotliCompressSync(content).length, 0),
    };
  };
  // What a page loads: the package, its worker, and the build of the engine that the machine runs.
  const scripts = (pattern) =>
    readdirSync(join(root, 'dist'))
      .filter((name) => pattern.test(name))
      .map((name) => `dist/${name}`);
  const ort = 'node_modules/onnxruntime-web/dist';
  const litert = 'node_modules/@litertjs/core';
  const builds = variants.map((build) => ({ build, ...total([`dist/wasm/${build}.wasm`]) }));
  return {
    builds,
    zeropoint: total([...scripts(/^(index|worker|browser-.*)\.js$/), 'dist/wasm/relaxed.wasm']),
    'zeropoint/run': total([...scripts(/^run(-worker|-browser-.*)?\.js$/), 'dist/wasm/run-relaxed.wasm']),
    'ONNX Runtime Web': total(
      ['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'].map(
        (name) => `${ort}/${name}`,
      ),
    ),
    'LiteRT.js': total(
      ['dist/index.js', 'wasm/litert_wasm_internal.js', 'wasm/litert_wasm_internal.wasm'].map(
        (name) => `${litert}/${name}`,
      ),
    ),
  };
}

async function measure({ quick, images, only }) {
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-bench-'));
  const timing = quick ? quickTiming : fullTiming;
  const wants = (part) => !only || only.includes(part);
  const notes = [];
  const rows = [];
  let info;
  const places = [{ name: 'Node' }];
  const server = await serve(folder);
  try {
    for (const [name, open] of quick
      ? [['Chromium', openChromium]]
      : [
          ['Chromium', openChromium],
          ['Firefox', openFirefox],
        ]) {
      const browser = await open(server.url).catch(
        (error) => notes.push(`${name} did not start: ${error.message}`) && undefined,
      );
      if (browser) places.push({ name, browser });
      else notes.push(`${name} is not on this machine: its numbers are missing.`);
    }
    const peaks = wants('peaks') ? await measurePeaks(quick) : null;
    for (const { name, browser } of wants('peaks') ? places : []) {
      const rates = browser ? await browser.task('inWorker', 'copies', {}) : copyRates();
      rows.push({ table: 'copy', place: name, ...rates });
    }

    const zeropoint = await import('../dist/node.js');
    zeropoint.configure({ threads: 1 });
    const needsModels = wants('model') || wants('fresh');
    const { models, missing } = needsModels
      ? await realModels(zeropoint, { images })
      : { models: {}, missing: {} };
    for (const [name, why] of Object.entries(missing)) notes.push(`${name} ${why}. Its rows are missing.`);
    const names = (quick ? quickModels : benchModels).filter((name) => models[name]);
    const wanted = Object.fromEntries(names.map((name) => [name, models[name]]));

    const tables = {
      gemm: wants('gemm') ? gemmJobs(folder, quick) : [],
      convolution: wants('convolution') ? convolutionJobs(folder, quick) : [],
      model: needsModels ? await modelJobs(folder, zeropoint, wanted, say) : [],
    };
    const layers = wants('layer') ? layerJobs(folder, quick) : [];

    const attempt = async (place, threads, table, jobs, engines, where) => {
      if (jobs.length === 0) return;
      say(`${place.name}, ${threads} ${threads === 1 ? 'thread' : 'threads'}: ${table}`);
      try {
        const how = threads > 1 ? { ...timing, ...withThreads } : timing;
        const found = await contest(place, threads, jobs, how, folder, engines, where);
        rows.push(...found.rows);
        for (const [engine, why] of Object.entries(found.missing)) {
          notes.push(
            `${engine} could not be started in ${place.name} (${threads} threads): ${why}. Its numbers are missing.`,
          );
        }
        if (place.name === 'Node' && threads === 1) info ??= found.info;
      } catch (error) {
        notes.push(`${place.name}, ${threads} threads, ${table}: ${error.message.split('\n')[0]}`);
      }
    };
    for (const place of places) {
      for (const threads of place.name === 'Firefox' ? [1] : [1, 2]) {
        for (const [table, jobs] of Object.entries(tables)) {
          if (!wants(table) || (place.name === 'Firefox' && table !== 'model')) continue;
          // In a quick run, what differs least between places and threads is measured in one of them.
          if (quick && (table === 'convolution' || threads === 2) && place.name !== 'Node') continue;
          if (quick && threads === 2 && table !== 'model') continue;
          await attempt(place, threads, table, jobs, ['ours', 'theirs'], 'inWorker');
        }
        if (place.name === 'Chromium' && threads === 1) {
          await attempt(place, threads, 'layer', layers, ['ours', 'litert'], 'inPage');
        }
      }
    }
    if (wants('fresh')) {
      for (const place of places) {
        if (place.name === 'Firefox' || (quick && place.name !== 'Node')) continue;
        rows.push(
          ...(await fresh(place, quick ? tables.model.slice(0, 2) : tables.model, folder, quick ? 1 : 3)),
        );
      }
    }
    const versions = [`Node ${(info ?? { version: process.version }).version}`];
    for (const { browser } of places) if (browser) versions.push(browser.version);
    const { version: ort } = JSON.parse(
      readFileSync(join(root, 'node_modules/onnxruntime-web/package.json'), 'utf8'),
    );
    const { version: litert } = JSON.parse(
      readFileSync(join(root, 'node_modules/@litertjs/core/package.json'), 'utf8'),
    );
    const machine = {
      ...processor(),
      relaxedDot: info?.relaxedDot ?? peaks?.relaxedDot ?? null,
      build: info?.build ?? null,
      versions: [...versions, `ONNX Runtime Web ${ort}`, `LiteRT.js ${litert}`],
      date: new Date().toISOString().slice(0, 10),
      quick,
    };
    const size = wants('size') && !quick ? await measureSize(notes) : null;
    return { machine, notes, peaks, downloads: downloads(), size, rows };
  } finally {
    for (const { browser } of places) await browser?.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeDocs(text) {
  const template = readFileSync(join(root, 'bench/PERFORMANCE.md'), 'utf8');
  mkdirSync(join(root, 'docs'), { recursive: true });
  writeFileSync(
    join(root, 'docs/PERFORMANCE.md'),
    template.replace('<!-- tables -->', () => text),
  );
}

async function main() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      'write-docs': { type: 'boolean' },
      from: { type: 'string' },
      images: { type: 'string' },
      only: { type: 'string' },
      'no-build': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  if (!values['no-build'] && !values.from) await build();
  const measured = values.from
    ? JSON.parse(readFileSync(values.from, 'utf8'))
    : await measure({ quick: values.quick, images: values.images, only: values.only?.split(',') });
  measured.summary = summarize(measured);
  const text = report(measured);
  console.log(text);
  if (values.json) writeFileSync(values.json, `${JSON.stringify(measured, null, 2)}\n`);
  if (values['write-docs']) writeDocs(text);
  for (const wrong of abovePeak(measured)) {
    console.error(`error of the bench: ${wrong}`);
    process.exitCode = 1;
  }
}

await main();
