// How many answers are right, where the right ones are known.
import { type Model, ZeropointError } from 'zeropoint';
import type { LabelledSamples } from './samples/sample-set.ts';

/** Where the largest number of a row is. */
function largest(numbers: ArrayLike<number | bigint>, row: number, width: number): number {
  let best = 0;
  for (let i = 1; i < width; ++i) {
    if ((numbers[row * width + i] as number) > (numbers[row * width + best] as number)) best = i;
  }
  return best;
}

/**
 * The share of answers, 0...1, that a model gets right. As in quantize(), an answer is the largest element of a row of the
 * first output that has any; samples may be batches of several rows, with a label for each.
 */
export async function accuracyOf(
  model: Model,
  samples: LabelledSamples,
  signal: AbortSignal,
  onDone?: (share: number) => void,
): Promise<number> {
  const labels = await samples.labels();
  const session = await model.createSession();
  try {
    let right = 0;
    let count = 0;
    for await (const feeds of samples.feeds()) {
      const outputs = Object.values(await session.run(feeds, { signal }));
      const answers = outputs.find(({ dims }) => (dims.at(-1) ?? 1) > 1);
      const width = answers?.dims.at(-1) ?? 1;
      for (let row = 0; answers && row < answers.data.length / width; ++row) {
        if (largest(answers.data as ArrayLike<number | bigint>, row, width) === labels[count]) right += 1;
        count += 1;
      }
      onDone?.(Math.min(1, count / labels.length));
    }
    if (count !== labels.length) {
      throw new ZeropointError(
        'invalid-argument',
        `there are ${labels.length} labels for ${count} answers of the model`,
        { hint: 'give each sample as a file of its own, or leave the labels out' },
      );
    }
    return right / count;
  } finally {
    await session.dispose();
  }
}
