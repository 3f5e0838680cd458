// node tools/pictures.mjs: the README's pictures, docs/pictures/*.webp. It builds the page, serves it, and does in Chromium
// what a visitor does: opens the demo that reads text, quantizes it, and looks at the result.
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { build } from './build.mjs';
import { goTo, withChromium, withPage } from './page.mjs';
import { Failure, root, runMain, step } from './process.mjs';
import { setUp } from './setup.mjs';
import { chooseGoal } from './visit.mjs';

const folder = join(root, 'docs', 'pictures');
const size = { width: 1040, height: 720 };
/** Of the animation's frames; the README shows it in this size. */
const smallWidth = 720;
const largest = 600_000; // bytes of a picture

async function write(name, image, options) {
  const file = join(folder, `${name}.webp`);
  await image.webp({ effort: 6, ...options }).toFile(file);
  const { size: bytes } = statSync(file);
  console.log(`  ${file}: ${(bytes / 1000).toFixed(0)} KB`);
  if (bytes > largest) throw new Failure(`${file} is larger than ${largest / 1000} KB`);
}

const takePictures = (url) =>
  withChromium(async (browser) => {
    const page = await browser.newPage({ viewport: size, colorScheme: 'light', reducedMotion: 'reduce' });
    page.setDefaultTimeout(180_000);
    const frames = [];
    const frame = async (milliseconds) => frames.push({ png: await page.screenshot(), milliseconds });
    /** Scrolls to an element, with a little room above it. */
    const show = async (locator, above = 16) => {
      await locator.evaluate((element, room) => {
        scrollTo({ top: element.getBoundingClientRect().top + scrollY - room, behavior: 'instant' });
      }, above);
      await page.waitForTimeout(200);
    };

    await page.goto(url);
    const demo = page.getByRole('button', { name: /Read text/ });
    await demo.waitFor();
    await page.waitForTimeout(8000); // the demo on the start has read its digits
    await frame(2500);
    await demo.hover();
    await frame(600);
    await demo.click();
    await page.getByTestId('reading-original').locator('.read-text').waitFor();
    await page.waitForTimeout(2000);
    await frame(2000);
    for (const step of ['Model', 'Samples']) {
      await goTo(page, step);
      await frame(1500);
    }
    await goTo(page, 'Goal');
    await chooseGoal(page, '8-bit integers');
    await frame(1500);
    await page.getByRole('button', { name: 'Quantize', exact: true }).click();
    const result = page.getByTestId('result');
    for (let shown = 0; shown < 8 && (await result.count()) === 0; ++shown) {
      await frame(500);
      await page.waitForTimeout(700);
    }
    await result.waitFor();
    await page.waitForTimeout(4000);
    await show(result);
    await frame(4000);

    const small = await Promise.all(
      frames.map(({ png }) => sharp(png).resize({ width: smallWidth }).png().toBuffer()),
    );
    await write('quantize', sharp(small, { join: { animated: true } }), {
      quality: 60,
      delay: frames.map(({ milliseconds }) => milliseconds),
      loop: 0,
    });
    await show(result);
    await write('page', sharp(await page.screenshot()), { quality: 80 });
  });

await runMain(async () => {
  await build(await setUp());
  mkdirSync(folder, { recursive: true });
  await withPage((url) => step('pictures', () => takePictures(url)));
});
