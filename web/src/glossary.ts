// The words of docs/GLOSSARY.md, which the page shows where they occur: there is one list.
/** Its text, as data: the page shares no code with files outside of it. */
const [source = ''] = Object.values(
  import.meta.glob<string>('../../docs/GLOSSARY.md', { query: '?raw', import: 'default', eager: true }),
);

/** A definition may go on in further lines, which are indented. */
const entry = /^- ((?:\*\*[^*]+\*\*(?:, )?)+)(?: \([^)]*\))?: ([^\n]+(?:\n {2}[^\n]+)*)/gm;

const plain = (markdown: string) => markdown.replaceAll(/\s+/g, ' ').replaceAll(/[*`]/g, '');

/** Terms in small letters, without the words in brackets. */
export const glossary: ReadonlyMap<string, string> = new Map(
  [...source.matchAll(entry)].flatMap(([, terms = '', text = '']) =>
    plain(terms)
      .split(', ')
      .map((term) => [term.replace(/ \(.*\)$/, '').toLowerCase(), plain(text)] as const),
  ),
);
