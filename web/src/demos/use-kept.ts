import { useState } from 'preact/hooks';
import type { DemoMemory } from './demo.ts';

/** State of a demo's view that is there again when the view comes back. */
export function useKept<T>(memory: DemoMemory, name: string, start: T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => (memory.has(name) ? (memory.get(name) as T) : start));
  return [
    value,
    (next) => {
      memory.set(name, next);
      setValue(next);
    },
  ];
}
