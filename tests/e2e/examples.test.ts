// Each project of examples/ is started by its own `npm start`, with the packed package, and does what it shows.
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installPackage } from '../package/install.ts';
import { modelPath, startChromium } from './browsers.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const names = readdirSync(join(root, 'examples'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const angle = modelPath('ch_ppocr_mobile_v2.0_cls_infer');

/** Where the examples are copied to, with the package as npm would install it. Vite and React are the project's. */
let folder: string;
let browser: Browser;
const running: ChildProcess[] = [];

beforeAll(async () => {
  const { installation } = installPackage('example-tests');
  folder = join(installation, 'examples');
  for (const name of names) {
    cpSync(join(root, 'examples', name), join(folder, name), { recursive: true });
    const installed = join('node_modules', 'zeropoint');
    cpSync(join(installation, installed), join(folder, name, installed), { recursive: true });
  }
  browser = await startChromium();
});

afterAll(async () => {
  await browser?.close();
  for (const child of running) if (child.pid) process.kill(-child.pid);
});

interface Started {
  child: ChildProcess;
  output: () => string;
  ended: Promise<number | null>;
}

function start(name: string, args: string[] = []): Started {
  const child = spawn('npm', ['start', '--silent', '--', ...args], {
    cwd: join(folder, name),
    detached: true, // so that the server behind npm ends with it
    env: { ...process.env, NO_COLOR: '1' },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data) => {
      text += data;
    });
  }
  return { child, output: () => text, ended: new Promise((done) => child.on('close', done)) };
}

/** Starts the example's server and opens its page, which must not complain. */
async function open(name: string): Promise<{ page: Page; complaints: string[] }> {
  const { child, output } = start(name, ['--host', '127.0.0.1', '--port', '0']);
  running.push(child);
  await expect.poll(output, { timeout: 60_000 }).toMatch(/http:\/\/127\.0\.0\.1:\d+/);
  const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\//.exec(output()) ?? [];
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(url);
  return { page, complaints };
}

const statusOf = (page: Page) => page.getByRole('status').textContent();
const patient = { timeout: 120_000 };

describe('examples', () => {
  test('pin the versions that the project has', () => {
    const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const name of names) {
      const { dependencies, devDependencies } = JSON.parse(
        readFileSync(join(root, 'examples', name, 'package.json'), 'utf8'),
      );
      for (const [dependency, version] of Object.entries({ ...dependencies, ...devDependencies })) {
        expect(version, `${name}: ${dependency}`).toBe(
          dependency === 'zeropoint' ? 'file:../..' : own.devDependencies[dependency],
        );
      }
    }
  });

  test('quantize-in-a-page: a model and a picture in, a smaller model out', async () => {
    const { page, complaints } = await open('quantize-in-a-page');
    const picture = join(folder, 'picture.png');
    const background = { r: 200, g: 90, b: 40 };
    await sharp({ create: { width: 200, height: 50, channels: 3, background } }).toFile(picture);
    await page.getByLabel('Model').setInputFiles(angle);
    await page.getByLabel('Samples').setInputFiles([picture]);
    await page.getByLabel('Prepared as for').selectOption('ppocr-cls');
    const waiting = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Quantize' }).click();
    await page.getByRole('link', { name: /Download/ }).click();
    const file = join(folder, 'downloaded.onnx');
    await (await waiting).saveAs(file);
    expect(statSync(file).size).toBeLessThan(statSync(angle).size / 1.8);
    expect(await statusOf(page)).toMatch(/^\d+ → \d+ bytes; agreement with the original: .* dB$/);
    expect(complaints).toEqual([]);
  });

  test('run-in-a-page: a model runs, and shows its outputs', async () => {
    const { page, complaints } = await open('run-in-a-page');
    await page.getByLabel('Model').setInputFiles(angle);
    await page.getByRole('button', { name: 'Run' }).click();
    await expect.poll(() => page.getByRole('listitem').allTextContents(), patient).toHaveLength(1);
    expect(await page.getByRole('listitem').textContent()).toMatch(/: float32\[1,2\] [\d.e-]+, [\d.e-]+$/);
    expect(complaints).toEqual([]);
  });

  test('react: a component shows sizes, times and agreement', async () => {
    const { page, complaints } = await open('react');
    await page.getByLabel('Model').setInputFiles(angle);
    await expect.poll(() => statusOf(page), patient).toBe('Done.');
    await expect.poll(() => page.getByRole('row').count(), patient).toBe(3);
    expect(await page.getByRole('row').first().textContent()).toMatch(/^Size\d+ KB\d+ KB$/);
    expect(complaints).toEqual([]);
  });

  test('worker: a worker quantizes', async () => {
    const { page, complaints } = await open('worker');
    await page.getByLabel('Model').setInputFiles(angle);
    await expect.poll(() => statusOf(page), patient).toMatch(/^\d+ of \d+ layers, \d+ → \d+ bytes$/);
    expect(complaints).toEqual([]);
  });

  test('node-folder: each model of a folder', async () => {
    const models = join(folder, 'models');
    mkdirSync(models);
    cpSync(angle, join(models, 'angle.onnx'));
    cpSync(join(root, 'package.json'), join(models, 'broken.onnx'));
    const { output, ended } = start('node-folder', [models, join(folder, 'quantized')]);
    expect(await ended, output()).toBe(1); // one of them is no model
    expect(output()).toMatch(/^angle\.onnx: \d+ → \d+ bytes, [\d.]+ dB, [\d.]+ times as fast$/m);
    expect(output()).toMatch(/^broken\.onnx: invalid-model: /m);
    expect(readdirSync(join(folder, 'quantized'))).toEqual(['angle.onnx']);
  });
});
