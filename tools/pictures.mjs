// node tools/pictures.mjs [--url ADDRESS] [quantize] [demos]: the README's pictures, docs/pictures/*.webp, all or those named.
// It builds and serves the page, or looks at one that is served, and does in Chromium what a visitor does: opens the demo that
// reads text, quantizes it, and looks at the result (quantize); tries the demos that hear and that write (demos).
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
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

/** Waits until the page says that it works with the network off, and dismisses that: it would lie over pictures. */
async function open(page, url) {
  await page.goto(url);
  await page.getByTestId('works-offline').waitFor();
  const notices = page.locator('.notice').getByRole('button', { name: 'Dismiss' });
  while (await notices.count()) await notices.first().click();
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

    await open(page, url);
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

/** The demos that hear and that write, with both models, side by side. */
const takeDemos = (url) =>
  withChromium(async (browser) => {
    const pictures = [];
    for (const { demo, goal, isDone } of [
      { demo: /Hear speech/, goal: '8-bit integers', isDone: /answers are the original’s/ },
      {
        demo: /Write like Shakespeare/,
        goal: '4-bit weights',
        isDone: /what differs is marked|Every character/,
      },
    ]) {
      const page = await browser.newPage({ viewport: size, colorScheme: 'light', reducedMotion: 'reduce' });
      page.setDefaultTimeout(180_000);
      await open(page, url);
      await page.getByRole('button', { name: demo }).click();
      await goTo(page, 'Goal');
      await chooseGoal(page, goal);
      await page.getByRole('button', { name: 'Quantize', exact: true }).click();
      await page.getByTestId('result').waitFor();
      await goTo(page, 'Try it');
      await page.getByTestId('reading-quantized').getByText(isDone).waitFor();
      const region = page.getByRole('region', { name: 'Try it' });
      pictures.push(
        await sharp(await region.screenshot())
          .resize({ width: smallWidth })
          .png()
          .toBuffer(),
      );
      await page.close();
    }
    await write(
      'demos',
      sharp(pictures, { join: { across: 2, shim: 16, background: '#f6f4ee', valign: 'top' } }),
      {
        quality: 80,
      },
    );
  });

const takers = { quantize: takePictures, demos: takeDemos };

await runMain(async () => {
  const { values, positionals } = parseArgs({
    options: { url: { type: 'string' } },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !Object.hasOwn(takers, name));
  if (unknown.length) throw new Failure(`no such picture: ${unknown}; there are ${Object.keys(takers)}`);
  mkdirSync(folder, { recursive: true });
  const take = async (url) => {
    for (const name of positionals.length ? positionals : Object.keys(takers))
      await step(name, () => takers[name](url));
  };
  if (values.url) return take(values.url);
  await build(await setUp());
  await withPage(take);
});
