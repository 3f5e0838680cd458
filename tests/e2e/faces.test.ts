// The demo that finds faces: in drawn people, in a photograph, and in what the camera sees.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { drawGroup, drawSample } from '../../web/src/demos/faces/draw.ts';
import { temporaryFolder } from './browsers.ts';
import { openPage, served } from './served.ts';
import {
  chooseGoal,
  goTo,
  longestTask,
  patient,
  tabTo,
  textOf,
  violationsOn,
  watchedDevice,
} from './visitor.ts';

const folder = temporaryFolder();
const [width, height] = [640, 360];

/** Milliseconds of the processor: decoding a photograph of 12 megapixels here would take far more. */
const mostAtATime = 100;

/** A film of one picture, as Chromium's camera plays it: YUV 4:2:0 between lines of text. */
function filmOf(): string {
  const { data } = drawGroup(width, height);
  const plane = (w: number, h: number, of: (r: number, g: number, b: number) => number) => {
    const step = width / w;
    return Buffer.from(
      Array.from({ length: w * h }, (_, i) => {
        const at = 4 * (Math.floor(i / w) * step * width + (i % w) * step);
        return of(data[at] as number, data[at + 1] as number, data[at + 2] as number);
      }),
    );
  };
  const frame = Buffer.concat([
    Buffer.from('FRAME\n'),
    plane(width, height, (r, g, b) => 16 + 0.257 * r + 0.504 * g + 0.098 * b),
    plane(width / 2, height / 2, (r, g, b) => 128 - 0.148 * r - 0.291 * g + 0.439 * b),
    plane(width / 2, height / 2, (r, g, b) => 128 + 0.439 * r - 0.368 * g - 0.071 * b),
  ]);
  const path = join(folder, 'people.y4m');
  writeFileSync(
    path,
    Buffer.concat([Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420jpeg\n`), frame, frame]),
  );
  return path;
}

const site = served(['--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${filmOf()}`]);

const start = (page: Page) => page.getByRole('button', { name: /Find faces/ });
const saidBy = (page: Page, side: 'original' | 'quantized') =>
  textOf(page.getByTestId(`reading-${side}`).locator('.read-text'));

describe('the demo that finds faces', () => {
  test('finds drawn people with both models, and says how they differ', async () => {
    const { page, requests } = await openPage(site);
    await start(page).waitFor();
    const isModel = (url: string) => url.includes('fr_detect');
    expect(requests.filter(isModel)).toEqual([]); // before anybody wants it
    await start(page).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    expect(requests.filter(isModel)).toHaveLength(1);
    await page.getByText(/^UltraFace is a design by Linzaer \(MIT\)/).waitFor();
    await page.getByRole('img', { name: 'The original finds 5 faces' }).waitFor();

    // By keyboard alone.
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await tabTo(page, 'Quantize');
    await page.keyboard.press('Enter');
    const result = page.getByTestId('result');
    await result.waitFor();
    await expect.poll(() => textOf(result), patient).toMatch(/\d+ of \d+ boxes are found again/);
    await expect.poll(() => saidBy(page, 'quantized'), patient).toBe('5 faces');
    const agreement = page.getByTestId('reading-quantized').getByTestId('agreement');
    const [, overlap] =
      /^5 of 5 faces are found by both\. Their boxes overlap by ([\d.]+) % at least \(IoU\), and their scores are [\d.]+ % apart at most\.$/.exec(
        (await textOf(agreement)) ?? '',
      ) ?? [];
    expect(Number(overlap)).toBeGreaterThan(80);
    await page.getByRole('slider', { name: /^Divider of Drawn people/ }).waitFor();
    await page.emulateMedia({ reducedMotion: 'reduce' });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      for (const width of [390, 1280]) {
        await page.setViewportSize({ width, height: 844 });
        expect(await violationsOn(page), `${colorScheme}, ${width}`).toEqual([]);
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      }
    }
    await page.context().close();
  });

  test('takes photographs, without a long task, and refuses what is none', async () => {
    const { page } = await openPage(site);
    await start(page).click();
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    const { data, width, height } = drawSample(6, 480, 640);
    const photograph = join(folder, 'one.jpg');
    await sharp(data, { raw: { width, height, channels: 4 } })
      .resize(3000, 4000)
      .jpeg()
      .toFile(photograph);
    const choice = page.getByLabel('Choose a photograph');
    const longest = await longestTask(site.browser, page, mostAtATime, async (attempt) => {
      if (attempt > 0) {
        await page.getByRole('button', { name: 'Drawn people' }).click();
        await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
      }
      await choice.last().setInputFiles(photograph);
      await page.getByText('one.jpg, 3000 × 4000.').waitFor();
      await expect.poll(() => saidBy(page, 'original'), patient).toBe('1 face');
    });
    console.log(`a photograph: ${longest.toFixed(0)} ms of the processor at a time`);
    expect(longest).toBeLessThan(mostAtATime);

    const text = join(folder, 'text.png');
    writeFileSync(text, 'no picture');
    await choice.last().setInputFiles(text);
    await page.getByText('text.png is not a picture that this browser can read.').waitFor();
    // It is there again when the step is.
    await goTo(page, 'Model');
    await goTo(page, 'Try it');
    await page.getByText('one.jpg, 3000 × 4000.').waitFor();
    await page.getByRole('button', { name: 'Drawn people' }).click();
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    // Photographs to calibrate with are prepared as the demo does it.
    await goTo(page, 'Samples');
    await page.getByText('Your files', { exact: true }).click();
    await page.getByLabel('Choose sample files').setInputFiles(photograph);
    await page.getByText('1 sample from 1 file.', { exact: true }).waitFor();
    await page
      .getByText(/^Guessed: Numbers from −1 to 1, because the demo prepares its pictures in this way/)
      .waitFor();
    await page.context().close();
  });

  test('looks through the camera, and lets it go', async () => {
    const { page } = await openPage(site, { permissions: ['camera'] });
    await start(page).click();
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    const isLive = await watchedDevice(page);
    await page.getByRole('button', { name: 'Use the camera' }).focus();
    await page.keyboard.press('Enter');
    await page.getByText(/^The camera is on/).waitFor();
    await page.getByRole('img', { name: 'Your camera' }).waitFor();
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    expect(await isLive()).toBe(true);
    await page.keyboard.press('Enter');
    await page.getByText(/^The camera’s last picture, 640 × 360\.$/).waitFor();
    expect(await isLive()).toBe(false);
    await expect.poll(() => saidBy(page, 'original'), patient).toBe('5 faces');
    // Whoever goes elsewhere is not looked at.
    await page.keyboard.press('Enter');
    await page.getByText(/^The camera is on/).waitFor();
    await goTo(page, 'Model');
    await expect.poll(isLive, patient).toBe(false);
    await page.context().close();

    const refused = await openPage(site);
    await start(refused.page).click();
    await refused.page.getByRole('button', { name: 'Use the camera' }).click();
    await refused.page.getByText('The browser does not let this page use the camera.').waitFor();
    await refused.page.context().close();
  });
});
