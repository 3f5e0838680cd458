// How many answers are right, where it is known which are.
import { type Model, ZeropointError } from 'zeropoint';
import type { LabelledSamples } from './sample-set.ts';

/** Where the largest of the numbers is. */
function largest(numbers: ArrayLike<number | bigint>): number {
  let best = 0;
  for (let i = 1; i < numbers.length; ++i) {
    if ((numbers[i] as number) > (numbers[best] as number)) best = i;
  }
  return best;
}

/**
 * The share of samples, 0...1, whose class a model tells. As in quantize(), an answer is the largest element of the first
 * output that has several, and each sample has one.
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
      const answer = outputs.find(({ dims }) => (dims.at(-1) ?? 1) > 1) ?? outputs[0];
      if (!answer || answer.data.length !== (answer.dims.at(-1) ?? 1)) {
        throw new ZeropointError('invalid-argument', 'labels are for samples with one answer each', {
          hint: 'give each sample as a file of its own, or leave the labels out',
        });
      }
      if (largest(answer.data as ArrayLike<number | bigint>) === labels[count]) right += 1;
      count += 1;
      onDone?.(count / labels.length);
    }
    return right / count;
  } finally {
    await session.dispose();
  }
}
