// As faults.test.ts, in Chromium: a browser says nothing when a worker is terminated, and yet all who wait are answered.
import type { Browser, Page, Worker } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startChromium } from '../e2e/browsers.ts';
import { open } from '../ecosystem/run.mjs';
import { installed } from './helpers.ts';

let browser: Browser;
let server: Awaited<ReturnType<typeof open>>;
let page: Page;

beforeAll(async () => {
  browser = await startChromium();
  server = await open('plain', installed, { isolated: true });
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

beforeEach(async () => {
  page = await browser.newPage();
  await page.addInitScript(() => {
    const all: globalThis.Worker[] = [];
    Object.assign(globalThis, { all });
    globalThis.Worker = class extends globalThis.Worker {
      constructor(...args: ConstructorParameters<typeof globalThis.Worker>) {
        super(...args);
        all.push(this);
      }
    };
  });
  await page.goto(`${server.url}/check.js`); // shown as text: a page without a script
  await addPackage();
});

afterEach(() => page.close());

async function addPackage(): Promise<void> {
  // Not import() in the test: Vitest makes another call of it.
  const address = '/node_modules/zeropoint/dist/index.js';
  await page.addScriptTag({
    type: 'module',
    content: `import * as zeropoint from '${address}'; globalThis.zeropoint = zeropoint;`,
  });
  await page.waitForFunction(() => 'zeropoint' in globalThis);
}

/** Has the page quantize for as long as it can, and gives the code of the error that ends that, and what comes after. */
function work(): Promise<{ codes: string[]; again: number; workers: number }> {
  return page.evaluate(async () => {
    const state = globalThis as unknown as {
      all: unknown[];
      busy: boolean;
      zeropoint: typeof import('zeropoint');
    };
    const { configure, Model, Tensor } = state.zeropoint;
    configure({ threads: 2, stepTimeout: 3000 });
    const model = await Model.load('/model.onnx');
    const session = await model.createSession();
    const [name = ''] = session.inputNames;
    const sample = { [name]: new Tensor('float32', new Float32Array(16 * 96), [1, 16, 96]) };
    function* samples() {
      for (;;) {
        state.busy = true;
        yield sample;
      }
    }
    const codeOf = (promise: Promise<unknown>) =>
      promise.then(
        () => 'done',
        (error) => String(error.code),
      );
    const codes = [await codeOf(model.quantize({ calibration: samples() }))];
    codes.push(
      await codeOf(session.run(sample)),
      await codeOf(model.inspect()),
      await codeOf(model.dispose()),
    );
    const other = await Model.load('/model.onnx');
    return { codes, again: other.inputs.length, workers: state.all.length };
  });
}

const isBusy = () => page.evaluate(() => (globalThis as unknown as { busy?: boolean }).busy === true);

/** The engine's worker: the first that was started. */
const engineWorker = () => page.workers()[0] as Worker;

test.each<[string, () => Promise<unknown>]>([
  [
    'it is terminated',
    () => page.evaluate(() => (globalThis as unknown as { all: globalThis.Worker[] }).all[0]?.terminate()),
  ],
  ['it closes itself', () => engineWorker().evaluate(() => globalThis.close())],
  [
    'it throws where nobody catches',
    () =>
      engineWorker().evaluate(() => {
        setTimeout(() => {
          throw new Error('nobody catches this');
        });
      }),
  ],
  ['it hangs', () => Promise.race([engineWorker().evaluate('for (;;);'), isBusy()])],
  [
    'it answers what cannot be read',
    () =>
      page.evaluate(() =>
        (globalThis as unknown as { all: globalThis.Worker[] }).all[0]?.dispatchEvent(
          new MessageEvent('messageerror'),
        ),
      ),
  ],
])('%s', async (_, inject) => {
  const working = work();
  await expect.poll(isBusy, { timeout: 60_000 }).toBe(true);
  await inject();
  const { codes, again, workers } = await working;
  expect(codes).toEqual(['engine-lost', 'engine-lost', 'engine-lost', 'done']);
  expect(again).toBe(1);
  expect(workers).toBe(2);
});

test('a page that was left in the middle of large weights goes on with them', async () => {
  const quantize = (isLeft: boolean) =>
    page.evaluate(async (left) => {
      const { Model } = (globalThis as unknown as { zeropoint: typeof import('zeropoint') }).zeropoint;
      const whole = await Model.load('/model.onnx');
      const files = await Promise.all(
        (await whole.toFiles({ name: 'm.onnx', externalData: true })).map(
          async (file) => new File([await file.bytes()], file.name, { lastModified: 1 }),
        ),
      );
      const [file, ...externalData] = files;
      const model = await Model.load(file as File, { externalData, weights: 'files', scratch: 'work' });
      const { model: small } = await model.quantize({ mode: 'weight-only', weights: 'int4' });
      const bytes = [...(await small.toBytes())];
      if (!left) {
        await small.dispose();
        await model.dispose();
        await whole.dispose();
      }
      return { found: model.left, bytes };
    }, isLeft);
  const names = () =>
    page.evaluate(async () => {
      const all: string[] = [];
      const folder = await navigator.storage.getDirectory();
      for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys())
        all.push(name);
      return all.sort();
    });
  const first = await quantize(true);
  expect(first.found).toBe(0);
  await page.reload();
  await addPackage();
  const second = await quantize(false);
  expect(second.found).toBeGreaterThan(0);
  expect(second.bytes).toEqual(first.bytes);
  await expect.poll(names).toEqual([]);
});
