import type { Trial } from 'zeropoint';
import { bytes, decibels } from '../format.ts';

const [width, height, margin] = [320, 140, 18];

/** The trials that no other beats, as points to pick: by a click, or with Tab and Enter. */
export function TradeoffChart({
  tradeoff,
  disabled,
  onPick,
}: {
  tradeoff: readonly Trial[];
  disabled: boolean;
  onPick: (trial: Trial) => void;
}) {
  const points = tradeoff.filter(({ sqnr }) => Number.isFinite(sqnr));
  const [first] = points;
  if (!first || points.length < 2) return null;
  const scale = (values: number[], length: number) => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return (value: number) => margin + ((length - 2 * margin) * (value - least)) / (most - least || 1);
  };
  const x = scale(
    points.map(({ weightBytes }) => weightBytes),
    width,
  );
  const y = scale(
    points.map(({ sqnr }) => -sqnr),
    height,
  );
  const at = (trial: Trial) => [x(trial.weightBytes), y(-trial.sqnr)] as const;
  const last = points.at(-1) as Trial;
  return (
    <figure class="tradeoff">
      <figcaption class="note">
        Size of the weights against agreement, {bytes(first.weightBytes)} to {bytes(last.weightBytes)} and{' '}
        {decibels(first.sqnr)} to {decibels(last.sqnr)}. Pick a point to quantize that way.
      </figcaption>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be in a picture */}
      <svg viewBox={`0 0 ${width} ${height}`} role="group" aria-label="Size against agreement">
        <polyline class="curve" points={points.map((trial) => at(trial).join(',')).join(' ')} />
        {points.map((trial) => {
          const [cx, cy] = at(trial);
          const words = `${trial.what}: ${bytes(trial.weightBytes)}, ${decibels(trial.sqnr)}`;
          const pick = () => !disabled && onPick(trial);
          return (
            // biome-ignore lint/a11y/useSemanticElements: a button element cannot be in a picture
            <g
              key={trial.what}
              role="button"
              tabindex={disabled ? -1 : 0}
              aria-disabled={disabled}
              aria-pressed={trial.kept}
              aria-label={words}
              class={`point ${trial.kept ? 'on' : ''}`}
              onClick={pick}
              onKeyDown={(event) => {
                if (event.key !== 'Enter' && event.key !== ' ') return;
                event.preventDefault();
                pick();
              }}
            >
              <title>{words}</title>
              <circle class="target" cx={cx} cy={cy} r={12} />
              <circle cx={cx} cy={cy} r={5} />
            </g>
          );
        })}
      </svg>
    </figure>
  );
}
