// What the page says about answers that changed: which kind they are, what stays the same, and the worst error.
import { describe, expect, test } from 'vitest';
import { iou, matched } from '../../web/src/answers/boxes.tsx';
import { type Example, exampleOf, guessKind, Judge, kinds, numbersOf } from '../../web/src/answers/index.ts';
import { distance } from '../../web/src/answers/text.tsx';

const floats = (data: ArrayLike<number>, dims: number[]) => ({
  type: 'float32' as const,
  data: Float32Array.from(data),
  dims,
});

const example = (
  outputs: Record<string, ReturnType<typeof floats>>,
  input: number[] = [1, 3, 240, 320],
): Example => exampleOf(outputs, input);

const oneOf = (data: number[], dims: number[], name = 'y') => example({ [name]: floats(data, dims) });

/** The judgement of these pairs of outputs. */
function judged(pairs: [Example, Example][], names = {}, kind?: string) {
  const judge = new Judge(names, kind);
  for (const [a, b] of pairs) judge.add(a, b);
  const judgement = judge.judgement();
  if (!judgement) throw new Error('nothing was judged');
  return judgement;
}

const ramp = (length: number, of: (i: number) => number) => Array.from({ length }, (_, i) => of(i));

test('each kind has an id of its own', () => {
  expect(new Set(kinds.map(({ id }) => id)).size).toBe(kinds.length);
});

describe('the kind is seen from the outputs', () => {
  const columns = ramp(20 * 40, (i) => (i % 20 === (Math.floor(i / 20) % 3 ? 0 : 7) ? 1 : 0));
  const cases: [string, Example][] = [
    ['classes', oneOf([0.1, 0.7, 0.2], [1, 3])],
    [
      'classes',
      oneOf(
        ramp(1000, (i) => Math.sin(i)),
        [1, 1000],
        'logits',
      ),
    ],
    ['classes', oneOf([0.98], [1, 1])],
    // What a network remembers for its next run is no answer.
    [
      'classes',
      example({
        output: floats([0.98], [1, 1]),
        hn: floats(
          ramp(128, (i) => Math.sin(i)),
          [2, 1, 64],
        ),
      }),
    ],
    [
      'boxes',
      example({
        scores: floats(
          ramp(200, (i) => (i % 2 ? 0.1 : 0.9)),
          [1, 100, 2],
        ),
        boxes: floats(
          ramp(400, () => 0.5),
          [1, 100, 4],
        ),
      }),
    ],
    [
      'boxes',
      oneOf(
        ramp(84 * 2100, () => 0.01),
        [1, 84, 2100],
      ),
    ],
    [
      'boxes',
      oneOf(
        ramp(85 * 1000, () => 0.01),
        [1, 1000, 85],
      ),
    ],
    [
      'masks',
      oneOf(
        ramp(32 * 32, (i) => (i % 7 ? 0.01 : 0.9)),
        [1, 1, 32, 32],
      ),
    ],
    [
      'masks',
      oneOf(
        ramp(21 * 32 * 32, (i) => Math.sin(i)),
        [1, 21, 32, 32],
      ),
    ],
    ['text', oneOf(columns, [1, 40, 20])],
    // As many numbers as a detector's, of 40 columns and an alphabet of 6625.
    [
      'text',
      oneOf(
        ramp(40 * 6625, (i) => (i % 6625 === (Math.floor(i / 6625) % 3 ? 0 : 70) ? 0.999 : 0.001 / 6624)),
        [1, 40, 6625],
      ),
    ],
    [
      'text',
      oneOf(
        ramp(40 * 6625, (i) => (i % 6625 === (Math.floor(i / 6625) % 3 ? 0 : 70) ? 9 : Math.sin(i))),
        [1, 40, 6625],
      ),
    ],
    [
      'waveform',
      oneOf(
        ramp(8000, (i) => Math.sin(i / 9)),
        [1, 8000],
      ),
    ],
    [
      'embeddings',
      oneOf(
        ramp(384, (i) => (i % 2 ? 1 : -1) / Math.sqrt(384)),
        [1, 384],
      ),
    ],
    [
      'tensor',
      oneOf(
        ramp(5 * 7 * 9 * 2, (i) => Math.sin(i)),
        [5, 7, 9, 2],
      ),
    ],
  ];
  for (const [kind, given] of cases) {
    test(`${kind}: ${given.outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', ')}`, () => {
      const guess = guessKind(given);
      expect(guess.kind, guess.because).toBe(kind);
      expect(guess.because).not.toBe('');
    });
  }
});

