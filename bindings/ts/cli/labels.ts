// --labels: the right class of each sample.
import { readFile } from 'node:fs/promises';
import { basename, relative } from 'node:path';
import { labelsInFile, type ValueInfo } from '../node.ts';
import { WrongCall } from './common.ts';
import { filesAt, isImageName } from './samples.ts';

/** Names of the images at a path, each of which is one sample. */
async function* imagesAt(path: string, inputs: readonly ValueInfo[]): AsyncGenerator<string> {
  for await (const { name } of filesAt(path, inputs)) {
    if (!isImageName(name))
      throw new WrongCall(
        `${name} is not an image and may hold several samples: give classes in the order of the samples, one a line`,
      );
    yield relative(path, name) || basename(name);
  }
}

/** Classes out of a file (see labelsInFile), in the order of the samples. */
export async function labelsFor(
  path: string,
  samples: string,
  inputs: readonly ValueInfo[],
): Promise<number[]> {
  const bytes = await readFile(path).catch(() => {
    throw new WrongCall(`${path}: there is no such file`);
  });
  return labelsInFile(bytes, path, imagesAt(samples, inputs));
}
