// What the demo that searches by meaning makes of sentences, and what its network finds.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  differenceOf,
  feedsOf,
  type Hit,
  placed,
  ranked,
  vectorOf,
  vectorsOf,
} from '../../web/src/demos/search/find.ts';
import { encoderOf, mostPieces } from '../../web/src/demos/search/pieces.ts';
import { sentencesOf, textIn } from '../../web/src/demos/search/sentences.ts';
import { root, zeropoint } from './helpers.ts';

const folder = join(root, 'web/src/demos/search');
const fileOf = (name: string) => readFileSync(join(folder, name), 'utf8');
const linesOf = (text: string) => text.trimEnd().split('\n');

const encode = encoderOf(fileOf('pieces.txt'));
const everyday = sentencesOf(fileOf('everyday.txt'));
const never = new AbortController().signal;

describe('pieces', () => {
  // What the Python package tokenizers gives with the tokenizer that bench/prepare/sentences.py trained the network with.
  test.each([
    ['my tooth hurts', [161, 2026, 2372]],
    ['How do I stop being stressed?', [150, 151, 48, 738, 220, 10666, 32]],
    ['“Don’t” – wait… it’s 5 p.m.', [3, 540, 8, 59, 3, 14, 3684, 15, 15, 15, 160, 8, 58, 22, 55, 15, 52, 15]],
    ['Naïve CAFÉ-owners, hedgehogs\tand ÄÖÜß', [11133, 9075, 14, 6507, 13, 6155, 11926, 70, 141, 1]],
    ['日本 and 🙂 are unknown', [1, 1, 141, 1, 174, 2764]],
    [
      'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ok',
      [1, 11818],
    ],
  ])('of «%s» are those of the training', (sentence, ids) => {
    expect(encode(sentence).ids).toEqual(ids);
  });

  test('are as many as the network reads, and one at least', () => {
    expect(encode(' ')).toEqual({ ids: [1], isCut: false });
    expect(encode('so '.repeat(mostPieces)).isCut).toBe(false);
    const long = encode('so '.repeat(mostPieces + 1));
    expect(long.ids).toHaveLength(mostPieces);
    expect(long.isCut).toBe(true);
  });
});

describe('sentences of a text', () => {
  test.each([
    [
      'He said: “Go!” She left... and came back. It was 5 p.m.',
      ['He said: “Go!”', 'She left... and came back.', 'It was 5 p.m.'],
    ],
    [
      'Mr. Smith met J. R. Tolkien, e.g. in Oxford. They talked.',
      ['Mr. Smith met J. R. Tolkien, e.g. in Oxford.', 'They talked.'],
    ],
    [
      'A heading\n\nA line of a text that was broken because it is so\nnarrow. The end.\r\n– – –\n',
      ['A heading', 'A line of a text that was broken because it is so narrow.', 'The end.'],
    ],
    [
      'ROMEO:\nBut, soft! what light\nthrough yonder window breaks?\nIt is the east',
      ['ROMEO:', 'But, soft! what light through yonder window breaks?', 'It is the east'],
    ],
    ['Again. Again. Again.', ['Again.']],
  ])('%j', (text, sentences) => {
    expect(sentencesOf(text)).toEqual(sentences);
  });

  test('are the lines of the demo’s text', () => {
    expect(everyday).toEqual(linesOf(fileOf('everyday.txt')));
  });

  test('come out of files in UTF-8 and of Windows, and not out of others', () => {
    expect(textIn(new TextEncoder().encode('\ufeffÄ'))).toBe('Ä');
    expect(textIn(Uint8Array.of(0xc4))).toBe('Ä');
    expect(textIn(Uint8Array.of(0x89, 0))).toBeUndefined();
  });
});

describe('the nearest', () => {
  const hits = (...order: number[]): Hit[] => order.map((at, i) => ({ at, likeness: 1 - i / 100 }));

  test('are ranked by the angle, with their ranks in the other order', () => {
    const vectors = { width: 2, data: Float32Array.of(1, 0, 0.6, 0.8, 0, 1) };
    expect(ranked(vectors, Float32Array.of(0, 1)).map(({ at }) => at)).toEqual([2, 1, 0]);
    expect(placed(hits(2, 1, 0), hits(2, 0, 1)).map(({ other }) => other)).toEqual([1, 3, 2]);
  });

  test('differ in what is there, in its place, and in its likeness', () => {
    const [first, second] = [hits(...Array(12).keys()), hits(1, 0, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11)];
    expect(differenceOf(first, second)).toEqual({
      shown: 10,
      same: 9,
      kept: 7,
      shift: expect.closeTo(0.01),
    });
    expect(differenceOf(first, first)).toEqual({ shown: 10, same: 10, kept: 10, shift: 0 });
  });
});

describe('the network', async () => {
  const model = await zeropoint.Model.load(join(folder, 'sentences.onnx'));
  const rows = everyday.map((sentence) => encode(sentence).ids);

  /** What a model finds for each question. */
  async function foundBy(asked: typeof model, queries: readonly string[]): Promise<Hit[][]> {
    const session = await asked.createSession();
    const vectors = await vectorsOf(session, rows, never, () => undefined);
    const found: Hit[][] = [];
    for (const query of queries) {
      found.push(ranked(vectors, await vectorOf(session, encode(query).ids, never)));
    }
    await session.dispose();
    return found;
  }

  test('finds sentences that have no word of the question', async () => {
    const wanted = {
      'my tooth hurts': 'See the dentist twice a year, even if nothing hurts.',
      'Which animals are active in the dark?': 'Owls hunt at night and hear a mouse under the snow.',
      'spilled wine on the carpet': 'Red wine stains come out with salt and cold water.',
      'What is the biggest planet?': 'Jupiter is larger than all other planets together.',
    };
    const found = await foundBy(model, Object.keys(wanted));
    for (const [i, sentence] of Object.values(wanted).entries()) {
      const nearest = (found[i] ?? []).slice(0, 3);
      expect(nearest.map(({ at }) => everyday[at])).toContain(sentence);
    }
  });

  test('gives the same for a sentence alone and beside longer ones', async () => {
    const session = await model.createSession();
    const alone = await vectorOf(session, rows[0] as number[], never);
    const { embedding } = await session.run(feedsOf(rows.slice(0, 40)));
    expect(Math.hypot(...alone)).toBeCloseTo(1, 5);
    alone.forEach((value, i) => {
      expect(embedding?.data[i]).toBeCloseTo(value, 4);
    });
    await session.dispose();
  });

  test('keeps what is near as 8-bit integers', async () => {
    const samples = linesOf(fileOf('samples.txt')).map((each) => feedsOf([encode(each).ids]));
    expect(samples).toHaveLength(64);
    const { model: small } = await model.quantize({ calibration: samples });
    expect(small.size).toBeLessThan(0.35 * model.size);
    const queries = linesOf(readFileSync(join(root, 'bench/prepare/sentences-test.txt'), 'utf8'));
    const [before, after] = [await foundBy(model, queries), await foundBy(small, queries)];
    const same = before.map((hits, i) => differenceOf(hits, after[i] as Hit[]).same / 10);
    expect(same.reduce((a, b) => a + b) / same.length).toBeGreaterThan(0.9);
  });
});
