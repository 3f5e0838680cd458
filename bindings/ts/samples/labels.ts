// The right class of each sample, out of a file.
import { ZeropointError } from '../errors.ts';
import { isNpy, readNpy } from './npy.ts';

const classOf = (text: string): number | undefined => {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return Number.isInteger(value) && value >= 0 ? value : undefined;
};

/**
 * Right classes for quantize(), in the order of the samples. The file is .npy, or text with a class (0 or more) in each
 * line, alone (in the order of the samples) or behind the name of its sample's file, as in `cat.jpg,281`. A first line of
 * words is a heading. `name` is for error messages. `samples`: the file's name of each sample, with or without folders;
 * asked for only where lines have names. Throws `invalid-argument` where a line says no class, or a sample has no line.
 */
export async function labelsInFile(
  bytes: Uint8Array,
  name: string,
  samples: Iterable<string> | AsyncIterable<string> = [],
): Promise<number[]> {
  const invalid = (message: string) =>
    new ZeropointError('invalid-argument', `${name}: ${message}`, { file: name });
  if (isNpy(bytes)) {
    return Array.from(readNpy(bytes, name).data as ArrayLike<number | bigint>, (value) => {
      const label = classOf(String(value));
      if (label === undefined) throw invalid(`${value} is not a class: classes are integers of 0 or more`);
      return label;
    });
  }
  const rows = new TextDecoder()
    .decode(bytes)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) => /^(?:(.*)[,;\t])?([^,;\t]*)$/.exec(line))
    .map((found) => ({
      name: found?.[1]?.trim().replace(/^"(.*)"$/, '$1'),
      label: classOf(found?.[2] ?? ''),
    }));
  if (rows[0]?.label === undefined) rows.shift();
  if (rows.length === 0 || rows.some(({ label }) => label === undefined))
    throw invalid("'NAME,CLASS' or 'CLASS' is needed in each line, a class being 0 or more");
  if (rows.every((row) => row.name === undefined)) return rows.map(({ label }) => label as number);
  const known = new Map(rows.map((row) => [row.name, row.label as number]));
  const labels: number[] = [];
  for await (const path of samples) {
    const last = path.split(/[\\/]/).at(-1);
    const label = known.get(path) ?? known.get(last);
    if (label === undefined) throw invalid(`there is no line for ${last}`);
    labels.push(label);
  }
  return labels;
}
