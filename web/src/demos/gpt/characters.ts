// The characters that the network knows, by their number: those of its text, in the order of their codes.
export const characters: readonly string[] = [
  ..."\n !$&',-.3:;?",
  ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ',
  ...'abcdefghijklmnopqrstuvwxyz',
];

const numbers = new Map(characters.map((character, number) => [character, number]));

/** Those of a text that the network knows, as numbers. */
export const encoded = (text: string): number[] =>
  [...text].flatMap((character) => numbers.get(character) ?? []);

/** Characters of a text that it does not know, each once. */
export const unknownIn = (text: string): string[] =>
  [...new Set(text)].filter((character) => !numbers.has(character));
