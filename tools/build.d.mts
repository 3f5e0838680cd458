/** Builds the page as one file where that is due, and answers its path. */
export function buildSingle(): Promise<string>;
