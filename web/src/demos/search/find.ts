// Finds the sentences with the nearest meaning: their vectors have the smallest angles to the vector of the question.
import { type Feeds, type Session, Tensor } from 'zeropoint';

/** So many are shown. */
export const shownCount = 10;

/** Sentences of a run. */
const batch = 32;
/** Rows are as long as a multiple of this: for each length the engine plans once. */
const step = 8;

/** The network's input for sentences, as pieces. */
export function feedsOf(rows: readonly (readonly number[])[]): Feeds {
  const length = step * Math.ceil(Math.max(...rows.map((row) => row.length)) / step);
  const [ids, mask] = [new BigInt64Array(rows.length * length), new BigInt64Array(rows.length * length)];
  rows.forEach((row, i) => {
    row.forEach((id, k) => {
      ids[i * length + k] = BigInt(id);
      mask[i * length + k] = 1n;
    });
  });
  const dims = [rows.length, length];
  return { input_ids: new Tensor('int64', ids, dims), attention_mask: new Tensor('int64', mask, dims) };
}

/** The vectors of sentences, one after the other, all of length 1. */
export interface Vectors {
  width: number;
  data: Float32Array;
}

async function run(
  session: Session,
  rows: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<Vectors> {
  const { embedding } = await session.run(feedsOf(rows), { signal });
  if (embedding?.type !== 'float32') throw new Error('this is not the model of the demo');
  return { width: embedding.dims[1] ?? 0, data: embedding.data as Float32Array };
}

/** Of the question. */
export async function vectorOf(session: Session, row: readonly number[], signal: AbortSignal) {
  const { data } = await run(session, [row], signal);
  return data;
}

/** Of all sentences of a text; `tell` hears how many are read. */
export async function vectorsOf(
  session: Session,
  rows: readonly (readonly number[])[],
  signal: AbortSignal,
  tell: (count: number) => void,
): Promise<Vectors> {
  const order = rows.map((_, i) => i).sort((a, b) => (rows[a]?.length ?? 0) - (rows[b]?.length ?? 0));
  let all: Vectors = { width: 0, data: new Float32Array(0) };
  for (let first = 0; first < rows.length; first += batch) {
    const chosen = order.slice(first, first + batch);
    const { width, data } = await run(
      session,
      chosen.map((i) => rows[i] as readonly number[]),
      signal,
    );
    if (first === 0) all = { width, data: new Float32Array(rows.length * width) };
    for (const [k, i] of chosen.entries()) {
      all.data.set(data.subarray(k * width, (k + 1) * width), i * width);
    }
    tell(first + chosen.length);
  }
  return all;
}

/** How often the time of a run is taken: the page shows the median. */
const looks = 5;

/** Milliseconds for a sentence, where many are read together. */
export async function timeOf(
  session: Session,
  rows: readonly (readonly number[])[],
  signal: AbortSignal,
): Promise<number> {
  const some = rows.slice(0, batch);
  const times: number[] = [];
  // The first run plans.
  for (let i = 0; i <= looks; ++i) {
    await run(session, some, signal);
    if (i > 0) times.push(session.lastRunMs);
  }
  return (times.sort((a, b) => a - b)[looks >> 1] ?? 0) / some.length;
}

export interface Hit {
  /** The sentence's number in the text. */
  at: number;
  /** The cosine of the angle: 1 is the same direction. */
  likeness: number;
}

/** All sentences, the nearest first. */
export function ranked({ width, data }: Vectors, asked: Float32Array): Hit[] {
  const hits = Array.from({ length: width ? data.length / width : 0 }, (_, at) => {
    let likeness = 0;
    for (let i = 0; i < width; ++i) likeness += (data[at * width + i] as number) * (asked[i] as number);
    return { at, likeness };
  });
  return hits.sort((a, b) => b.likeness - a.likeness);
}

/** A hit that is shown, and its rank in the other model's order: from 1. */
export interface Placed extends Hit {
  other: number;
}

/** The nearest ones of a model, with their ranks in the other one's order. */
export function placed(hits: readonly Hit[], others: readonly Hit[]): Placed[] {
  const rank = new Map(others.map(({ at }, i) => [at, i + 1]));
  return hits.slice(0, shownCount).map((hit) => ({ ...hit, other: rank.get(hit.at) ?? 0 }));
}

/** How the nearest ones of two models differ. */
export interface Difference {
  shown: number;
  /** Both show them. */
  same: number;
  /** They have the same rank too. */
  kept: number;
  /** The largest change of a likeness among those that the original shows. */
  shift: number;
}

export function differenceOf(original: readonly Hit[], quantized: readonly Hit[]): Difference {
  const nearest = placed(quantized, original);
  const likeness = new Map(quantized.map((hit) => [hit.at, hit.likeness]));
  return {
    shown: nearest.length,
    same: nearest.filter(({ other }) => other > 0 && other <= shownCount).length,
    kept: nearest.filter(({ other }, i) => other === i + 1).length,
    shift: Math.max(
      0,
      ...original.slice(0, shownCount).map((hit) => Math.abs(hit.likeness - (likeness.get(hit.at) ?? 0))),
    ),
  };
}
