// What tests of the page do as a visitor does it.
import { readFileSync } from 'node:fs';
import type { Browser, Locator, Page } from 'playwright-core';
import { watchTasks } from '../../tools/visit.mjs';

export { chooseGoal, goTo } from '../../tools/visit.mjs';

/** Other programs may need the processor too. */
export const patient = { timeout: 60_000 };

export const loadModel = async (page: Page, path: string) => {
  await page.getByLabel('Choose a model').setInputFiles(path);
  await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
};

/** What axe finds wrong with the page as it stands. */
export async function violationsOn(page: Page): Promise<string[]> {
  await page.evaluate(
    readFileSync(new URL('../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8'),
  );
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
  });
}

/**
 * How long the longest task of the page keeps the processor while `act` does something, in milliseconds: the shortest of up
 * to four tries, because other programs take the processor's memory and so make any task longer. No further try is made
 * once one takes less than `most`.
 */
export async function longestTask(
  browser: Browser,
  page: Page,
  most: number,
  act: (attempt: number) => Promise<void>,
): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 4 && least >= most; ++attempt) {
    const tasks = await watchTasks(browser, page);
    await act(attempt);
    least = Math.min(least, (await tasks()).longest);
  }
  return least;
}

export const textOf = async (element: Locator) => (await element.textContent())?.trim();

export async function tabTo(page: Page, name: string | RegExp): Promise<void> {
  for (let i = 0; i < 60; ++i) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => document.activeElement?.textContent?.trim());
    if (typeof name === 'string' ? focused === name : name.test(focused ?? '')) return;
  }
  throw new Error(`no amount of tabbing comes to '${name}'`);
}

/** From here on: whether the microphone or camera that the page opened last is on. */
export async function watchedDevice(page: Page): Promise<() => Promise<boolean>> {
  await page.evaluate(() => {
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = async (wanted) => {
      const stream = await open(wanted);
      Object.assign(globalThis, { opened: stream });
      return stream;
    };
  });
  return () =>
    page.evaluate(() =>
      (globalThis as unknown as { opened: MediaStream }).opened
        .getTracks()
        .some(({ readyState }) => readyState === 'live'),
    );
}
