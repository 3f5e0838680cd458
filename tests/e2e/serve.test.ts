// The page out of the packed package, as `zeropoint serve` serves it: the engine starts in Chromium, with threads.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installPackage } from '../package/install.ts';
import { startChromium } from './browsers.ts';
import { chooseGoal, goTo, patient } from './visitor.ts';

let child: ChildProcess;
let browser: Browser;
let url: string;

beforeAll(async () => {
  const { installation } = installPackage('serve-tests');
  const program = join(installation, 'node_modules', '.bin', 'zeropoint');
  const server = spawn(program, ['serve', '--port', '0', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  child = server;
  const [said] = await once(server.stdout, 'data');
  ({ url } = JSON.parse(said));
  browser = await startChromium();
});

afterAll(async () => {
  child?.kill('SIGTERM');
  await browser?.close();
});

test('a demo is quantized, with nothing from elsewhere, and again with the server gone', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  const elsewhere: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (/^https?:$/.test(protocol) && !url.startsWith(`${origin}/`)) elsewhere.push(request.url());
  });
  await page.goto(url);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  // The package has no room for the model of the other demo.
  expect(await page.locator('button.demo strong').allTextContents()).toEqual(['Recognise digits']);
  await page.getByTestId('works-offline').waitFor(patient);

  await page.getByRole('button', { name: /^Recognise digits/ }).click();
  await goTo(page, 'Goal');
  await chooseGoal(page, '8-bit integers');
  await page.locator('button:not(:disabled)', { hasText: /^Quantize$/ }).click(patient);
  await page.getByTestId('result').waitFor({ timeout: 240_000 });
  expect(await page.locator('body').textContent()).toMatch(/SIMD, \d+ threads/);

  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  expect(code).toBe(143);
  await page.goto(url);
  await page.getByRole('heading', { name: 'Work that you left' }).waitFor(patient);
  expect({ complaints, elsewhere }).toEqual({ complaints: [], elsewhere: [] });
});
