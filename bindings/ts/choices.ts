import { engine } from './engine/client.ts';
import type { Choices } from './engine/module.ts';

/** What quantize() knows: modes, observers, repairs, runtimes, and in `schema` every option, with words for all of them. */
export async function choices(): Promise<Choices> {
  const { schema } = await engine();
  const names = (all: readonly { name: string }[]) => all.map(({ name }) => name);
  return {
    modes: names(schema.modes),
    observers: names(schema.observers),
    repairs: names(schema.repairs),
    runtimes: schema.runtimes,
    options: schema.options
      .filter(({ group }) => group === 'parameters')
      .map(({ name, owner = '', default: value, min = -Infinity, max = Infinity }) => ({
        name,
        owner,
        default: Number(value),
        min,
        max,
      })),
    schema,
  };
}
