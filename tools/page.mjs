// The page as it is built, served, in a Chromium that is seen by programs only: for tools that take pictures of it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { preview } from 'vite';
import { Failure, root } from './process.mjs';
import * as visit from './visit.mjs';

export function chromiumPath() {
  const candidates = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'];
  const path = candidates.find((each) => each && existsSync(each));
  if (!path) throw new Failure('Chromium is not installed: set CHROMIUM to its path');
  return path;
}

const launchOptions = () => ({ executablePath: chromiumPath(), args: ['--no-sandbox', '--disable-gpu'] });
const startChromium = () => chromium.launch(launchOptions());

/** Chromium with a profile in a folder: without one it has little storage. */
export const startWithProfile = (folder) => chromium.launchPersistentContext(folder, launchOptions());

/** Calls `take` with the browser. */
export async function withChromium(take) {
  const browser = await startChromium();
  try {
    return await take(browser);
  } finally {
    await browser.close();
  }
}

/** Serves dist-page, and calls `take` with its address. */
export async function withPage(take) {
  const server = await preview({
    root: join(root, 'web'),
    build: { outDir: join(root, 'dist-page') },
    preview: { port: 0, host: '127.0.0.1' },
    logLevel: 'error',
  });
  try {
    return await take(`http://127.0.0.1:${server.httpServer.address().port}/`);
  } finally {
    await server.close();
  }
}

/** Goes to a step, and waits until it is drawn. */
export async function goTo(page, step) {
  await visit.goTo(page, step);
  await page.waitForTimeout(500);
}
