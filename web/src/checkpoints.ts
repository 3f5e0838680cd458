// What a training that is not over is found by.
import { sha256 } from './digest.ts';
import type { SampleSet } from './samples/sample-set.ts';
import { type Settings, toOptions } from './settings.ts';

/** Of its model, its samples, and what is quantized how, but not how it is trained. */
export async function checkpointKey(
  model: string | undefined,
  samples: SampleSet | undefined,
  settings: Settings,
): Promise<string | undefined> {
  if (model === undefined || samples?.identity === undefined) return undefined;
  const scheme = toOptions({ ...settings, mode: 'qat', training: undefined });
  return sha256(new TextEncoder().encode(JSON.stringify([model, samples.identity, scheme])));
}
