import type { Trial } from 'zeropoint';
import { bytes, decibels } from '../format.ts';
import { SizeChart } from './size-chart.tsx';

/** The trials that no other beats, as points to pick. */
export function TradeoffChart({
  tradeoff,
  disabled,
  onPick,
}: {
  tradeoff: readonly Trial[];
  disabled: boolean;
  onPick: (trial: Trial) => void;
}) {
  const trials = tradeoff.filter(({ sqnr }) => Number.isFinite(sqnr));
  const [first, last] = [trials[0], trials.at(-1)];
  if (!first || !last) return null;
  return (
    <SizeChart
      isCurve
      disabled={disabled}
      label="Size against agreement"
      caption={
        <>
          Size of the weights against agreement, {bytes(first.weightBytes)} to {bytes(last.weightBytes)} and{' '}
          {decibels(first.sqnr)} to {decibels(last.sqnr)}. Pick a point to quantize that way.
        </>
      }
      points={trials.map((trial) => ({
        key: trial.what,
        size: trial.weightBytes,
        value: trial.sqnr,
        says: decibels(trial.sqnr),
        name: trial.what,
        isMarked: trial.kept,
        pick: () => onPick(trial),
      }))}
    />
  );
}
