// The page and a Chromium, for all tests of a file.
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { servePage, startChromium } from './browsers.ts';

export interface Served {
  readonly url: string;
  readonly browser: Browser;
}

/** The page for a visitor of its own, and the addresses that it asks for from the start. */
export async function openPage(
  site: Served,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; requests: string[] }> {
  const context = await site.browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(site.url);
  return { page, requests };
}

/** Both are there while the tests of the file run that calls it. `flags`: of Chromium. */
export function served(flags: string[] = []): Served {
  let server: Awaited<ReturnType<typeof servePage>>;
  let browser: Browser;

  beforeAll(async () => {
    server = await servePage();
    browser = await startChromium(flags);
  });

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  return {
    get url() {
      return server.url;
    },
    get browser() {
      return browser;
    },
  };
}
