// The page where the browser keeps nothing: it goes on, and says so.
import type { BrowserContext, Page } from 'playwright-core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { modelPath } from './browsers.ts';
import { served } from './served.ts';
import { chooseGoal, goTo, loadModel, patient, textOf } from './visitor.ts';

const angle = modelPath('ch_ppocr_mobile_v2.0_cls_infer');

const site = served();
let context: BrowserContext;

beforeEach(async () => {
  context = await site.browser.newContext();
});

afterEach(() => context.close());

async function openPage(): Promise<{ page: Page; errors: string[] }> {
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  const errors: string[] = [];
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('dialog', (dialog) => dialog.accept());
  await page.goto(site.url);
  return { page, errors };
}

const footer = (page: Page) => textOf(page.locator('footer p'));

/** Loads a model, which the browser does not keep, and quantizes it with made-up samples all the same. */
async function workUnkept(page: Page, why: string): Promise<void> {
  await loadModel(page, angle);
  await page.getByText(`keeps no copy of your work: ${why}. Download what you need.`).waitFor(); // for 20 seconds
  await page.getByText('Made-up samples').click();
  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  await page.getByTestId('result').waitFor();
  expect(await footer(page)).toContain(`does not keep your work: ${why}.`);
}

test.each<[string, () => void, string]>([
  [
    'there is none',
    () => Object.defineProperty(globalThis, 'indexedDB', { value: undefined }),
    'it has no storage here',
  ],
  [
    'it is forbidden',
    () => {
      const forbidden = () => {
        throw new DOMException('The request was denied.', 'SecurityError');
      };
      IDBFactory.prototype.open = forbidden;
      IDBFactory.prototype.deleteDatabase = forbidden;
      Object.defineProperty(globalThis, 'localStorage', { get: forbidden });
    },
    'its storage is closed to this page',
  ],
])('%s', async (_, spoil, why) => {
  await context.addInitScript(spoil);
  const { page, errors } = await openPage();
  await expect.poll(() => footer(page), patient).toContain(`does not keep your work: ${why}.`);
  await workUnkept(page, why);
  await page.getByRole('button', { name: 'Forget everything' }).click();
  await page.getByText(`Not all could be forgotten: ${why}.`).waitFor();
  // An address of an earlier visit.
  await page.goto(`${site.url}#/other/goal`);
  await page.getByText(`What this browser keeps cannot be read: ${why}.`).waitFor();
  expect(errors).toEqual([]);
});

test('it is full', async () => {
  const { page, errors } = await openPage();
  await expect.poll(() => footer(page), patient).toContain('Work is kept in this browser.');
  const session = await context.newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', {
    origin: new URL(site.url).origin,
    quotaSize: 1000,
  });
  await workUnkept(page, 'there is no more room in its storage');
  expect(errors).toEqual([]);
});

/** Where a tab holds the storage so that no other gets an answer: what ends that. `version`: of the page that it has. */
async function silence(version: number): Promise<() => Promise<void>> {
  const older = await context.newPage();
  await older.goto(`${site.url}icon.svg`);
  await older.evaluate(async (version) => {
    const request = indexedDB.open('zeropoint', version);
    request.onupgradeneeded = ({ oldVersion }) => {
      if (oldVersion > 0) return;
      request.result.createObjectStore('checkpoints', { keyPath: 'key' }).createIndex('savedAt', 'savedAt');
    };
    await new Promise((opened) => {
      request.onsuccess = opened;
    });
    Object.assign(globalThis, { held: request.result });
    // Whoever asks now waits behind this, which waits for what is held.
    if (version > 1) indexedDB.open('zeropoint', version + 1);
  }, version);
  return () => older.close();
}

const silent = 'its storage does not answer; close other tabs with this page';

test('it never answers, because a tab with an older page holds it', async () => {
  const end = await silence(1);
  const { page, errors } = await openPage();
  await expect.poll(() => footer(page), patient).toContain(`does not keep your work: ${silent}.`);
  await workUnkept(page, silent);
  // When that tab is closed, what is done next keeps all of it.
  await end();
  await nameRun(page, 'after all');
  await page.getByText('This browser keeps your work again.').waitFor();
  await expect.poll(() => footer(page), patient).toContain('Work is kept in this browser.');
  await page.reload();
  await page
    .getByRole('list', { name: 'Results' })
    .getByRole('link', { name: /1\. after all/ })
    .waitFor();
  await loadModel(await goToStart(page), angle);
  await expect.poll(() => footer(page), patient).toContain('Work is kept in this browser.');
  expect(errors).toEqual([]);
});

test('a demo that goes on while it is silent leaves the work of an earlier visit alone', async () => {
  const first = (await openPage()).page;
  await quantizeDigits(first);
  await nameRun(first, 'earlier');
  await goToStart(first);
  const left = (page: Page) => page.getByRole('region', { name: 'Work that you left' }).getByRole('link');
  await first.reload();
  await expect.poll(() => textOf(left(first)), patient).toContain('1 run');
  await first.close();

  const end = await silence(2);
  const { page, errors } = await openPage();
  await expect.poll(() => footer(page), patient).toContain(`does not keep your work: ${silent}.`);
  await quantizeDigits(page);
  await end();
  await nameRun(page, 'later');
  await page.getByText('This browser keeps your work again.').waitFor();
  await goToStart(page);
  await expect.poll(() => left(page).count(), patient).toBe(2);
  for (const [link, name] of [
    [left(page).last(), 'earlier'],
    [left(page).first(), 'later'],
  ] as const) {
    await link.click();
    await page
      .getByRole('list', { name: 'Results' })
      .getByRole('link', { name: new RegExp(`1\\. ${name}`) })
      .waitFor();
    await goToStart(page);
  }
  expect(errors).toEqual([]);
});

async function quantizeDigits(page: Page): Promise<void> {
  await page.getByRole('button', { name: /Recognise digits/ }).click();
  await goTo(page, 'Goal');
  await chooseGoal(page, '8-bit integers');
  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  await page.getByTestId('result').waitFor();
}

async function nameRun(page: Page, name: string): Promise<void> {
  await goTo(page, 'Runs');
  await page.getByRole('button', { name: 'Name run 1' }).click();
  await page.getByLabel('Name of run 1').fill(name);
  await page.keyboard.press('Enter');
}

async function goToStart(page: Page): Promise<Page> {
  await page.getByRole('link', { name: 'zeropoint: to the start' }).click();
  return page;
}
