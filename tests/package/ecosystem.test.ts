// The projects of tests/ecosystem/ that need no further tools; `npm run test:ecosystem` runs them all.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChromium } from '../e2e/browsers.ts';
import { projects } from '../ecosystem/projects.mjs';
import { expected, faultsOf, runProject } from '../ecosystem/run.mjs';
import { installed } from './helpers.ts';

let browser: Browser;
let y: string;

beforeAll(async () => {
  browser = await startChromium();
  y = await expected(installed);
});

afterAll(() => browser?.close());

const quick = Object.entries(projects).filter(([, project]) => project.quick);

test.each(quick.map(([name, { title }]) => [title, name] as const))(
  '%s',
  async (_, name) => {
    expect(faultsOf(name, await runProject(name, { installed, browser }), y)).toEqual([]);
  },
  300_000,
);
