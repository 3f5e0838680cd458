import type { Browser, Page } from 'playwright-core';

export function goTo(page: Page, step: string): Promise<void>;
export function chooseGoal(page: Page, title: string): Promise<void>;

/** Ends with what the tasks took from the processor, in milliseconds: the longest, how many more than 50, and all. */
export function watchTasks(
  browser: Browser,
  page: Page,
): Promise<() => Promise<{ longest: number; count: number; durations: number[] }>>;
