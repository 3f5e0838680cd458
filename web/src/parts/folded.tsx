import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

/** Rows of a table that are shown at once: the layout of thousands would hold the page up. */
export const mostRows = 200;

/** Content that is made when somebody opens it. */
export function Folded({
  summary,
  children,
}: {
  summary: ComponentChildren;
  children: () => ComponentChildren;
}) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{summary}</summary>
      {isOpen && children()}
    </details>
  );
}
