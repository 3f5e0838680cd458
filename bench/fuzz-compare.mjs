#!/usr/bin/env node
// npm run fuzz:compare: random graphs (tests/fuzz/graphs) beside ONNX Runtime, float and quantized, in every build.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { movedToCurrentNode } from './lib/node.mjs';
import { environment } from './prepare/prepare.mjs';
import { Theirs } from './strangers/theirs.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** `exact`: activations stay float, so that ONNX Runtime must not round them either (its optimizations do). */
const settings = ['qdq', 'qoperator'].flatMap((format) => [
  { mode: 'static', format },
  { mode: 'static', format, perChannel: false },
  { mode: 'static', format, activations: 'int8', symmetric: true },
  { mode: 'static', format, weights: 'uint8' },
  { mode: 'static', format, repairs: ['equalization'] },
  { mode: 'static', format, repairs: [] },
  { mode: 'dynamic', format },
  { mode: 'dynamic', format, perChannel: false },
  { mode: 'weight-only', format, exact: true },
  { mode: 'weight-only', format, weights: 'int4', blockSize: 32, exact: true },
  { mode: 'weight-only', format, weights: 'uint4', blockSize: 16, exact: true },
  { mode: 'float16', format, exact: true },
]);

const usage = `npm run fuzz:compare -- [options]
  --first N      seed of the first graph (0)
  --count N      graphs (200)
  --settings N   ways of quantizing each, of ${settings.length}; the seed chooses (2)
  --build NAME   a WebAssembly build besides 'simd' (relaxed-threads)
  --keep FOLDER  keep the files of graphs that disagree
  --help

Needs the package (npm run build) and the native program zeropoint_graphs (cmake --preset native-dev && cmake --build
build/native-dev --target zeropoint_graphs). ONNX Runtime is installed by pip.`;

