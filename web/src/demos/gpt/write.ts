// Writes with a character GPT: bench/prepare/shakespeare.py says how it was made. It keeps keys and values between runs, so
// that each run gets one character.
import { type Feeds, type Session, Tensor } from 'zeropoint';
import { random } from '../random.ts';
import { characters, encoded } from './characters.ts';

/** Characters that the network looks back at. */
const context = 128;
/** With more characters than these, it goes on from so many of the last ones. */
const carried = 64;

/** Heads and width of the keys and values of a layer. */
const [heads, size] = [2, 24];

const ids = (rows: readonly (readonly number[])[]) =>
  new Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]?.length ?? 0]);

/** Nothing was there before. */
const emptyPast = (inputNames: readonly string[], batch: number): Feeds =>
  Object.fromEntries(
    inputNames
      .filter((name) => name.startsWith('past.'))
      .map((name) => [name, new Tensor('float32', new Float32Array(0), [batch, heads, 0, size])]),
  );

/** The network's input for texts of one length: which character comes next? */
export function feedsOf(inputNames: readonly string[], texts: readonly (readonly number[])[]): Feeds {
  const length = texts[0]?.length ?? 0;
  return {
    input_ids: ids(texts),
    attention_mask: ids(texts.map(() => new Array<number>(length).fill(1))),
    ...emptyPast(inputNames, texts.length),
  };
}

/** A character by its odds; `temperature`: below 1 the likely ones become likelier. */
function drawn(logits: ArrayLike<number>, temperature: number, chance: number): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; ++i) most = Math.max(most, logits[i] as number);
  const odds = Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  let left = chance * odds.reduce((a, b) => a + b, 0);
  const at = odds.findIndex((each) => {
    left -= each;
    return left < 0;
  });
  return at < 0 ? odds.length - 1 : at;
}

export interface Wanted {
  prompt: string;
  /** How many characters are written. */
  length: number;
  temperature: number;
  /** Of the dice: two networks that throw the same ones differ only where their odds do. */
  seed: number;
}

/** One character after the other, with the time of its run in milliseconds. */
export async function* written(
  session: Session,
  { prompt, length, temperature, seed }: Wanted,
  signal: AbortSignal,
): AsyncGenerator<{ character: string; milliseconds: number }> {
  const next = random(seed);
  const text = encoded(prompt);
  if (text.length === 0) text.push(0);
  let fresh = text.slice(-carried);
  let kept = 0;
  let past = emptyPast(session.inputNames, 1);
  for (let i = 0; i < length; ++i) {
    if (kept + fresh.length > context) {
      fresh = text.slice(-carried);
      kept = 0;
      past = emptyPast(session.inputNames, 1);
    }
    kept += fresh.length;
    const { logits, ...present } = await session.run(
      { input_ids: ids([fresh]), attention_mask: ids([new Array<number>(kept).fill(1)]), ...past },
      { signal },
    );
    if (!logits) throw new Error('this is not the model of the demo');
    past = Object.fromEntries(
      Object.entries(present).map(([name, value]) => [name.replace('present', 'past'), value]),
    );
    const number = drawn(logits.data as Float32Array, temperature, next());
    text.push(number);
    fresh = [number];
    yield { character: characters[number] as string, milliseconds: session.lastRunMs };
  }
}
