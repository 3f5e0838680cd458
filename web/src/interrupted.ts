// A run that was going on when the visitor left the page. A browser that keeps the page goes on with it when the visitor comes
// back. Other browsers have lost it, and the page says so. The note belongs to the tab: another tab's run goes on.
const key = 'zeropoint-running';

/** `what` is being done to a project. */
export function noteRunning(project: string, what: string): void {
  try {
    sessionStorage.setItem(key, JSON.stringify([project, what]));
  } catch {
    // A browser that keeps nothing has no project to come back to.
  }
}

export function forgetRunning(): void {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // Nothing was noted.
  }
}

/** The work on the project when the visitor left the page; undefined: none. Each call takes the note away. */
export function takeInterrupted(project: string): string | undefined {
  try {
    const [noted, what] = JSON.parse(sessionStorage.getItem(key) ?? '[]') as string[];
    if (noted !== project) return undefined;
    forgetRunning();
    return what;
  } catch {
    return undefined;
  }
}
