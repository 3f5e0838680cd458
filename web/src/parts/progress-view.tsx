import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { percent, timeLeft } from '../format.ts';
import type { Step } from '../work.ts';

/** What is being done, how far it is, and ways out. */
export function ProgressView({
  step,
  startedAt,
  onCancel,
  children,
}: {
  step: Step;
  startedAt: number;
  onCancel: () => void;
  /** Buttons beside Cancel. */
  children?: ComponentChildren;
}) {
  const button = useRef<HTMLButtonElement>(null);
  // Before it is seen: whoever sees it can press the key.
  useLayoutEffect(() => button.current?.focus(), []);
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') onCancel();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [onCancel]);
  const left = step.share === undefined ? undefined : timeLeft(startedAt, step.share);
  return (
    <div class="progress" data-testid="progress">
      <div class="progress-line">
        <span aria-live="polite">{step.label}</span>
        <span class="note">
          {step.share !== undefined && percent(Math.min(1, step.share), 0)}
          {left && `, ${left}`}
        </span>
      </div>
      <progress
        max={1}
        aria-label={step.label}
        {...(step.share === undefined ? {} : { value: Math.min(1, step.share) })}
      />
      <div class="actions">
        <button type="button" ref={button} onClick={onCancel}>
          Cancel
        </button>
        {children}
      </div>
    </div>
  );
}
