// Serves what browsers need from the checkout, and runs tasks of browser.mjs in a fresh page of Chromium or Firefox.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** A server on a free port of this machine; `jobs` is the folder of the jobs. */
export async function serve(jobs) {
  const folders = {
    dist: join(root, 'dist'),
    ort: join(root, 'node_modules/onnxruntime-web/dist'),
    litert: join(root, 'node_modules/@litertjs/core'),
    'litert-utils': join(root, 'node_modules/@litertjs/wasm-utils'),
    bench: join(root, 'bench/lib'),
    jobs,
  };
  const server = createServer((request, response) => {
    const [, folder, ...rest] = normalize(decodeURIComponent(request.url.split('?')[0])).split('/');
    const path = folders[folder] ? join(folders[folder], ...rest) : join(root, 'bench/lib/page.html');
    if (!existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end();
    response.writeHead(200, {
      'Content-Type': types[extname(path)] ?? 'application/octet-stream',
      'Content-Length': statSync(path).size,
      // Threads share memory only in pages that are isolated.
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    });
    createReadStream(path).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

const found = (...candidates) => candidates.find((path) => path && existsSync(path));

/** A browser as { version, task(where, name, options, report), close() }, or undefined if the machine has none. */
export async function openChromium(url) {
  const executablePath = found(process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome');
  if (!executablePath) return undefined;
  const flags = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking';
  const browser = await chromium.launch({
    executablePath,
    args: [...flags.split(' '), '--disable-component-update', '--disable-sync'],
  });
  return {
    version: `Chromium ${browser.version()}`,
    async task(where, name, options, report = () => {}) {
      const context = await browser.newContext();
      try {
        const page = await context.newPage();
        page.setDefaultTimeout(0);
        page.on('console', (message) => message.type() === 'log' && report(message.text()));
        await page.goto(url);
        await page.waitForFunction(() => document.title === 'ready');
        return await page.evaluate(([w, n, o]) => window[w](n, o), [where, name, options]);
      } finally {
        await context.close();
      }
    },
    close: () => browser.close(),
  };
}

export async function openFirefox(url) {
  const executablePath = found(process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox');
  if (!executablePath) return undefined;
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    protocolTimeout: 0,
  });
  return {
    version: await browser.version(),
    async task(where, name, options, report = () => {}) {
      const page = await browser.newPage();
      try {
        page.on('console', (message) => message.type() === 'log' && report(message.text()));
        await page.goto(url);
        await page.waitForFunction(() => document.title === 'ready', { timeout: 30_000 });
        return await page.evaluate((w, n, o) => window[w](n, o), where, name, options);
      } finally {
        await page.close();
      }
    },
    close: () => browser.close(),
  };
}
