// A model larger than memory, quantized tensor by tensor: how long it takes, and how much memory.
//   node bench/large.mjs [--gigabytes 1.5] [--modes weight-only:int4,weight-only:int8,dynamic,float16] [--keep FOLDER]
//     [--page '4-bit weights,8-bit weights']
// Makes a transformer-like model with its weights beside it, quantizes it in the command line's way, and prints for each
// mode the time, the largest heap of the engine and the largest memory of the process. With --page it is quantized for
// each of these goals in the page, in Chromium: the memory is that of the process with the page, its workers, and the
// engine. The page is the one in dist-page.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '1.5' },
    modes: { type: 'string', default: 'weight-only:int4,weight-only:int8,dynamic,float16' },
    keep: { type: 'string' },
    page: { type: 'string' },
    work: { type: 'string' }, // of the process that quantizes
  },
});

// ---- the model

const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const field = (tag, bytes) =>
  Buffer.concat([Buffer.from([...varint(tag * 8 + 2), ...varint(bytes.length)]), bytes]);
const number = (tag, value) => Buffer.from([...varint(tag * 8), ...varint(value)]);
const text = (tag, value) => field(tag, Buffer.from(value));
const all = (...parts) => Buffer.concat(parts);

const width = 2048;
const inner = 4 * width;

/** Blocks of two products and a normalization, of float32 weights: 128 MiB each. */
function makeLarge(folder, gigabytes) {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'model.onnx');
  const file = openSync(`${path}_data`, 'w');
  const blocks = Math.max(1, Math.round((gigabytes * 1e9) / (8 * width * inner)));
  const initializers = [];
  let offset = 0;
  // Noise of which each row is another part: making gigabytes of it anew would take longer than what is measured.
  const pool = new Float32Array(2 ** 20 + 7919);
  let state = 1;
  for (let i = 0; i < pool.length; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    pool[i] = (state / 2 ** 31 - 1) / Math.sqrt(width);
  }
  const weight = (name, dims) => {
    const count = dims.reduce((a, b) => a * b, 1);
    for (let done = 0; done < count; ) {
      const start = ((offset / 4 / 131) % 7919) | 0;
      const part = pool.subarray(start, start + Math.min(2 ** 20, count - done));
      writeSync(file, part, 0, part.byteLength, offset + done * 4);
      done += part.length;
    }
    const entry = (key, value) => field(13, all(text(1, key), text(2, String(value))));
    initializers.push(
      field(
        5,
        all(
          ...dims.map((d) => number(1, d)),
          number(2, 1),
          text(8, name),
          entry('location', 'model.onnx_data'),
          entry('offset', offset),
          entry('length', count * 4),
          number(14, 1),
        ),
      ),
    );
    offset += count * 4;
    return name;
  };
  const nodes = [];
  const node = (op, inputs, output) => {
    nodes.push(
      field(1, all(...inputs.map((name) => text(1, name)), text(2, output), text(3, output), text(4, op))),
    );
    return output;
  };
  let x = 'x';
  for (let i = 0; i < blocks; ++i) {
    const normal = node('LayerNormalization', [x, weight(`scale_${i}`, [width])], `normal_${i}`);
    const up = node('MatMul', [normal, weight(`up_${i}`, [width, inner])], `product_${i}`);
    const act = node('Relu', [up], `act_${i}`);
    const down = node('MatMul', [act, weight(`down_${i}`, [inner, width])], `down_product_${i}`);
    x = node('Add', [x, down], i === blocks - 1 ? 'y' : `sum_${i}`);
  }
  closeSync(file);
  const value = (tag, name) => {
    const dim = (d) => field(1, typeof d === 'number' ? number(1, d) : text(2, d));
    const shape = field(2, all(dim('n'), dim(width)));
    return field(tag, all(text(1, name), field(2, field(1, all(number(1, 1), shape)))));
  };
  const graph = all(...nodes, text(2, 'large'), ...initializers, value(11, 'x'), value(12, 'y'));
  writeFileSync(path, all(number(1, 8), field(7, graph), field(8, all(text(1, ''), number(2, 17)))));
  return path;
}

// ---- the work, in a process of its own

