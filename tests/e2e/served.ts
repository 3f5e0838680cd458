// The page and a Chromium, for all tests of a file.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { servePage, startChromium } from './browsers.ts';

/** Both are there while the tests of the file run that calls it. `flags`: of Chromium. */
export function served(flags: string[] = []): { readonly url: string; readonly browser: Browser } {
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
