import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { onThemeChange } from '../theme.ts';

/** The colour of a custom property, looked up whenever something is drawn: it follows the theme. */
export type Color = (property: string) => () => string;

const height = 220;

/** Axis in the page's colours. */
export const axis = (color: Color, values: (tick: number) => string): uPlot.Axis => ({
  stroke: color('--muted'),
  grid: { stroke: color('--line'), width: 1 },
  ticks: { show: false },
  values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : values(tick))),
});

/**
 * A chart in an element, as wide as it and in the colours of the theme. It is made anew when `key` changes; other data
 * is drawn into the chart there is.
 */
export function useChart(
  host: RefObject<HTMLDivElement | null>,
  options: (color: Color) => Omit<uPlot.Options, 'width' | 'height'>,
  data: uPlot.AlignedData,
  key: unknown,
): void {
  const chart = useRef<uPlot | undefined>(undefined);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const style = getComputedStyle(element); // live
    const color: Color = (property) => () => style.getPropertyValue(property).trim();
    const made = new uPlot({ ...options(color), width: element.clientWidth, height }, data, element);
    chart.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    const endTheme = onThemeChange(() => made.redraw());
    return () => {
      chart.current = undefined;
      resize.disconnect();
      endTheme();
      made.destroy();
    };
  }, [host, key]);
  useEffect(() => {
    chart.current?.setData(data);
  }, [data]);
}