test('classes: what changed is counted, and a share that moves far is no good grade', () => {
  const same = judged([[oneOf([0.1, 0.9], [1, 2]), oneOf([0.12, 0.88], [1, 2])]]);
  expect(same.verdict).toMatchObject({ grade: 'good', words: 'The one answer is the same.' });
  expect(same.verdict.worst).toBe('The largest change of a share is 2.0 %.');

  const moved = judged([[oneOf([0.01, 0.99], [1, 2]), oneOf([0.42, 0.58], [1, 2])]]);
  expect(moved.verdict.grade).toBe('fair');
  expect(moved.verdict.worst).toBe('The largest change of a share is 41.0 %.');

  const names = { 0: 'cat', 1: 'dog' };
  const changed = judged(
    [
      [oneOf([0.6, 0.4], [1, 2]), oneOf([0.4, 0.6], [1, 2])],
      [oneOf([0.1, 0.9], [1, 2]), oneOf([0.1, 0.9], [1, 2])],
    ],
    names,
  );
  expect(changed.verdict).toMatchObject({ grade: 'poor', words: '1 of 2 answers is the same.' });
  expect(changed.samples[0]?.change).toMatchObject({ same: false, words: 'cat became dog' });
  expect(changed.samples[1]?.change.same).toBe(true);
});

test('classes: one number says yes or no', () => {
  const { verdict } = judged([
    [oneOf([0.9], [1, 1]), oneOf([0.8], [1, 1])],
    [oneOf([0.6], [1, 1]), oneOf([0.4], [1, 1])],
  ]);
  expect(verdict.words).toBe('1 of 2 answers is the same.');
});

