import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { bytes } from '../format.ts';

/** A model in a chart of sizes: where it is, what it is called, and what happens when somebody picks it. */
export interface SizePoint {
  key: string;
  size: number;
  /** More is better. */
  value: number;
  /** The value in words. */
  says: string;
  name: string;
  /** A few characters in the point. */
  mark?: string;
  /** It stands out, for the reason that the caption gives. */
  isMarked: boolean;
  /** An address to go to, or what to do. */
  pick: string | (() => void);
}

const height = 240;
/** What a point takes with the room around it, and how far from the border its middle stays. */
const [dot, margin] = [34, 24];
/** Of names, in pixels: about, and at most. */
const [letter, line, longest] = [7.5, 22, 220];

interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

const meets = (a: Box, b: Box): boolean =>
  a.left < b.left + b.width &&
  b.left < a.left + a.width &&
  a.top < b.top + b.height &&
  b.top < a.top + a.height;

/** From 0 for the least to 1 for the most; infinite values lie a little beyond the others. */
function shares(values: readonly number[]): number[] {
  const finite = values.filter(Number.isFinite);
  const beyond = Math.max(...finite) + (Math.max(...finite) - Math.min(...finite) || 1) / 4;
  const placed = finite.length ? values.map((value) => Math.min(value, beyond)) : values.map(() => 0);
  const [least, most] = [Math.min(...placed), Math.max(...placed)];
  return placed.map((value) => (value - least) / (most - least || 1));
}

/** Where points and their names stand: no point covers another one, and a name that would cover something is not shown. */
export function places(points: readonly Pick<SizePoint, 'size' | 'value' | 'name'>[], width: number) {
  const across = shares(points.map(({ size }) => size));
  const up = shares(points.map(({ value }) => value));
  const isFlat = up.every((share) => share === 0);
  const dots: Box[] = [];
  for (let i = 0; i < points.length; ++i) {
    const start = margin + (across[i] as number) * (width - 2 * margin);
    const aside = start < width / 2 ? dot : -dot;
    const box = {
      left: start - dot / 2,
      top: margin + (isFlat ? 0.5 : 1 - (up[i] as number)) * (height - 2 * margin) - dot / 2,
      width: dot,
      height: dot,
    };
    const down = box.top < height / 2 ? dot : -dot;
    for (let tries = 0; tries < 4 * points.length && dots.some((other) => meets(box, other)); ++tries) {
      box.left += aside;
      if (box.left < 0 || box.left + dot > width) {
        box.left = start - dot / 2;
        box.top += down;
      }
    }
    dots.push(box);
  }
  const names: Box[] = [];
  return dots.map((at, i) => {
    const long = Math.min(longest, 12 + letter * (points[i]?.name.length ?? 0));
    const sides = [
      { isLeft: false, left: at.left + dot },
      { isLeft: true, left: at.left - long },
    ].map(({ isLeft, left }) => ({
      isLeft,
      box: { left, top: at.top + (dot - line) / 2, width: long, height: line },
    }));
    const free = sides.find(
      ({ box }) =>
        box.left >= 0 && box.left + long <= width && ![...dots, ...names].some((other) => meets(box, other)),
    );
    if (free) names.push(free.box);
    return {
      x: at.left + dot / 2,
      y: at.top + dot / 2,
      isNamed: free !== undefined,
      isLeft: free ? free.isLeft : at.left > width / 2,
    };
  });
}

/** Models by size and by how good their answers are, as points to pick: by a click, or with Tab and Enter. */
export function SizeChart({
  points,
  label,
  caption,
  isCurve = false,
  disabled = false,
}: {
  points: readonly SizePoint[];
  /** What it shows, for those who do not see it. */
  label: string;
  caption: ComponentChildren;
  /** A line joins the points, in their order. */
  isCurve?: boolean;
  disabled?: boolean;
}) {
  const host = useRef<HTMLUListElement>(null);
  const [width, setWidth] = useState(0);
  const isShown = points.length > 1;
  useLayoutEffect(() => {
    const element = host.current;
    if (!element) return;
    const measure = () => setWidth(element.clientWidth);
    measure();
    const resize = new ResizeObserver(measure);
    resize.observe(element);
    return () => resize.disconnect();
  }, [isShown]);
  if (!isShown) return null;
  const at = places(points, width);
  const bySize = [...points].sort((a, b) => a.size - b.size);
  const byValue = [...points].sort((a, b) => a.value - b.value);
  const ends = (sorted: SizePoint[], say: (point: SizePoint) => string) => {
    const [least, most] = [sorted[0], sorted.at(-1)].map((point) => say(point as SizePoint));
    return least === most ? [least] : [least, most];
  };
  return (
    <figure class="size-chart">
      <figcaption class="note">{caption}</figcaption>
      <div class="size-ends up" aria-hidden="true">
        {ends(byValue, ({ says }) => says)
          .reverse()
          .map((end) => (
            <span key={end}>{end}</span>
          ))}
      </div>
      <div class="size-plot" style={{ height: `${height}px` }}>
        {isCurve && (
          <svg viewBox={`0 0 ${width || 1} ${height}`} aria-hidden="true">
            <polyline points={at.map(({ x, y }) => `${x},${y}`).join(' ')} />
          </svg>
        )}
        <ul ref={host} aria-label={label}>
          {points.map((point, i) => {
            const place = at[i] as (typeof at)[number];
            const look = [
              'size-point',
              point.isMarked && 'on',
              place.isLeft && 'left',
              place.isNamed && 'named',
            ]
              .filter(Boolean)
              .join(' ');
            const inside = (
              <>
                <span aria-hidden="true">{point.mark}</span>
                <span class="size-name">
                  {point.name}
                  <span class="visually-hidden">: </span>
                  <span class="size-figures">
                    {bytes(point.size)}, {point.says}
                  </span>
                </span>
              </>
            );
            const { pick } = point;
            return (
              <li key={point.key} style={{ left: `${place.x}px`, top: `${place.y}px` }}>
                {typeof pick === 'string' ? (
                  <a class={look} href={pick}>
                    {inside}
                  </a>
                ) : (
                  <button
                    class={look}
                    type="button"
                    aria-pressed={point.isMarked}
                    disabled={disabled}
                    onClick={pick}
                  >
                    {inside}
                  </button>
                )}
              </li>
            );
          })}
        </ul>
      </div>
      <div class="size-ends across" aria-hidden="true">
        {ends(bySize, ({ size }) => bytes(size)).map((end) => (
          <span key={end}>{end}</span>
        ))}
      </div>
    </figure>
  );
}
