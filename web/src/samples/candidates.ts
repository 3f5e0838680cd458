// Ways in which images may be prepared, beside the one that is chosen: to see which of them the model answers best to.
import type { Feeds, ImageOptions, Model } from 'zeropoint';
import { exampleOf } from '../answers/index.ts';
import { judgeThread } from '../answers/thread.ts';
import { isImage } from './picture.ts';
import { Preparation } from './prepare.ts';
import { rangeOf, ranges } from './preprocessing.ts';
import { asError } from './sample-set.ts';

export interface Candidate {
  id: string;
  /** What differs: the numbers of a pixel. */
  title: string;
  image: ImageOptions;
  isChosen: boolean;
}

/** Most wrong ways have a wrong range of numbers: the model does not show it, and it ruins every answer. */
const [most, files] = [3, 3];

/** The chosen one first. */
export function candidatesOf(image: ImageOptions): Candidate[] {
  const chosen = rangeOf(image) ?? 'own';
  const title = ranges.find(({ id }) => id === chosen)?.title ?? 'of your own';
  return [
    { id: chosen, title, image, isChosen: true },
    ...ranges
      .filter(({ id }) => id !== chosen)
      .map(({ id, title, image: range }) => ({
        id,
        title,
        image: { ...image, ...range },
        isChosen: false,
      })),
  ].slice(0, most);
}

export interface Prediction {
  name: string;
  picture: Blob | undefined;
  /** Of the kind that was told; undefined: there is none. */
  answer: unknown;
}

/**
 * What a model answers to the first pictures among the files, prepared in each of these ways, way by way. `kind`: what the
 * answers are; undefined: the first one tells.
 */
export async function* predictions(
  model: Model,
  chosen: readonly File[],
  candidates: readonly Candidate[],
  kind: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<{ of: Candidate; kind: string; answers: Prediction[] }> {
  const pictures = chosen.filter(isImage).slice(0, files);
  const session = await model.createSession();
  let known = kind;
  try {
    for (const candidate of candidates) {
      const preparation = new Preparation(
        pictures,
        model.inputs,
        candidate.image,
        undefined,
        () => undefined,
      );
      try {
        const answers: Prediction[] = [];
        for (const entry of await preparation.whole()) {
          signal.throwIfAborted();
          if (entry.error) throw entry.error;
          const [sample] = await entry.samples();
          if (!sample) continue;
          const [input] = Object.values(sample);
          const outputs = await session.run(sample as Feeds, { signal });
          const read = await judgeThread().read(exampleOf(outputs, [...(input?.dims ?? [])]), known);
          known = read.kind;
          answers.push({ name: entry.file.name, picture: entry.picture, answer: read.answer });
        }
        yield { of: candidate, kind: known ?? 'tensor', answers };
      } finally {
        preparation.stop();
      }
    }
  } catch (error) {
    throw asError(error);
  } finally {
    await session.dispose();
  }
}
