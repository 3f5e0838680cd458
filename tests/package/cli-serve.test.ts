// `zeropoint serve`: the page, out of the installed package.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { headers } from '../../web/src/offline/headers.ts';
import { cli, installed, program, temporaryFolder } from './helpers.ts';

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});

/** Starts it, and gives what it says first. */
async function serve(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(program, ['serve', ...args], { env: { ...process.env, ...env } });
  running.add(child);
  const ended = once(child, 'close').then(([code]) => code as number | null);
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const said = await Promise.race([once(child.stdout, 'data').then(([text]) => String(text)), ended]);
  if (typeof said !== 'string') throw new Error(`it ended with code ${said}: ${stderr}`);
  return { child, said, ended, stderr: () => stderr };
}

async function served(...args: string[]) {
  const server = await serve(['--port', '0', '--json', ...args]);
  const { url, port } = JSON.parse(server.said) as { url: string; port: number };
  return { ...server, url, port };
}

const shared = (): Record<string, string> =>
  JSON.parse(readFileSync(join(installed, 'dist/page/served.json'), 'utf8')).shared;
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('what it serves', () => {
  test('the page, its parts and its engines, with the headers that npm start sends', async () => {
    const { url } = await served();
    const page = await fetch(url);
    expect(page.status).toBe(200);
    expect(Object.fromEntries(page.headers)).toMatchObject({
      ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
      'content-type': 'text/html;charset=utf-8',
      'cache-control': 'no-cache',
    });
    const html = await page.text();
    const [, script = ''] = /<script type="module"[^>]* src="\.\/(assets\/[^"]+\.js)"/.exec(html) ?? [];
    const code = await fetch(new URL(script, url));
    expect([code.status, code.headers.get('content-type')]).toEqual([200, 'text/javascript']);
    expect(code.headers.get('cache-control')).toMatch(/immutable/);
    expect((await fetch(new URL('api/', url))).headers.get('content-type')).toMatch(/^text\/html/);

    // They lie in the package once, and each has the address that the page knows it by.
    const engines = Object.entries(shared());
    expect(engines.map(([, name]) => name).sort()).toEqual(
      ['relaxed-threads', 'relaxed', 'simd-threads', 'simd'].map((name) => `wasm/${name}.wasm`),
    );
    for (const [address, name] of engines) {
      const engine = await fetch(new URL(address, url));
      expect([engine.status, engine.headers.get('content-type')]).toEqual([200, 'application/wasm']);
      expect(engine.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
      const bytes = new Uint8Array(await engine.arrayBuffer());
      expect(digest(bytes)).toBe(digest(readFileSync(join(installed, 'dist', name))));
    }
  });

  test('all that the page keeps for use with the network off', async () => {
    const { url } = await served();
    const worker = await (await fetch(new URL('sw.js', url))).text();
    const files = [...worker.matchAll(/url:\s*["'`]\.\/([^"'`]+)["'`]/g)].map(([, name]) => name as string);
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      const response = await fetch(new URL(file, url), { method: 'HEAD' });
      expect({ file, status: response.status }).toEqual({ file, status: 200 });
    }
  });

  test('nothing else', async () => {
    const { url } = await served();
    for (const path of [
      'cli.js',
      '../cli.js',
      '%2e%2e/cli.js',
      '..%2f..%2fpackage.json',
      'wasm/simd.wasm',
      'none',
    ])
      expect({ path, status: (await fetch(`${url}${path}`)).status }).toEqual({ path, status: 404 });
    const post = await fetch(url, { method: 'POST', body: 'x' });
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });
});

describe('where', () => {
  test('at 127.0.0.1 and a port of its own; at the next one where that is taken', async () => {
    const first = await serve([]);
    const [, port] = /The page is at http:\/\/127\.0\.0\.1:(\d+)\/\. Ctrl-C ends it\./.exec(first.said) ?? [];
    expect(Number(port)).toBeGreaterThanOrEqual(4750);
    const second = await serve([]);
    expect(second.said).toMatch(/^The page is at http:\/\/127\.0\.0\.1:\d+\//);
    expect(second.said).not.toContain(`:${port}/`);
    expect(second.stderr()).toBe('');
  });

  test('all addresses of the machine are said', async () => {
    const { said } = await serve(['--port', '0', '--host', '0.0.0.0', '--json']);
    const { url, urls, port } = JSON.parse(said);
    expect(url).toBe(`http://127.0.0.1:${port}/`);
    expect(urls).toContain(url);
    expect((await fetch(url)).status).toBe(200);
  });

  test('a port that is taken is an error where it was named', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      const { code, stderr, stdout } = await cli(['serve', '--port', `${port}`]);
      expect({ code, stdout, stderr }).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(new RegExp(`^error: port ${port} is taken: name another after --port`)),
      });
    } finally {
      other.close();
    }
  });

  test.each([
    ['a port that is none', ['--port', 'http'], /not an integer from 0 to 65535/],
    ['a port too high', ['--port', '70000'], /not an integer from 0 to 65535/],
    [
      'an address of another machine',
      ['--host', '192.0.2.1'],
      /--host 192\.0\.2\.1: this machine has no such address/,
    ],
    ['a model', ['model.onnx'], /too many arguments/],
  ])('%s is a wrong call', async (_, args, words) => {
    const { code, stderr } = await cli(['serve', ...args]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
  });
});

describe('its end', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s, while a browser holds a connection', async (signal, code) => {
    const { child, ended, url, stderr } = await served();
    await (await fetch(url)).text(); // the connection stays open
    child.kill(signal);
    expect({ code: await ended, stderr: stderr() }).toEqual({ code, stderr: '' });
    await expect(fetch(url)).rejects.toThrow();
  });
});

describe('the browser', () => {
  const folder = temporaryFolder();
  // What opens addresses on Linux.
  mkdirSync(join(folder, 'bin'));
  writeFileSync(join(folder, 'bin', 'xdg-open'), `#!/bin/sh\necho "$1" > '${folder}/opened'\n`, {
    mode: 0o755,
  });
  const here = { PATH: `${join(folder, 'bin')}:${process.env.PATH}` };

  test.runIf(process.platform === 'linux')('is opened when that is asked for', async () => {
    const { said } = await serve(['--port', '0', '--json', '--open'], here);
    const { url } = JSON.parse(said);
    await expect.poll(() => readFileSync(join(folder, 'opened'), 'utf8')).toBe(`${url}\n`);
  });

  test.runIf(process.platform === 'linux')('that is not there is no error', async () => {
    const bin = join(folder, 'node-alone');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    const { stderr, said } = await serve(['--port', '0', '--open'], { PATH: bin });
    await expect.poll(stderr).toMatch(/^warning: no browser could be opened \(.*xdg-open.*\): open http/);
    const [url = ''] = /http:\S+\//.exec(said) ?? [];
    expect((await fetch(url)).status).toBe(200);
  });
});
