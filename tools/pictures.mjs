// node tools/pictures.mjs: the README's pictures, docs/pictures/*.webp. It builds the page, serves it, and does in Chromium
// what a visitor does: opens the demo that reads text, quantizes it, and looks at the result.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import sharp from 'sharp';
import { preview } from 'vite';
import { build } from './build.mjs';
import { Failure, root, runMain, step } from './process.mjs';
import { setUp } from './setup.mjs';

const folder = join(root, 'docs', 'pictures');
const size = { width: 1040, height: 720 };
/** Of the animation's frames; the README shows it in this size. */
const smallWidth = 720;
const largest = 600_000; // bytes of a picture

async function startChromium() {
  const candidates = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'];
  const executablePath = candidates.find((path) => path && existsSync(path));
  if (!executablePath) throw new Failure('Chromium is not installed: set CHROMIUM to its path');
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

async function write(name, image, options) {
  const file = join(folder, `${name}.webp`);
  await image.webp({ effort: 6, ...options }).toFile(file);
  const { size: bytes } = statSync(file);
  console.log(`  ${file}: ${(bytes / 1000).toFixed(0)} KB`);
  if (bytes > largest) throw new Failure(`${file} is larger than ${largest / 1000} KB`);
}

async function takePictures(url) {
  const browser = await startChromium();
  try {
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

    const goTo = async (name) => {
      await page
        .getByRole('navigation', { name: 'Steps' })
        .getByRole('link', { name: new RegExp(`^${name}`) })
        .click();
      await page.waitForTimeout(500);
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
      await goTo(step);
      await frame(1500);
    }
    await goTo('Goal');
    await page
      .locator('.goal')
      .filter({ has: page.getByText('8-bit integers', { exact: true }) })
      .click();
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
  } finally {
    await browser.close();
  }
}

await runMain(async () => {
  await build(await setUp());
  mkdirSync(folder, { recursive: true });
  const server = await preview({
    root: join(root, 'web'),
    build: { outDir: join(root, 'dist-page') },
    preview: { port: 0, host: '127.0.0.1' },
    logLevel: 'error',
  });
  const { port } = server.httpServer.address();
  await step('pictures', () => takePictures(`http://127.0.0.1:${port}/`));
  await server.close();
});
