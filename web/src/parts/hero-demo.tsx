import { useEffect, useRef, useState } from 'preact/hooks';
import { type Feeds, Model } from 'zeropoint';
import { type Digit, digitsTensor, side, testDigits } from '../demos/digits/data.ts';
import { digits as demo } from '../demos/digits/index.ts';
import { bytes, percent } from '../format.ts';
import { onThemeChange, rgbOf, themeColour } from '../theme.ts';
import { gap, paletteOf, wallOf } from './digit-wall.ts';

const [columns, rows] = [20, 10];
const shown = columns * rows;
/** Digits that go through both networks at once. */
const batch = 20;
const tile = side + gap;

interface Answers {
  float: (number | undefined)[];
  quantized: (number | undefined)[];
}

function answersOf(data: ArrayLike<number>, count: number): number[] {
  const width = data.length / count;
  return Array.from({ length: count }, (_, row) => {
    let best = 0;
    for (let i = 1; i < width; ++i) {
      if ((data[row * width + i] as number) > (data[row * width + best] as number)) best = i;
    }
    return best;
  });
}

/** A wall of handwritten digits that a network of floats and its integers read, here and now, with a divider between. */
export default function HeroDemo() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [digits, setDigits] = useState<readonly (Digit & { label: number })[]>([]);
  const [answers, setAnswers] = useState<Answers>({ float: [], quantized: [] });
  const [sizes, setSizes] = useState<[number, number] | undefined>();
  const [divider, setDivider] = useState(50);
  const [problem, setProblem] = useState('');

  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    const owned: { dispose(): Promise<void> }[] = [];
    const run = async () => {
      const digits = (await testDigits()).slice(0, shown);
      setDigits(digits);
      const float = await Model.load((await demo.load(signal)).bytes);
      owned.push(float);
      const { model: quantized, report } = await float.quantize({
        mode: 'static',
        calibration: () => demo.samples(float, 100) as AsyncIterable<Feeds>,
        layerErrors: 0,
        signal,
      });
      owned.push(quantized);
      setSizes([report.sizeBefore, report.sizeAfter]);
      const sessions = [await float.createSession(), await quantized.createSession()] as const;
      owned.push(...sessions);
      const [input = ''] = sessions[0].inputNames;
      for (let first = 0; first < digits.length; first += batch) {
        const part = digits.slice(first, first + batch);
        const read = async (session: (typeof sessions)[number]) => {
          const [output] = Object.values(await session.run({ [input]: digitsTensor(part) }, { signal }));
          return answersOf(output?.data as Float32Array, part.length);
        };
        const [a, b] = [await read(sessions[0]), await read(sessions[1])];
        if (signal.aborted) return;
        setAnswers((before) => ({ float: [...before.float, ...a], quantized: [...before.quantized, ...b] }));
        // For eyes: both are done in a blink.
        if (!matchMedia('(prefers-reduced-motion: reduce)').matches) {
          await new Promise((resolve) => setTimeout(resolve, 90));
        }
      }
    };
    const ending = run()
      .catch((error: unknown) => {
        if (!signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
      })
      .finally(() => Promise.all(owned.reverse().map((each) => each.dispose())));
    return () => {
      leaving.abort();
      void ending;
    };
  }, []);

  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!context) return;
    const draw = () => {
      const [width, height] = [columns * tile, rows * tile];
      context.clearRect(0, 0, width, height);
      const at = (width * divider) / 100;
      const colour = (property: string) => rgbOf(themeColour(property));
      const unanswered = paletteOf(colour('--paper'), colour('--muted'));
      const wrong = paletteOf(colour('--error-soft'), colour('--poor'));
      const right = {
        float: paletteOf(colour('--paper'), colour('--ink')),
        quantized: paletteOf(colour('--accent-soft'), colour('--accent')),
      };
      if (digits.length > 0) {
        const wall = wallOf(digits, columns, (index, column) => {
          const by = column * tile + tile / 2 < at ? 'float' : 'quantized';
          const answer = answers[by][index];
          return answer === undefined ? unanswered : answer === digits[index]?.label ? right[by] : wrong;
        });
        context.putImageData(new ImageData(wall.data, wall.width, wall.height), 0, 0);
      }
      context.fillStyle = themeColour('--ink');
      context.fillRect(at - 1, 0, 2, height);
    };
    draw();
    return onThemeChange(draw);
  }, [digits, answers, divider]);

  const right = (of: Answers['float']) => of.filter((answer, i) => answer === digits[i]?.label).length;
  const done = answers.float.length;
  const same = answers.float.filter((answer, i) => answer === answers.quantized[i]).length;
  const said = (title: string, of: Answers['float'], size: number | undefined) => (
    <p>
      <strong>{title}</strong>{' '}
      {size === undefined
        ? 'loading…'
        : `${bytes(size)}${done ? `, ${percent(right(of) / done)} right` : ''}`}
    </p>
  );
  return (
    <figure class="hero-demo" data-testid="hero-demo">
      <div class="hero-sides">
        {said('Floats', answers.float, sizes?.[0])}
        {said('8-bit integers', answers.quantized, sizes?.[1])}
      </div>
      <div class="wall">
        <canvas
          ref={canvas}
          width={columns * tile}
          height={rows * tile}
          role="img"
          aria-label={`${shown} handwritten digits, read by a network of floats and by its 8-bit integers`}
        />
        <input
          type="range"
          class="divider"
          min="0"
          max="100"
          value={divider}
          aria-label="Divider: floats on its left, 8-bit integers on its right"
          onInput={(event) => setDivider(Number(event.currentTarget.value))}
        />
      </div>
      <figcaption class="note">
        {problem ||
          (done === 0
            ? 'A small network reads digits that it never saw: it is being loaded and quantized in your browser.'
            : `Quantized and run in your browser just now: ${same} of ${done} answers are the same. Wrong ones are red. Move the divider.`)}
      </figcaption>
    </figure>
  );
}