describe('boxes', () => {
  /** UltraFace: corners as shares, background and face. */
  const faces = (...found: [number, number, number, number, number][]) => {
    const rows = [...found, ...ramp(100 - found.length, () => 0).map(() => [0, 0, 0.1, 0.1, 0.01])];
    return example({
      scores: floats(
        rows.flatMap(([, , , , score = 0]) => [1 - score, score]),
        [1, 100, 2],
      ),
      boxes: floats(
        rows.flatMap((row) => row.slice(0, 4)),
        [1, 100, 4],
      ),
    });
  };

  test('are matched by overlap, not by coordinates that happen to be the largest', () => {
    const float = faces([0.1, 0.1, 0.3, 0.4, 0.95], [0.6, 0.2, 0.8, 0.5, 0.9]);
    const close = judged([[float, faces([0.11, 0.1, 0.31, 0.4, 0.93], [0.6, 0.2, 0.8, 0.5, 0.88])]]);
    expect(close.kind).toBe('boxes');
    expect(close.verdict.grade).toBe('good');
    expect(close.verdict.words).toMatch(/^2 of 2 boxes are found again\. They overlap by 9\d\.\d % /);

    const lost = judged([[float, faces([0.1, 0.1, 0.3, 0.4, 0.95])]]);
    expect(lost.verdict.grade).toBe('poor');
    expect(lost.verdict.words).toMatch(/^1 of 2 boxes is found again/);
    expect(lost.verdict.worst).toContain('The surest box that is lost scored 90.0 %');
    expect(lost.samples[0]?.change).toMatchObject({ same: false, words: '1 box lost' });

    const shifted = judged([[float, faces([0.1, 0.1, 0.3, 0.4, 0.54], [0.6, 0.2, 0.8, 0.5, 0.9])]]);
    expect(shifted.verdict.grade).toBe('fair');
    expect(shifted.verdict.worst).toContain('the largest change of a score is 41.0 %');
  });

  test('that overlap are one, and boxes in pixels around a middle are shares of the picture', () => {
    const columns = 2100;
    const numbers = new Float32Array(6 * columns);
    const put = (column: number, values: number[]) => {
      for (const [row, value] of values.entries()) numbers[row * columns + column] = value;
    };
    put(3, [160, 120, 32, 24, 0.9, 0.1]);
    put(4, [161, 121, 32, 24, 0.8, 0.1]);
    put(9, [80, 60, 64, 48, 0.1, 0.7]);
    const kind = kinds.find(({ id }) => id === 'boxes');
    const { boxes } = kind?.read(oneOf(Array.from(numbers), [1, 6, columns])) ?? { boxes: [] };
    expect(boxes).toHaveLength(2);
    expect(boxes[0].class).toBe(0);
    expect(boxes[0].left).toBeCloseTo(0.45, 5);
    expect(boxes[0].bottom).toBeCloseTo(0.55, 5);
    expect(boxes[1]).toMatchObject({ class: 1 });
  });

  test('of nothing are no success', () => {
    const { verdict } = judged([[faces(), faces()]]);
    expect(verdict).toMatchObject({ grade: 'unknown', words: 'Neither model finds a box in these samples.' });
  });

  test('iou and matching', () => {
    const box = (left: number, right: number, index = 0) => ({
      left,
      right,
      top: 0,
      bottom: 1,
      class: index,
      score: 1,
    });
    expect(iou(box(0, 1), box(0.5, 1.5))).toBeCloseTo(1 / 3, 6);
    expect(iou(box(0, 1), box(2, 3))).toBe(0);
    expect(matched([box(0, 1)], [box(0, 1, 1)])).toEqual([undefined]);
  });
});

test('masks: the overlap of what is marked, not of the background', () => {
  const mask = (marked: number) =>
    oneOf(
      ramp(32 * 32, (i) => (i < marked ? 0.9 : 0.1)),
      [1, 1, 32, 32],
    );
  const { verdict, kind } = judged([[mask(40), mask(20)]]);
  expect(kind).toBe('masks');
  expect(verdict.grade).toBe('poor'); // 98 % of the pixels are the same, half of the thing is lost
  expect(verdict.words).toContain('overlap by 50.0 %');
  expect(verdict.worst).toContain("a pixel's share is 80.0 %");
  expect(judged([[mask(0), mask(0)]]).verdict.grade).toBe('unknown');
});

test('pictures: as large as what goes in, or twice; what changed is said as it is seen', () => {
  const wave = (scale: number, shift: number) =>
    example(
      {
        y: floats(
          ramp(3 * 32 * 32 * scale * scale, (i) => 0.5 + 0.4 * Math.sin(i / 9) + shift),
          [1, 3, 32 * scale, 32 * scale],
        ),
      },
      [1, 3, 32, 32],
    );
  for (const scale of [1, 2]) expect(guessKind(wave(scale, 0)).kind).toBe('pictures');
  // Shares of three classes are no picture.
  const shares = oneOf(
    ramp(3 * 240 * 320, (i) => (i < 240 * 320 ? 0.5 : 0.25)),
    [1, 3, 240, 320],
  );
  expect(guessKind(shares).kind).toBe('masks');

  const same = judged([[wave(2, 0), wave(2, 0)]]);
  expect(same.verdict.grade).toBe('good');
  expect(same.verdict.words).toContain('exact');
  const darker = judged([
    [wave(1, 0), wave(1, 0)],
    [wave(1, 0), wave(1, -0.1)],
  ]);
  // A tenth of the range everywhere: 20 dB, in one of two samples.
  expect(darker.verdict.grade).toBe('poor');
  expect(darker.verdict.words).toMatch(/by 2[23]\.\d dB \(PSNR\), by (19|20)\.\d dB in the worst sample/);
  expect(darker.samples.map(({ change }) => change.same)).toEqual([true, false]);
});

