// Results for large weights, made while a model is quantized, lie in the browser's files of this page (LoadOptions.scratch of the
// package). A page that is reloaded leaves them there, so that the work can go on.
const prefix = 'unfinished-';

async function folder(): Promise<
  (FileSystemDirectoryHandle & { keys(): AsyncIterable<string> }) | undefined
> {
  try {
    return (await navigator.storage.getDirectory()) as never;
  } catch {
    return undefined; // a browser without such files leaves nothing
  }
}

/** Removes the unfinished work of all models but one. Files that another page has open stay. */
async function removeOthers(kept?: string): Promise<void> {
  const files = await folder();
  if (!files) return;
  for await (const name of files.keys()) {
    const isOther = name.startsWith(prefix) && (kept === undefined || !name.startsWith(kept));
    if (isOther) await files.removeEntry(name).catch(() => undefined);
  }
}

/** The name for the work on a model's file, if its digest is known. Work on another model that nobody came back to goes. */
export async function scratchOf(digest: string | undefined): Promise<string | undefined> {
  if (digest === undefined) return undefined;
  const name = prefix + digest;
  await removeOthers(name);
  return name;
}

export const forgetUnfinished = (): Promise<void> => removeOthers();
