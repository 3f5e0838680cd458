// The sentences of a text.

/** A line that is longer, and that no sentence ends in, goes on in the next one. */
const shortLine = 50;

/** Words with a full stop that ends no sentence. */
const shortened = /(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|e\.g|i\.e|[A-Z])\.$/;

const ended = /[.!?…:;]["'”’)\]]*$/;

/** Between a sign that ends a sentence, with closing quotes or brackets, and a sign that may begin one. */
const border = /(?<=[.!?…]["'”’)\]]*)\s+(?=["'“‘([]?[\p{Lu}\p{Lo}\p{N}])/u;

/** Lines, joined where a text was only broken to be narrow. */
function joined(text: string): string[] {
  const found: string[] = [];
  let goesOn = false;
  for (const raw of text.split(/\r\n|[\n\r\u2028\u2029]/)) {
    const line = raw.replace(/\s+/g, ' ').trim();
    const before = found.at(-1);
    if (
      line &&
      before !== undefined &&
      (goesOn || (before && !ended.test(before) && /^\p{Ll}/u.test(line)))
    ) {
      found[found.length - 1] = `${before} ${line}`;
    } else {
      found.push(line);
    }
    goesOn = line.length > shortLine && !ended.test(line);
  }
  return found;
}

/** Each once, in their order. */
export function sentencesOf(text: string): string[] {
  const found = new Set<string>();
  for (const line of joined(text)) {
    let open = '';
    for (const part of line.split(border)) {
      open = open ? `${open} ${part}` : part;
      if (shortened.test(open)) continue;
      if (/[\p{L}\p{N}]/u.test(open)) found.add(open);
      open = '';
    }
    if (/[\p{L}\p{N}]/u.test(open)) found.add(open);
  }
  return [...found];
}

/** The text of a file; undefined: it holds none. */
export function textIn(bytes: Uint8Array): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Older programs of Windows save texts so.
    return new TextDecoder('windows-1252').decode(bytes);
  }
}