test('text: characters that changed', () => {
  const classes = 20;
  const line = (...best: number[]) =>
    oneOf(
      best.flatMap((each) => ramp(classes, (i) => (i === each ? 0.81 : 0.01))),
      [1, best.length, classes],
    );
  const names = Object.fromEntries(ramp(classes, (i) => i).map((i) => [i, String.fromCharCode(96 + i)]));
  const { verdict, kind, samples } = judged(
    [
      [line(0, 3, 3, 0, 0, 1, 0, 20 - 1), line(0, 3, 0, 0, 0, 2, 0, 20 - 1)],
      [line(0, 5, 0, 0, 6, 0, 0), line(0, 5, 5, 0, 6, 0, 0)],
    ],
    names,
  );
  expect(kind).toBe('text');
  expect(samples[0]?.change.words).toBe('“cas” became “cbs”');
  expect(verdict.words).toBe('1 of 2 texts is the same. 1 of 5 characters changed (20.0 %).');
  expect(verdict.grade).toBe('poor');
  expect(distance([1, 2, 3], [1, 3])).toBe(1);
  expect(distance([], [1, 3])).toBe(2);
});

test('sound: noise beside the sound, and the largest error beside the loudest moment', () => {
  const wave = (noise: number) =>
    oneOf(
      ramp(8000, (i) => Math.sin(i / 9) + (i % 2 ? noise : -noise)),
      [1, 8000],
    );
  const { verdict, kind } = judged([[wave(0), wave(0.05)]]);
  expect(kind).toBe('waveform');
  expect(verdict.grade).toBe('fair');
  expect(verdict.words).toMatch(/noise of 7\.\d % of its strength/);
  expect(verdict.worst).toBe('The largest error is 5.0 % of the loudest moment.');
});

test('embeddings: neighbours', () => {
  const vector = (at: number, off = 0) =>
    oneOf(
      ramp(32, (i) => Math.cos(at + i) / 4 + (i === 0 ? off : 0)),
      [1, 32],
      'embedding',
    );
  const points = [0, 0.1, 1.5, 1.7];
  const same = judged(points.map((at) => [vector(at), vector(at)]));
  expect(same.kind).toBe('embeddings');
  expect(same.verdict).toMatchObject({
    grade: 'good',
    words: '4 of 4 samples keep their nearest neighbour (100 %).',
  });
  const moved = judged(points.map((at) => [vector(at), vector(at === 0.1 ? 1.6 : at)]));
  expect(moved.verdict.grade).toBe('poor');
  expect(moved.verdict.words).toMatch(/^[0-3] of 4/);
});

test('numbers: the largest error with the range that it lies in', () => {
  const { verdict } = judged([[oneOf([-3, 5, 0, 1], [4]), oneOf([-3, 4.59, 0, 1], [4])]], {}, 'tensor');
  expect(verdict.worst).toBe('The largest error is 0.41, in y, whose values go from -3 to 5.');
});

test('the user can say what the answers are', () => {
  const rows = oneOf(
    ramp(384, (i) => (i % 2 ? 1 : -1) / Math.sqrt(384)),
    [1, 384],
  );
  expect(judged([[rows, rows]], {}, 'classes')).toMatchObject({ kind: 'classes', because: 'you said so' });
});

test('numbers of every type', () => {
  expect(
    Array.from(numbersOf({ type: 'float16', data: Uint16Array.of(0x3c00, 0xc000, 0x3555, 1), dims: [4] })),
  ).toEqual([1, -2, expect.closeTo(1 / 3, 3), 2 ** -24]);
  expect(Array.from(numbersOf({ type: 'int64', data: BigInt64Array.of(7n), dims: [1] }))).toEqual([7]);
});
