import type { Page } from 'playwright-core';

export function goTo(page: Page, step: string): Promise<void>;
export function chooseGoal(page: Page, title: string): Promise<void>;
