import { useMemo, useRef } from 'preact/hooks';
import type { LossPoint } from '../work.ts';
import { axis, useChart } from './use-chart.ts';

const short = (loss: number): string => loss.toPrecision(3);

/** The loss by steps: a line of running means, and points where it was measured on samples kept aside. */
export function LossChart({ points }: { points: readonly LossPoint[] }) {
  const host = useRef<HTMLDivElement>(null);
  const data = useMemo(
    () =>
      [
        points.map(({ step }) => step),
        points.map(({ loss }) => loss),
        points.map(({ validation }) => validation ?? null),
      ] as [number[], number[], (number | null)[]],
    [points],
  );
  useChart(
    host,
    (color) => ({
      legend: { show: false },
      scales: { x: { time: false }, y: { range: (_, __, max) => [0, max * 1.08 || 1] } },
      axes: [
        axis(color, String),
        { ...axis(color, (tick) => String(Number(tick.toPrecision(3)))), size: 64 },
      ],
      cursor: { show: false },
      series: [
        {},
        { stroke: color('--accent'), width: 2, points: { show: false } },
        {
          stroke: color('--text'),
          width: 0,
          paths: () => null,
          points: { show: true, size: 9, fill: color('--text') },
        },
      ],
    }),
    data,
    undefined,
  );
  const [first, last] = [points[0], points.at(-1)];
  return (
    <div
      ref={host}
      class="chart"
      role="img"
      aria-label={
        first && last
          ? `Loss by steps: ${short(first.loss)} at first, ${short(last.loss)} after ${last.step} steps`
          : 'Loss by steps'
      }
    />
  );
}
