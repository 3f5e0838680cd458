// The demos that hear and that write: each shows the original and the quantized model side by side.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { first, play } from '../../web/src/demos/voice/sound.ts';
import { wavOf } from '../../web/src/samples/wav.ts';
import { temporaryFolder } from './browsers.ts';
import { served } from './served.ts';
import { chooseGoal, goTo, patient, textOf, violationsOn, watchedDevice } from './visitor.ts';

const folder = temporaryFolder();

/** What the microphone hears, again and again. */
const heardSound = join(folder, 'heard.wav');
writeFileSync(heardSound, wavOf(play(first, 11), 16_000));

const site = served([
  '--use-fake-device-for-media-stream',
  `--use-file-for-fake-audio-capture=${heardSound}`,
]);

async function openDemo(name: RegExp, permissions: string[] = []): Promise<Page> {
  const context = await site.browser.newContext({ permissions, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(site.url);
  await page.getByRole('button', { name }).click();
  return page;
}

const sideOf = (page: Page, side: 'original' | 'quantized') => page.getByTestId(`reading-${side}`);

describe('the demo that hears speech', () => {
  /** Where the made-up sound has speech, in seconds. */
  const spoken: [number, number][] = [];
  let at = 0;
  for (const [kind, seconds] of first) {
    if (kind === 'speech') spoken.push([at, at + seconds]);
    at += seconds;
  }

  /** Where a model hears speech. */
  async function heardBy(side: Locator): Promise<[number, number][]> {
    const text = side.locator('.read-text');
    await expect.poll(() => textOf(text), patient).toMatch(/^Speech at /);
    return [...((await textOf(text)) ?? '').matchAll(/([\d.]+)–([\d.]+)/g)].map(([, from, to]) => [
      Number(from),
      Number(to),
    ]);
  }

  /** Seconds that two lists of stretches have in common. */
  const common = (a: readonly [number, number][], b: readonly [number, number][]) =>
    a
      .flatMap(([from, to]) =>
        b.map(([start, end]) => Math.max(0, Math.min(to, end) - Math.max(from, start))),
      )
      .reduce((sum, each) => sum + each, 0);
  const lengthOf = (stretches: readonly [number, number][]) => common(stretches, [[0, 1e9]]);

  test('hears it where it is, with both models, and nothing in noise', async () => {
    const page = await openDemo(/Hear speech/);
    const original = await heardBy(sideOf(page, 'original'));
    expect(common(original, spoken)).toBeGreaterThan(0.6 * lengthOf(spoken));
    expect(lengthOf(original) - common(original, spoken)).toBeLessThan(0.8);
    await page.getByText(/^Silero VAD by the Silero team \(MIT\)/).waitFor();

    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    // The answers are speech or none, not what the network remembers.
    await expect.poll(() => textOf(result), patient).toMatch(/\d+ of 64 answers are the same|All 64 answers/);
    const quantized = await heardBy(sideOf(page, 'quantized'));
    expect(common(quantized, spoken)).toBeGreaterThan(0.5 * lengthOf(spoken));
    await expect
      .poll(() => textOf(sideOf(page, 'quantized').getByTestId('agreement')), patient)
      .toMatch(/^\d+ of \d+ answers are the original’s/);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);

    // A file: nobody speaks in noise.
    const noise = join(folder, 'noise.wav');
    writeFileSync(noise, wavOf(play([['noise', 2]], 5), 16_000));
    await page.getByLabel('Your sound file').setInputFiles(noise);
    await page.getByText('noise.wav, 2.0 s.').waitFor();
    for (const side of ['original', 'quantized'] as const) {
      await expect.poll(() => textOf(sideOf(page, side).locator('.read-text')), patient).toBe('No speech');
    }
    const text = join(folder, 'text.wav');
    writeFileSync(text, 'no sound');
    await page.getByLabel('Your sound file').setInputFiles(text);
    await page.getByText('text.wav is not a sound that this browser can read.').waitFor();
    await page.context().close();
  });

  test('listens live, shows what it hears, and lets the microphone go', async () => {
    const page = await openDemo(/Hear speech/, ['microphone']);
    const refused: string[] = [];
    page.on('console', (message) => {
      if (/Content Security Policy/.test(message.text())) refused.push(message.text());
    });
    const isLive = await watchedDevice(page);
    // By keyboard: the button that starts is the one that stops.
    await page.getByRole('button', { name: 'Listen live' }).focus();
    await page.keyboard.press('Enter');
    await page.getByText(/^The microphone is on/).waitFor();
    const said = sideOf(page, 'original').locator('.read-text');
    await expect.poll(() => textOf(said), patient).toMatch(/^Speech, \d+ %$/);
    await expect.poll(() => textOf(said), patient).toMatch(/^No speech, \d+ %$/);
    const track = page.getByRole('img', { name: /^The microphone, 10\.0 s: the original hears/ });
    await track.waitFor();
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    expect(await isLive()).toBe(true);
    await page.keyboard.press('Enter');
    await page.getByText(/^Your microphone, \d+\.\d s\.$/).waitFor();
    expect(await isLive()).toBe(false);
    await expect.poll(() => textOf(said), patient).toMatch(/^Speech at /);
    // Whoever goes elsewhere is not listened to.
    await page.keyboard.press('Enter');
    await page.getByText(/^The microphone is on/).waitFor();
    await goTo(page, 'Model');
    await expect.poll(isLive, patient).toBe(false);
    expect(refused).toEqual([]);
    await page.context().close();

    const silent = await openDemo(/Hear speech/);
    await silent.getByRole('button', { name: 'Listen live' }).click();
    await silent.getByText('The browser does not let this page use the microphone.').waitFor();
    await silent.context().close();
  });

  test('takes a recording, and says where the browser gives no microphone', async () => {
    const page = await openDemo(/Hear speech/, ['microphone']);
    await page.getByRole('button', { name: 'Record sound' }).click();
    await page.getByText('Recording…').waitFor();
    await page.waitForTimeout(1500);
    await page.getByRole('button', { name: 'Stop recording' }).click();
    await page.getByText(/^microphone-.*\.wav, \d\.\d s\.$/).waitFor();
    await sideOf(page, 'original').locator('.read-text').waitFor();
    await page.context().close();

    const refused = await openDemo(/Hear speech/);
    await refused.getByRole('button', { name: 'Record sound' }).click();
    await refused.getByText('The browser does not let this page use the microphone.').waitFor();
    await refused.context().close();
  });
});

test('the demo that writes goes on from words with floats and with 4-bit weights', async () => {
  const page = await openDemo(/Write like Shakespeare/);
  const original = sideOf(page, 'original');
  const textBy = (side: Locator) => side.getByTestId('written').textContent();
  const isDone = (side: Locator) =>
    expect.poll(() => textOf(side.getByRole('status')), patient).toMatch(/ a character\./);
  await isDone(original);
  const before = await textBy(original);
  expect(before).toHaveLength(280);
  // It writes words: one that was not trained would not.
  expect(
    before?.split(/\s+/).filter((word) => /^(the|to|and|of|I|you|my|that|with|is|in|for|not)$/.test(word))
      .length,
  ).toBeGreaterThan(3);

  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  const result = page.getByTestId('result');
  await result.waitFor();
  await page.getByText('4-bit weights').first().waitFor();
  const [, after, float] =
    /^Right answers: ([\d.]+) %, the original ([\d.]+) %, of 400 next characters/.exec(
      (await textOf(result.getByTestId('right-answers'))) ?? '',
    ) ?? [];
  expect(Number(float)).toBeGreaterThan(45);
  expect(Number(after)).toBeGreaterThan(Number(float) - 5);

  const quantized = sideOf(page, 'quantized');
  await isDone(quantized);
  await expect
    .poll(() => textOf(quantized.getByRole('status')), patient)
    .toMatch(/The same as the original for \d+ characters|Every character is the original’s/);
  // The same dice throw the same text.
  await expect.poll(() => textBy(original), patient).toBe(before);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  expect(await violationsOn(page)).toEqual([]);

  await page.getByLabel('Your words').fill('JULIET:\nÉ 7');
  await page.getByText('It knows no É 7: left out.').waitFor();
  await page.getByRole('button', { name: 'Write' }).click();
  await isDone(original);
  expect(await textBy(original)).not.toBe(before);
  await page.context().close();
});
