// --labels: the right class of each sample.
import { readFile } from 'node:fs/promises';
import { basename, relative } from 'node:path';
import { readNpy, type ValueInfo } from '../node.ts';
import { filesAt, isImageName, WrongCall } from './common.ts';

const classOf = (text: string): number | undefined => {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return Number.isInteger(value) && value >= 0 ? value : undefined;
};

/**
 * Classes out of a file, in the order of the samples: .npy, or text with a class in each line, alone (in the order of the
 * samples) or behind the name of its image, as in `cat.jpg,281`. A first line of words is a heading.
 */
export async function labelsFor(
  path: string,
  samples: string,
  inputs: readonly ValueInfo[],
): Promise<number[]> {
  const bytes = await readFile(path).catch(() => {
    throw new WrongCall(`${path}: there is no such file`);
  });
  if (/\.npy$/i.test(path)) {
    return Array.from(readNpy(bytes, path).data as ArrayLike<number | bigint>, (value) => {
      const label = classOf(String(value));
      if (label === undefined) throw new WrongCall(`${path}: ${value} is not a class, which is 0 or more`);
      return label;
    });
  }
  const rows = bytes
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) => /^(?:(.*)[,;\t])?([^,;\t]*)$/.exec(line))
    .map((found) => ({
      name: found?.[1]?.trim().replace(/^"(.*)"$/, '$1'),
      label: classOf(found?.[2] ?? ''),
    }));
  if (rows[0]?.label === undefined) rows.shift();
  const wrong = rows.findIndex(({ label }) => label === undefined);
  if (wrong >= 0 || rows.length === 0)
    throw new WrongCall(`${path}: 'NAME,CLASS' or 'CLASS' is needed in each line, a class being 0 or more`);
  if (rows.every(({ name }) => name === undefined)) return rows.map(({ label }) => label as number);
  const known = new Map(rows.map(({ name, label }) => [name, label as number]));
  const labels: number[] = [];
  for await (const { name } of filesAt(samples, inputs)) {
    if (!isImageName(name))
      throw new WrongCall(
        `${name} is not an image and may hold several samples: give classes in the order of the samples, one a line`,
      );
    const label = known.get(relative(samples, name)) ?? known.get(basename(name));
    if (label === undefined) throw new WrongCall(`${path}: there is no line for ${basename(name)}`);
    labels.push(label);
  }
  return labels;
}
