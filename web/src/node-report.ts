// The report of the page, made in Node: rolldown.config.mjs gives it to the command line.
import { Judge } from './answers/index.ts';
import type { Pixels } from './answers/kind.ts';
import { reportText } from './html-report.tsx';
import { compareModels, judgeModels, measure } from './measures.ts';
import { quoted } from './recipe.ts';
import { longestSide, pixelsOf } from './samples/picture.ts';
import type { SampleSet } from './samples/sample-set.ts';
import type { Shown } from './work.ts';

/** Pixels as the file of a picture; undefined without sharp, which reads and writes images in Node. */
async function fileOf({ data, width, height }: Pixels): Promise<Blob | undefined> {
  const { default: sharp } = await import('sharp').catch(() => ({ default: undefined }));
  if (!sharp) return undefined;
  const bytes = await sharp(data, { raw: { width, height, channels: 4 } })
    .resize({ width: longestSide, height: longestSide, fit: 'inside', withoutEnlargement: true })
    .webp({ quality: 90 })
    .toBuffer();
  return new Blob([new Uint8Array(bytes)], { type: 'image/webp' });
}

export const writeReport: typeof import('zeropoint-report').writeReport = async (task) => {
  const { original, quantized, report, samples, names, image, synthetic, words, recipe, signal } = task;
  const { onProgress } = task;
  const pictures: (Shown['picture'] | undefined)[] = [];
  const set: SampleSet = {
    label: recipe.samples.what,
    synthetic,
    count: task.count,
    identity: undefined,
    async *feeds(limit = Number.POSITIVE_INFINITY) {
      let left = limit;
      for await (const feeds of samples()) {
        if (left-- <= 0) return;
        yield feeds;
      }
    },
    nameOf: (index) => names?.[index] ?? `sample ${index + 1}`,
    picture: async (index) => pictures[index],
  };
  if (names) {
    // One image is one sample.
    let index = 0;
    for await (const feeds of set.feeds()) {
      const [tensor] = Object.values(feeds);
      const pixels =
        tensor && typeof tensor === 'object' && 'data' in tensor
          ? pixelsOf(tensor as Parameters<typeof pixelsOf>[0], image)
          : undefined;
      pictures[index++] = pixels && (await fileOf(pixels));
    }
  }
  const say = ({ label, share = 0 }: { label: string; share: number | undefined }) =>
    void onProgress({ phase: label, done: share, total: 1 });
  let judge = new Judge();
  const here = {
    begin(known: ConstructorParameters<typeof Judge>[0]) {
      judge = new Judge(known);
    },
    add: (...answers: Parameters<Judge['add']>) => judge.add(...answers),
    end: () => judge.judgement(),
  };
  const comparison = await compareModels(original, quantized, set, say, signal);
  const judged = await judgeModels(original, quantized, set, here, undefined, say, signal);
  const latency = await measure(original, quantized, set, say, signal);
  return reportText(
    {
      ...judged,
      report,
      comparison,
      latency,
      accuracy: undefined,
      synthetic,
      at: Date.now(),
      name: recipe.model.name,
      how: task.how,
      command: words.map(quoted).join(' '),
      recipe,
    },
    fileOf,
  );
};
