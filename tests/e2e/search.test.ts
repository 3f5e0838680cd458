// The demo that searches by meaning: its own text, and one of the visitor's.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from './browsers.ts';
import { openPage, served } from './served.ts';
import { goTo, longestTask, patient, tabTo, textOf, violationsOn } from './visitor.ts';

const folder = temporaryFolder();
const site = served();

const start = (page: Page) => page.getByRole('button', { name: /Search by meaning/ });
const sideOf = (page: Page, side: 'original' | 'quantized') => page.getByTestId(`reading-${side}`);
const hitsOf = (page: Page, side: 'original' | 'quantized') =>
  sideOf(page, side).locator('.hit-text').allTextContents();
const ask = (page: Page, query: string) => page.getByRole('searchbox').fill(query);
const isRead = (page: Page, side: 'original' | 'quantized') =>
  sideOf(page, side)
    .getByText(/ a sentence, a file of /)
    .waitFor();

/** Milliseconds of the processor: reading such a text here would take seconds. */
const mostAtATime = 200;

const dentist = 'See the dentist twice a year, even if nothing hurts.';
const owls = 'Owls hunt at night and hear a mouse under the snow.';

describe('the demo that searches by meaning', () => {
  test('finds what means the nearest thing with both models, and marks what moved', async () => {
    const { page, requests } = await openPage(site);
    await start(page).waitFor();
    const isModel = (url: string) => /sentences-.*\.onnx/.test(url);
    expect(requests.filter(isModel)).toEqual([]); // before anybody wants it
    await start(page).focus();
    await page.keyboard.press('Enter');
    await isRead(page, 'original');
    expect(requests.filter(isModel)).toHaveLength(1);
    await page.getByText(/^The network was trained for zeropoint/).waitFor();
    await page.getByText('Everyday sentences: 246 sentences.').waitFor();
    await expect.poll(() => hitsOf(page, 'original'), patient).toHaveLength(10);
    expect((await hitsOf(page, 'original')).slice(0, 3)).toContain(dentist);

    // By keyboard alone: an example is asked for.
    await tabTo(page, 'Which animals are active in the dark?');
    await page.keyboard.press('Enter');
    await expect.poll(async () => (await hitsOf(page, 'original')).slice(0, 3), patient).toContain(owls);
    await tabTo(page, 'Quantize');
    await page.keyboard.press('Enter');
    const result = page.getByTestId('result');
    await result.waitFor();
    await expect.poll(() => textOf(result), patient).toMatch(/\d+ of 64 samples keep their nearest/);
    await isRead(page, 'quantized');
    const agreement = page.getByTestId('agreement');
    await expect
      .poll(() => textOf(agreement), patient)
      .toMatch(/^(The 10|\d+ of the 10) nearest are the same, .*\. Similarities are 0\.\d+ apart at most\.$/);
    const [original, quantized] = [await hitsOf(page, 'original'), await hitsOf(page, 'quantized')];
    expect(quantized).toHaveLength(10);
    expect(quantized.filter((each) => original.includes(each)).length).toBeGreaterThan(6);
    // What has another rank is marked, with the rank that it has.
    const moved = quantized.filter((each, i) => original[i] !== each);
    const marked = sideOf(page, 'quantized').locator('.moved');
    expect(await marked.locator('.hit-text').allTextContents()).toEqual(moved);
    for (const each of await marked.all()) {
      const [, rank] = /No\. (\d+) in the original$/.exec((await textOf(each)) ?? '') ?? [];
      const sentence = await textOf(each.locator('.hit-text'));
      expect(original.indexOf(sentence as string) + 1 || Number(rank) > 10).toBeTruthy();
      if (Number(rank) <= 10) expect(original[Number(rank) - 1]).toBe(sentence);
    }

    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      for (const width of [390, 1280]) {
        await page.setViewportSize({ width, height: 844 });
        expect(await violationsOn(page), `${colorScheme}, ${width}`).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      }
    }
    // Nothing is asked for elsewhere, whatever is typed.
    expect(requests.filter((url) => !url.startsWith(site.url) && !/^(blob|data):/.test(url))).toEqual([]);
    await page.context().close();
  });

  test('searches a text of the visitor’s, without a long task, and says what it leaves out', async () => {
    const { page } = await openPage(site);
    await start(page).click();
    await isRead(page, 'original');
    await page.getByText('Search a text of your own').click();
    await page
      .getByLabel('Paste a text in English')
      .fill('The cat sleeps on the sofa. Stocks fell sharply on Monday!\n\nWe had pizza for dinner.');
    await page.getByRole('button', { name: 'Search this text' }).click();
    await page.getByText('Your text: 3 sentences.').waitFor();
    await ask(page, 'a meal in the evening');
    await expect
      .poll(async () => (await hitsOf(page, 'original'))[0], patient)
      .toBe('We had pizza for dinner.');
    expect(await hitsOf(page, 'original')).toHaveLength(3);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);

    const words = 'The ship sailed over the sea to a town that nobody knew';
    const lines = Array.from({ length: 6000 }, (_, i) => `${words}, on day number ${i} of the year.`);
    const file = page.getByLabel('Choose a text file').last();
    const longest = await longestTask(site.browser, page, mostAtATime, async (attempt) => {
      const long = join(folder, `long-${attempt}.txt`);
      writeFileSync(long, lines.join('\n'));
      await ask(page, 'a meal in the evening');
      await file.setInputFiles(long);
      await page
        .getByText(
          `long-${attempt}.txt: 5000 sentences. Only the first 5000 are searched: 1000 more are left out.`,
        )
        .waitFor();
      await isRead(page, 'original');
      await ask(page, 'a boat on the water');
      await expect.poll(async () => (await hitsOf(page, 'original'))[0], patient).toMatch(/^The ship sailed/);
    });
    console.log(`reading 5000 sentences: ${longest.toFixed(0)} ms of the processor at a time`);
    expect(longest).toBeLessThan(mostAtATime);

    const short = join(folder, 'short.txt');
    writeFileSync(short, `${'word '.repeat(90)}.`);
    await file.setInputFiles(short);
    await page.getByText('short.txt: 1 sentence. Of 1 sentence only the beginning is read.').waitFor();
    const none = join(folder, 'none.txt');
    writeFileSync(none, '… – …');
    await file.setInputFiles(none);
    await page.getByRole('alert').getByText('There is no sentence in none.txt.').waitFor();
    const picture = join(folder, 'picture.txt');
    writeFileSync(picture, Buffer.from([0x89, 0x50, 0, 0]));
    await file.setInputFiles(picture);
    await page.getByText('picture.txt is not a text, or has more than 8.0 MB.').waitFor();
    // It is there again when the step is.
    await goTo(page, 'Model');
    await goTo(page, 'Try it');
    await page.getByText(/^short\.txt: 1 sentence\./).waitFor();
    expect(await page.getByRole('searchbox').inputValue()).toBe('a boat on the water');
    await page.getByText('Search a text of your own').click();
    await page.getByRole('button', { name: 'Everyday sentences' }).click();
    await page.getByText(/^Everyday sentences: 246 sentences\./).waitFor();
    await ask(page, '');
    await page.getByText(/Type something to search for\.$/).waitFor();
    await expect.poll(() => hitsOf(page, 'original'), patient).toEqual([]);
    await page.context().close();
  });

  test('a thread that cannot start is said, and is started again', async () => {
    const { page } = await openPage(site);
    await start(page).waitFor();
    await page.evaluate(() => {
      const { Worker } = globalThis;
      globalThis.Worker = class extends Worker {
        constructor(url: string | URL, options?: WorkerOptions) {
          // The engine's has a name.
          super(options?.name ? url : '/none.js', options);
          if (!options?.name) globalThis.Worker = Worker;
        }
      };
    });
    await start(page).click();
    const alert = page.getByRole('alert').getByText('A part of the page could not be started');
    await alert.waitFor();
    await page.getByText('Search a text of your own').click();
    await page.getByRole('button', { name: 'Everyday sentences' }).click();
    await page.getByText('Everyday sentences: 246 sentences.').waitFor();
    expect(await alert.count()).toBe(0);
    await page.context().close();
  });
});