async function work({ path, mode, weights, output }) {
  const { writeFile } = await import('node:fs/promises');
  const { Model, engineInfo } = await import('../dist/node.js');
  const start = performance.now();
  const model = await Model.load(path);
  const loaded = performance.now();
  const { model: small, report } = await model.quantize({
    mode,
    ...(weights && { weights }),
    externalData: true,
  });
  const quantized = performance.now();
  for (const file of await small.toFiles({ name: 'small.onnx', externalData: true }))
    await writeFile(join(output, file.name), file);
  const written = performance.now();
  const { memory } = await engineInfo();
  console.log(
    JSON.stringify({
      seconds: [loaded - start, quantized - loaded, written - quantized].map((ms) => ms / 1000),
      heap: memory.reserved,
      used: memory.used,
      process: process.resourceUsage().maxRSS * 1024,
      layers: report.layersQuantized,
      before: report.sizeBefore,
      after: report.sizeAfter,
    }),
  );
}

// ---- in the page

/** The largest memory so far of the processes that draw pages of this browser, in bytes: Linux only. */
function largestOfPages(profile) {
  const sizes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((id) => {
      try {
        const words = readFileSync(`/proc/${id}/cmdline`, 'utf8');
        if (!words.includes('--type=renderer') || !words.includes(profile)) return 0;
        const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8')) ?? [];
        return Number(kilobytes ?? 0) * 1024;
      } catch {
        return 0; // it has ended
      }
    });
  return Math.max(0, ...sizes);
}

async function workInPage(path, goals, folder) {
  const { startWithProfile, withPage } = await import('../tools/page.mjs');
  const { chooseGoal, goTo } = await import('../tools/visit.mjs');
  console.log('goal in the page  load    quantize  process   after');
  await withPage(async (url) => {
    for (const goal of goals) {
      const profile = mkdtempSync(join(folder, 'profile-'));
      const context = await startWithProfile(profile);
      let largest = 0;
      const watch = setInterval(() => {
        largest = Math.max(largest, largestOfPages(profile));
      }, 500);
      try {
        const page = context.pages()[0] ?? (await context.newPage());
        page.setDefaultTimeout(3_600_000);
        await page.goto(url);
        const start = performance.now();
        await page.getByLabel('Choose a model').setInputFiles([path, `${path}_data`]);
        await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
        const loaded = performance.now();
        await goTo(page, 'Goal');
        await chooseGoal(page, goal);
        const button = page.getByRole('button', { name: 'Quantize', exact: true });
        await button.and(page.locator(':enabled')).click();
        const result = page.getByTestId('result');
        const problem = page.locator('.error-title');
        await result.or(problem).waitFor();
        const ended = performance.now();
        if (await problem.count()) throw new Error((await problem.textContent()) ?? '');
        const words = await page.locator('.verdict-change').textContent();
        largest = Math.max(largest, largestOfPages(profile));
        const times = [loaded - start, ended - loaded].map((ms) => `${(ms / 1000).toFixed(1)} s`.padEnd(8));
        console.log(
          `${goal.padEnd(18)}${times.join('')}  ${`${(largest / 1e6).toFixed(0)} MB`.padEnd(10)}${words}`,
        );
      } catch (error) {
        console.log(`${goal}: ${error.message}`);
        process.exitCode = 1;
      } finally {
        clearInterval(watch);
        await context.close();
        rmSync(profile, { recursive: true, force: true });
      }
    }
  });
}

if (values.work) {
  await work(JSON.parse(values.work));
} else {
  const folder = values.keep ? resolve(values.keep) : mkdtempSync(join(tmpdir(), 'large-'));
  try {
    const path = makeLarge(join(folder, 'model'), Number(values.gigabytes));
    console.log(`${(statSync(`${path}_data`).size / 1e9).toFixed(2)} GB of weights`);
    console.log('mode              load  quantize  write   heap      process   after');
    for (const given of values.modes.split(',').filter(Boolean)) {
      const [mode, weights] = given.split(':');
      const output = join(folder, given.replace(':', '-'));
      mkdirSync(output, { recursive: true });
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [fileURLToPath(import.meta.url), '--work', JSON.stringify({ path, mode, weights, output })],
        { encoding: 'utf8' },
      );
      if (status !== 0) {
        console.log(`${given}: ${stderr.trim()}`);
        process.exitCode = 1;
        continue;
      }
      const { seconds, heap, process: memory, after } = JSON.parse(stdout);
      const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`.padEnd(10);
      const times = seconds.map((s) => `${s.toFixed(1)} s`.padEnd(8)).join('');
      console.log(`${given.padEnd(18)}${times}  ${megabytes(heap)}${megabytes(memory)}${megabytes(after)}`);
      if (!values.keep) rmSync(output, { recursive: true });
    }
    if (values.page) await workInPage(path, values.page.split(','), folder);
  } finally {
    if (!values.keep) rmSync(folder, { recursive: true, force: true });
  }
}
