// The key of a training that is not over.
import { sha256 } from './digest.ts';
import type { SampleSet } from './samples/sample-set.ts';
import { type Settings, toOptions } from './settings.ts';

/** Made of its model, its samples and its options of quantization, but not of those of training. */
export async function checkpointKey(
  model: string | undefined,
  samples: SampleSet | undefined,
  settings: Settings,
): Promise<string | undefined> {
  if (model === undefined || samples?.identity === undefined) return undefined;
  const scheme = toOptions({ ...settings, mode: 'qat', training: undefined });
  return sha256(new TextEncoder().encode(JSON.stringify([model, samples.identity, scheme])));
}
