// A visitor goes to another page while something is being computed, and comes back.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelPath, servePage, startChromium, startFirefox, temporaryFolder } from './browsers.ts';
import { goTo, loadModel, patient, textOf } from './visitor.ts';

const recognition = modelPath('ch_PP-OCRv4_rec_infer');

let server: Awaited<ReturnType<typeof servePage>>;

beforeAll(async () => {
  server = await servePage();
});

afterAll(() => server?.close());

/** A page on which a model of 11 MB is being quantized, which takes seconds. */
async function quantizing(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  page.on('dialog', (dialog) => dialog.accept()); // it asks before it is left
  await page.goto(server.url);
  await loadModel(page, recognition);
  await page.getByText('Made-up samples').click();
  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  await page.getByTestId('progress').waitFor();
  return page;
}

/** Why Chromium did not keep a page that was left; nothing where it did. */
function notKept(page: Page): Promise<string | null> {
  return page.evaluate(() => {
    if ('mark' in globalThis) {
      return null;
    }
    const [navigation] = performance.getEntriesByType('navigation');
    return JSON.stringify((navigation as { notRestoredReasons?: unknown }).notRestoredReasons ?? 'no reason');
  });
}

test('a browser that keeps the page goes on with it', async () => {
  // A busy Chromium gives the page up now and then ("masked": two of five beside six other programs): the page says so.
  const reasons: string[] = [];
  for (let round = 0; round < 6; round++) {
    const browser = await startChromium([], ['--disable-back-forward-cache']);
    try {
      const page = await quantizing(browser);
      await page.evaluate(() => Object.assign(globalThis, { mark: 1 }));
      await page.goto(`${server.url}icon.svg`);
      await page.waitForTimeout(500);
      await page.evaluate(() => history.back());
      const interrupted = page.getByText(/^Quantizing was interrupted when this page was left\./);
      await page.getByTestId('progress').or(page.getByTestId('result')).or(interrupted).first().waitFor();
      const reason = await notKept(page);
      if (reason === null) {
        await page.getByTestId('result').waitFor();
        expect(await interrupted.count()).toBe(0);
        return;
      }
      await interrupted.waitFor();
      reasons.push(reason);
    } finally {
      await browser.close();
    }
  }
  expect(reasons, 'the page was never kept').toEqual([]);
});

test('one that does not says that it was interrupted, and what was done before is there', async () => {
  const browser = await startChromium();
  try {
    const page = await quantizing(browser);
    await page.goto(`${server.url}icon.svg`);
    await page.goBack();
    await page.getByText(/^Quantizing was interrupted when this page was left\./).waitFor();
    await expect.poll(() => page.getByTestId('progress').count(), patient).toBe(0);
    await goTo(page, 'Samples');
    await page.getByText('Random numbers show').waitFor();
    // It is said once.
    await page.reload();
    await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
    await expect
      .poll(() => textOf(page.getByRole('navigation', { name: 'Steps' })), patient)
      .toContain('8 made-up samples');
    expect(await page.getByText(/was interrupted/).count()).toBe(0);
  } finally {
    await browser.close();
  }
});

test('Firefox goes on with it too, or says that it was interrupted', async () => {
  const browser = await startFirefox(temporaryFolder());
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(120_000);
    page.on('dialog', (dialog) => void dialog.accept());
    await page.goto(server.url);
    const input = await page.waitForSelector('input[aria-label="Choose a model"]');
    await (input as unknown as { uploadFile(path: string): Promise<void> }).uploadFile(recognition);
    const click = async (selector: string) => {
      await page.waitForSelector(selector);
      await page.$eval(selector, (element) => (element as HTMLElement).click());
    };
    await click('.segments label:last-child input');
    await click('button.large:not(:disabled)');
    await page.waitForSelector('[data-testid="progress"]');
    await page.evaluate('globalThis.mark = 1');
    await page.goto(`${server.url}icon.svg`);
    await page.evaluate('history.back()').catch(() => undefined); // the page has gone
    const isKept = await expect
      .poll(() => page.evaluate(`document.querySelector('.workspace') && 'mark' in globalThis`), patient)
      .not.toBeNull()
      .then(() => page.evaluate(`'mark' in globalThis`));
    await page.waitForSelector(
      isKept ? '[data-testid="result"]' : '::-p-text(Quantizing was interrupted when this page was left)',
    );
    console.log(isKept ? 'Firefox kept the page' : 'Firefox did not keep the page');
  } finally {
    await browser.close();
  }
});
