import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

/** Two pictures of one size over each other: the original's left of a line, the quantized model's right of it. */
export function Divided({
  name,
  left,
  right,
}: {
  /** Of the sample. */
  name: string;
  left: ComponentChildren;
  right: ComponentChildren;
}) {
  const [at, setAt] = useState(50);
  return (
    <div class="divided">
      <div class="divided-titles">
        <span class="fact-label">Original</span>
        <span class="fact-label">Quantized</span>
      </div>
      <div class="divided-stage">
        {left}
        <div class="right" style={{ clipPath: `inset(0 0 0 ${at}%)` }}>
          {right}
        </div>
        <span class="divided-line" style={{ left: `${at}%` }} aria-hidden="true" />
        <input
          type="range"
          class="divider"
          min="0"
          max="100"
          value={at}
          aria-label={`Divider of ${name}: the original on its left, the quantized model on its right`}
          onInput={(event) => setAt(Number(event.currentTarget.value))}
        />
      </div>
    </div>
  );
}
