// A page whose worker script is not what it should be: every promise settles, with an error that says what to do.
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ErrorDetails } from 'zeropoint';
import { startChromium } from '../e2e/browsers.ts';
import { open } from '../ecosystem/run.mjs';
import { installed } from './helpers.ts';

let browser: Browser;
let server: Awaited<ReturnType<typeof open>>;
let page: Page;

beforeAll(async () => {
  browser = await startChromium();
  server = await open('plain', installed);
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

beforeEach(async () => {
  page = await browser.newPage();
  page.setDefaultTimeout(60_000);
});

afterEach(() => page.close());

type Failure = { code: string; message: string; details: ErrorDetails };

/** What two calls at once and the next one end in. `workerUrl` is an address, or the text of a script. */
async function failures(workerUrl: string | undefined, script?: string): Promise<Failure[]> {
  await page.goto(`${server.url}/check.js`); // shown as text: a page without a script
  await page.addScriptTag({
    type: 'module',
    content: `import * as zeropoint from '/node_modules/zeropoint/dist/index.js'; globalThis.zeropoint = zeropoint;`,
  });
  await page.waitForFunction(() => 'zeropoint' in globalThis);
  return page.evaluate(
    async ([address, text]) => {
      const { zeropoint } = globalThis as unknown as { zeropoint: typeof import('zeropoint') };
      const { configure, engineInfo, Model } = zeropoint;
      const made = text && URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
      configure({ workerUrl: made || address, stepTimeout: made ? 2000 : undefined });
      const failure = (work: Promise<unknown>) =>
        work.then(
          () => ({ code: 'none', message: '', details: {} }),
          ({ code, message, details }) => ({ code, message, details }),
        );
      const first = await Promise.all([failure(Model.load('/model.onnx')), failure(engineInfo())]);
      return [...first, await failure(engineInfo())];
    },
    [workerUrl, script] as const,
  );
}

const other = () => server.url.replace('127.0.0.1', 'localhost');

test.each<[string, () => string]>([
  ['is not there', () => `${server.url}/nothing.js`],
  ['is a page', () => `${server.url}/index.html`],
  ['is not there, at another origin', () => `${other()}/nothing.js`],
  ['is a page of another origin', () => `${other()}/index.html`],
  ['is of a server that is not there', () => 'http://127.0.0.1:1/worker.js'],
])('a script that %s', async (_, address) => {
  for (const { code, message, details } of await failures(address())) {
    expect({ code, file: details.file }).toEqual({ code: 'io', file: address() });
    expect(message).toContain("the engine's worker could not be started");
    expect(details.hint).toContain('workerUrl');
  }
});

test('the package’s own script is not there', async () => {
  await page.route('**/worker.js', (route) => route.fulfill({ status: 404 }));
  for (const { code, message } of await failures(undefined)) {
    expect(code).toBe('io');
    expect(message).toContain("the engine's worker could not be started");
  }
});

test('a policy forbids workers', async () => {
  await page.route('**/check.js', async (route) => {
    const response = await route.fetch();
    const headers = { ...response.headers(), 'content-security-policy': "worker-src 'none'" };
    await route.fulfill({ response, headers });
  });
  for (const { code, message } of await failures(undefined)) {
    expect(code).toBe('io');
    expect(message).toContain("the engine's worker could not be started");
  }
});

test('a script that fails', async () => {
  for (const { code, message } of await failures('', 'throw new Error("by itself")')) {
    expect(code).toBe('io');
    expect(message).toMatch(/failed: .*by itself/);
  }
});

test('a script that is another’s, and says nothing', async () => {
  for (const { code, message } of await failures('', 'addEventListener("message", () => {})')) {
    expect(code).toBe('engine-lost');
    expect(message).toContain('said nothing for 2 seconds');
  }
});

test('the page can go on without a worker', async () => {
  await failures(`${server.url}/nothing.js`);
  const info = await page.evaluate(() => {
    const { zeropoint } = globalThis as unknown as { zeropoint: typeof import('zeropoint') };
    zeropoint.configure({ worker: false });
    return zeropoint.engineInfo();
  });
  expect(info.worker).toBe(false);
});
