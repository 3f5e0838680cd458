// A run that the page was left in the middle of. A browser that keeps the page goes on with it on the way back; one that does
// not has lost it, and whoever comes back is told. The note is the tab's: another tab's run goes on.
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

/** What was being done to the project when the page was left; undefined: nothing. It is said once. */
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
