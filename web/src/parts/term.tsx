import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { glossary } from '../glossary.ts';

/** A word with its meaning behind it: to point at, to tab to, or to touch. `of`: its name in the glossary. */
export function Term({ of, children }: { of: string; children: ComponentChildren }) {
  const id = useId();
  const meaning = glossary.get(of.toLowerCase());
  if (meaning === undefined) throw new Error(`the glossary has no '${of}'`);
  return (
    <span class="term">
      <button type="button" aria-describedby={id}>
        {children}
      </button>
      <span role="tooltip" id={id}>
        {meaning}
      </span>
    </span>
  );
}
