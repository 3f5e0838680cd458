// A vector for each sample, whose meaning is which other vectors are near.
import { percent } from '../format.ts';
import { type Example, gradeOf, type Kind, type Output, widthOf, worse } from './kind.ts';

export interface Embedding {
  vector: Float32Array;
}

const leastWidth = 16;
const usual = new Set([64, 96, 128, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048]);

const isVector = (output: Output) =>
  widthOf(output) >= leastWidth &&
  (output.dims.slice(0, -1).every((dim) => dim === 1) || output.dims.length === 3);

const outputOf = ({ outputs }: Example) =>
  outputs.find((output) => isVector(output) && output.dims.length === 2) ?? outputs.find(isVector);

/** The mean of all rows: of one, itself. */
function vectorOf(output: Output): Float32Array {
  const width = widthOf(output);
  const vector = new Float32Array(width);
  const rows = output.data.length / width;
  for (let i = 0; i < output.data.length; ++i) {
    vector[i % width] = (vector[i % width] as number) + (output.data[i] as number) / rows;
  }
  return vector;
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((x, i) => {
    const y = b[i] ?? 0;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  });
  return ab / (Math.sqrt(aa * bb) || 1);
}

/** Of each vector the nearest other one. */
function nearest(vectors: readonly Float32Array[]): number[] {
  return vectors.map((vector, i) => {
    let [best, at] = [Number.NEGATIVE_INFINITY, -1];
    vectors.forEach((other, j) => {
      const near = i === j ? Number.NEGATIVE_INFINITY : cosine(vector, other);
      if (near > best) [best, at] = [near, j];
    });
    return at;
  });
}

export const embeddings: Kind<Embedding> = {
  id: 'embeddings',
  title: 'embeddings',
  guess(example) {
    const output = outputOf(example);
    if (!output) return undefined;
    const width = widthOf(output);
    const vector = vectorOf(output);
    const length = Math.hypot(...vector);
    if (/embed|feature|vector|hidden|pool/i.test(output.name)) {
      return { sure: 0.85, because: `the output is called ${output.name}` };
    }
    if (output.dims.length > 2) return { sure: 0.2, because: `there are rows of ${width} numbers` };
    if (Math.abs(length - 1) < 0.01 && vector.some((value) => value < 0)) {
      return { sure: 0.9, because: `each sample gives ${width} numbers, a vector of length 1` };
    }
    return {
      sure: usual.has(width) ? 0.5 : 0.15,
      because: `each sample gives a vector of ${width} numbers`,
    };
  },
  read(example) {
    const output = outputOf(example);
    return output && { vector: vectorOf(output) };
  },
  compare({ float, quantized }) {
    const near = cosine(float.vector, quantized.vector);
    return {
      size: 1 - near,
      same: near >= 0.99,
      words: `Similarity to the original's vector: ${near.toFixed(4)}`,
    };
  },
  judge(pairs, changes) {
    const worst = 1 - Math.max(...changes.map(({ size }) => size));
    const said = `The least similar vector has a cosine of ${worst.toFixed(4)} with the original's.`;
    const byCosine = worst >= 0.99 ? 'good' : worst >= 0.95 ? 'fair' : 'poor';
    if (pairs.length < 3) {
      return {
        grade: byCosine,
        words: said,
        worst: said,
        short: `cosine ${worst.toFixed(3)}`,
        figure: { name: 'cosine', value: worst },
      };
    }
    const before = nearest(pairs.map(({ float }) => float.vector));
    const after = nearest(pairs.map(({ quantized }) => quantized.vector));
    const same = before.filter((at, i) => at === after[i]).length;
    return {
      grade: worse(gradeOf(same / pairs.length), worst >= 0.95 ? 'good' : 'fair'),
      words: `${same} of ${pairs.length} samples keep their nearest neighbour (${percent(same / pairs.length, 0)}).`,
      worst: said,
      short: `${same} of ${pairs.length} neighbours`,
      figure: { name: 'nearest neighbours that are the same', value: same / pairs.length },
    };
  },
  View({ answer }) {
    const most = answer.vector.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1;
    const shown = answer.vector.slice(0, 64);
    return (
      <svg class="numbers" viewBox="0 0 64 20" role="img" aria-label="The first numbers of the vector">
        {Array.from(shown, (value, i) => (
          <rect
            key={i}
            x={i}
            width={0.8}
            y={value > 0 ? 10 - (9 * value) / most : 10}
            height={(9 * Math.abs(value)) / most}
          />
        ))}
      </svg>
    );
  },
};
