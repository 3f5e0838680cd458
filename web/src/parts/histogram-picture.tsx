import { percent, sentence } from '../format.ts';

const [width, height] = [320, 72];

const short = (value: number) => String(Number(value.toPrecision(3)));

/** Equal steps of `width` from `left` on; zeros are counted apart. */
interface Histogram {
  left: number;
  width: number;
  counts: readonly number[];
  zeros: number;
}

/** The range of values that integers cover, and the share of values outside, which saturate. */
interface Covered {
  clip: { min: number; max: number } | null;
  outside: number;
  saturated: number;
}

/** How values are distributed, and the range that integers cover of them; said in words too. */
export function HistogramPicture({ histogram, covered }: { histogram: Histogram; covered?: Covered }) {
  const { left, width: bin, counts, zeros } = histogram;
  const { clip = null, outside = 0, saturated = 0 } = covered ?? {};
  if (bin === 0 || counts.length === 0) return null;
  const right = left + bin * counts.length;
  const [from, to] = [Math.min(left, clip?.min ?? left), Math.max(right, clip?.max ?? right)];
  const x = (value: number) => (width * (value - from)) / (to - from);
  // Outliers are few: only a logarithm shows them beside the many.
  const most = Math.log1p(Math.max(...counts));
  const total = counts.reduce((sum, count) => sum + count, zeros);
  const words = [
    `values from ${short(left)} to ${short(right)}`,
    zeros > 0 && `${percent(zeros / total)} exactly 0`,
    clip && `integers cover ${short(clip.min)} to ${short(clip.max)}`,
    clip && (outside > 0 ? `${percent(saturated, 2)} outside` : 'nothing outside'),
  ]
    .filter(Boolean)
    .join(', ');
  return (
    <figure class="histogram">
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`Histogram: ${words}`}>
        {clip && <rect class="covered" x={x(clip.min)} width={x(clip.max) - x(clip.min)} height={height} />}
        {counts.map((count, i) => {
          const tall = most > 0 ? (height * Math.log1p(count)) / most : 0;
          return (
            <rect
              key={i}
              class="bin"
              x={x(left + i * bin)}
              y={height - tall}
              width={Math.max(0.5, x(left + bin) - x(left) - 0.5)}
              height={tall}
            />
          );
        })}
        {clip &&
          [clip.min, clip.max].map((end) => (
            <line key={end} class="clip" x1={x(end)} x2={x(end)} y1={0} y2={height} />
          ))}
      </svg>
      <figcaption class="note">
        {sentence(words)} (logarithmic{clip && '; shaded: the range that the integers cover'})
      </figcaption>
    </figure>
  );
}