const { values: options } = parseArgs({
  options: {
    first: { type: 'string', default: '0' },
    count: { type: 'string', default: '200' },
    settings: { type: 'string', default: '2' },
    build: { type: 'string', default: 'relaxed-threads' },
    keep: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const graphsProgram = ['native-dev', 'native']
  .map((name) => here(`../build/${name}/zeropoint_graphs`))
  .find(existsSync);

/** Graphs that zeropoint_graphs writes at a time. */
const written = 50;

/** The samples of a graph that zeropoint_graphs wrote: feeds by name. */
function samplesOf(folder, Tensor) {
  const [kind, ...lines] = readFileSync(join(folder, 'inputs.txt'), 'utf8').trim().split('\n');
  const samples = [];
  for (let s = 0; existsSync(join(folder, `${s}.input0.bin`)); s++) {
    samples.push(
      Object.fromEntries(
        lines.map((line) => {
          const [name, ...dims] = line.split(' ');
          const { buffer } = Uint8Array.from(readFileSync(join(folder, `${s}.${name}.bin`)));
          return [name, new Tensor('float32', new Float32Array(buffer), dims.map(Number))];
        }),
      ),
    );
  }
  return { smooth: kind === 'smooth', samples };
}

/** What two runs of all samples differ by, for the output that differs most beside its size. */
function distance(got, want) {
  let worst = { noise: 0, signal: 1, ratio: 0 };
  for (const name of Object.keys(want[0])) {
    let noise = 0;
    let signal = 0;
    for (let s = 0; s < want.length; s++) {
      const [a, b] = [got[s][name], want[s][name]];
      if (`${a?.dims}` !== `${b.dims}`) return { form: `'${name}' has dims ${a?.dims} and ${b.dims}` };
      for (let i = 0; i < b.data.length; i++) {
        const [x, y] = [Number(a.data[i]), Number(b.data[i])];
        if (Number.isFinite(x) !== Number.isFinite(y)) return { form: `'${name}' is ${x} and ${y}` };
        if (!Number.isFinite(x)) continue;
        noise += (x - y) ** 2;
        signal += y ** 2;
      }
    }
    const ratio = noise === 0 ? 0 : noise / (signal + 1e-12);
    if (ratio > worst.ratio) worst = { name, noise, signal, ratio };
  }
  return worst;
}

const decibels = ({ ratio }) => `${(-10 * Math.log10(ratio)).toFixed(1)} dB`;

async function runAll(model, samples, threads) {
  const session = await model.createSession({ threads });
  const outputs = [];
  for (const feeds of samples) outputs.push(await session.run(feeds));
  await session.dispose();
  return outputs;
}

async function main() {
  if (options.help) return console.log(usage);
  if (!graphsProgram) throw new Error(`zeropoint_graphs is not built\n\n${usage}`);
  const zp = await import(pathToFileURL(here('../dist/node.js')).href);
  const theirs = new Theirs(await environment(), 60);
  const work = mkdtempSync(join(tmpdir(), 'zeropoint-fuzz-'));
  const [first, count, perGraph] = [options.first, options.count, options.settings].map(Number);
  const tally = { graphs: 0, files: 0, disagree: 0, refused: 0 };
  const say = (seed, text) => {
    tally.disagree++;
    console.log(`graph ${seed}: ${text}`);
  };

  // An engine for each build lives as long as the run: WebAssembly is compiled once.
  const engines = new Map();
  for (const build of new Set(['simd', options.build])) engines.set(build, await zp.createEngine({ build }));
  for (let seed = first; seed < first + count; seed++) {
    if ((seed - first) % written === 0)
      execFileSync(graphsProgram, ['write', `${seed}`, `${Math.min(written, first + count - seed)}`, work]);
    const folder = join(work, `${seed}`);
    const file = join(folder, 'model.onnx');
    const { smooth, samples } = samplesOf(folder, zp.Tensor);
    const paths = [];
    for (const [s, feeds] of samples.entries()) {
      paths.push(join(folder, `${s}.npz`));
      writeFileSync(paths[s], await zp.writeNpz(feeds));
    }
    const before = tally.disagree;
    // Where a file lets activations of MatMulNBits be rounded, ours stay float: they are to stay so there too.
    const ort = (model, optimized = false) =>
      theirs.run(model, paths, { optimized, exact: true, out: join(folder, 'out.bin') });
    try {
      const expected = await ort(file);
      tally.graphs++;
      for (const [build, engine] of engines) {
        const model = await zp.Model.load(file, { engine });
        const threads = build.endsWith('threads') ? 2 : 1;
        const float = await runAll(model, samples, threads);
        const off = distance(float, expected);
        if (off.form || (smooth && off.ratio > 1e-8))
          say(seed, `${build}: float: ${off.form ?? decibels(off)}`);
        for (let k = 0; k < perGraph; k++) {
          const { exact, ...how } = settings[(seed * perGraph + k) % settings.length];
          const words = `${build}: ${JSON.stringify(how)}`;
          const { model: small } = await model.quantize({
            ...how,
            ...(how.mode === 'static' && { calibration: samples }),
          });
          const target = join(folder, `${build}-${k}.onnx`);
          writeFileSync(target, await small.toBytes({ format: how.format }));
          const again = await zp.Model.load(target, { engine });
          const ours = await runAll(again, samples, threads);
          await again.dispose();
          await small.dispose();
          tally.files++;
          let wanted;
          try {
            wanted = await ort(target, !exact);
          } catch (error) {
            tally.refused++;
            say(seed, `${words}: ONNX Runtime refuses: ${error.message.slice(0, 300)}`);
            continue;
          }
          const quantization = distance(ours, expected);
          const between = distance(ours, wanted);
          if (between.form || quantization.form) say(seed, `${words}: ${between.form ?? quantization.form}`);
          else if (smooth && between.ratio > 0.5 * quantization.ratio + 1e-4)
            say(
              seed,
              `${words}: '${between.name}' is ${decibels(between)} from ONNX Runtime's run of the file`,
            );
          else if (smooth && !/4/.test(how.weights ?? '') && quantization.ratio > 0.1)
            say(seed, `${words}: '${quantization.name}' is lost: ${decibels(quantization)}`);
        }
        await model.dispose();
      }
      await theirs.ask({ do: 'forget' }); // its files are about to go
    } catch (error) {
      say(seed, `${error.code ?? error.name}: ${error.message.slice(0, 300)}`);
    }
    if (options.keep && tally.disagree > before) {
      mkdirSync(options.keep, { recursive: true });
      execFileSync('cp', ['-r', folder, options.keep]);
    }
    rmSync(folder, { recursive: true, force: true });
  }
  theirs.close();
  for (const engine of engines.values()) await engine.close();
  rmSync(work, { recursive: true, force: true });
  console.log(
    `${tally.graphs} graphs, ${tally.files} quantized files; ${tally.disagree} disagree, ${tally.refused} of them refused by ONNX Runtime`,
  );
  process.exit(tally.disagree ? 1 : 0);
}

if (!(await movedToCurrentNode(import.meta.url))) await main();
