import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { percent, seconds, timeLeft } from '../format.ts';
import type { Step } from '../work.ts';

/** Shares below this are no progress that anybody sees. */
const least = 0.005;

/** What is being done, how far it is, for how long, and ways out. */
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
  const region = useRef<HTMLElement>(null);
  const [, tick] = useState(0);
  // Focus comes along, but not onto Cancel: a second press of the key would cancel.
  useLayoutEffect(() => region.current?.focus({ preventScroll: true }), []);
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape') onCancel();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [onCancel]);
  useEffect(() => {
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const share = step.share !== undefined && step.share > least ? Math.min(1, step.share) : undefined;
  const left = share === undefined ? undefined : timeLeft(startedAt, share);
  const spent = (performance.now() - startedAt) / 1000;
  const facts = [
    step.detail,
    share !== undefined && percent(share, 0),
    left ?? (spent >= 2 && `for ${seconds(spent)}`),
  ].filter(Boolean);
  return (
    <section class="progress" data-testid="progress" ref={region} tabIndex={-1} aria-label="Work">
      <div class="progress-line">
        <span aria-live="polite">{step.label}</span>
        <span class="note">{facts.join(', ')}</span>
      </div>
      <progress max={1} aria-label={step.label} {...(share === undefined ? {} : { value: share })} />
      <div class="actions">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        {children}
        <span class="note keys">Escape cancels too.</span>
      </div>
    </section>
  );
}
