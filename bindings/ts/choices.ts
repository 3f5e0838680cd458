import { engine } from './engine/client.ts';
import type { Choices } from './engine/module.ts';

/** The modes, observers, repairs and their parameters that quantize() knows. */
export async function choices(): Promise<Choices> {
  return (await engine()).call('choices', []);
}
