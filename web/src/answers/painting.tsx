// Pixels on a canvas, or as a picture for a report, which cannot draw.
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Pixels } from './kind.ts';

export function Painting({
  pixels,
  painted,
  words,
  class: className = '',
}: {
  pixels: Pixels;
  /** The address of a picture of the pixels. */
  painted: string | undefined;
  /** What they show. */
  words: string;
  class?: string;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { data, width, height } = pixels;
  useLayoutEffect(() => {
    canvas.current?.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0);
  }, [data]);
  if (painted !== undefined) return <img src={painted} alt={words} class={className} />;
  return (
    <canvas ref={canvas} width={width} height={height} class={className} role="img" aria-label={words} />
  );
}
