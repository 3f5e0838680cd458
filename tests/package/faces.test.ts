// What the demo that finds faces makes of a network's numbers, and what it draws.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Box } from '../../web/src/answers/boxes.tsx';
import { drawGroup, drawSample } from '../../web/src/demos/faces/draw.ts';
import { differenceOf, facesIn } from '../../web/src/demos/faces/find.ts';
import { networkHeight, networkWidth, preparation } from '../../web/src/demos/faces/preparation.ts';
import { root, zeropoint } from './helpers.ts';

const { Model, imageToTensor } = zeropoint;

type Corners = readonly [left: number, top: number, right: number, bottom: number];

/** Outputs of the network with these boxes, in shares of what it sees. */
const outputsOf = (...found: (readonly [score: number, corners: Corners])[]) => ({
  scores: {
    type: 'float32' as const,
    data: Float32Array.from(found.flatMap(([score]) => [1 - score, score])),
    dims: [1, found.length, 2],
  },
  boxes: {
    type: 'float32' as const,
    data: Float32Array.from(found.flatMap(([, corners]) => corners)),
    dims: [1, found.length, 4],
  },
});

const whole = { width: networkWidth, height: networkHeight };

describe('faces in what the network gives', () => {
  test('are the sure ones, the surest first, and one of those that overlap', () => {
    const found = facesIn(
      outputsOf(
        [0.7, [0.6, 0.6, 0.8, 0.8]],
        [0.9, [0.1, 0.1, 0.3, 0.3]],
        [0.8, [0.11, 0.1, 0.31, 0.3]],
        [0.59, [0.4, 0.4, 0.5, 0.5]],
      ),
      whole,
    );
    expect(found.map(({ score }) => score)).toEqual([Math.fround(0.9), Math.fround(0.7)]);
    expect(found[0]?.left).toBeCloseTo(0.1, 6);
    expect(found[1]?.bottom).toBeCloseTo(0.8, 6);
  });

  test('are shares of the picture, whatever its proportions, and no part lies outside', () => {
    // 320 x 120 in the middle of 320 x 240: the picture begins at a quarter.
    const [wide] = facesIn(outputsOf([0.9, [0.5, 0.25, 0.75, 0.5]]), { width: 640, height: 240 });
    expect(wide).toMatchObject({ left: 0.5, top: 0, right: 0.75, bottom: 0.5 });
    // 180 x 240 in the middle of 320 x 240.
    const [tall] = facesIn(outputsOf([0.9, [0.5, 0.5, 0.9, 0.6]]), { width: 300, height: 400 });
    expect(tall?.left).toBeCloseTo(0.5, 6);
    expect(tall?.right).toBe(1);
    // In what was filled there is no face.
    expect(facesIn(outputsOf([0.9, [0.4, 0, 0.6, 0.2]]), { width: 640, height: 240 })).toEqual([]);
  });

  test('are not looked for in other outputs', () => {
    expect(() => facesIn({}, whole)).toThrow('this is not a face detector');
  });
});

test('two models differ by what is lost, what is added, and by boxes and scores of what both find', () => {
  const box = (left: number, score: number): Box => ({
    left,
    top: 0.2,
    right: left + 0.2,
    bottom: 0.4,
    class: 1,
    score,
  });
  expect(differenceOf([box(0.1, 0.9), box(0.5, 0.8)], [box(0.12, 0.7), box(0.75, 0.9)])).toEqual({
    both: 1,
    lost: 1,
    added: 1,
    overlap: expect.closeTo(0.18 / 0.22, 6),
    shift: expect.closeTo(0.2, 6),
  });
  expect(differenceOf([], [])).toEqual({ both: 0, lost: 0, added: 0, overlap: 1, shift: 0 });
});

test('drawn people are the same in every run, and others in every picture', () => {
  expect(drawSample(3, 64, 48)).toEqual(drawSample(3, 64, 48));
  expect(drawSample(3, 64, 48)).not.toEqual(drawSample(4, 64, 48));
});

test('the network finds the drawn people, and so do its integers', async () => {
  const model = await Model.load(
    join(root, 'node_modules/faceplugin-face-recognition-js/model/fr_detect.onnx'),
  );
  const group = drawGroup();
  const input = imageToTensor(group, { ...preparation, layout: 'nchw' });
  const samples = Array.from({ length: 8 }, (_, i) => ({
    input: imageToTensor(drawSample(i, networkWidth, networkHeight), { ...preparation, layout: 'nchw' }),
  }));
  const { model: quantized, report } = await model.quantize({ mode: 'static', calibration: samples });
  expect(report.sizeAfter).toBeLessThan(0.5 * report.sizeBefore);
  const [before, after] = await Promise.all(
    [model, quantized].map(async (each) => {
      const session = await each.createSession();
      return facesIn(await session.run({ input }), group);
    }),
  );
  expect(before).toHaveLength(5);
  expect(differenceOf(before ?? [], after ?? [])).toMatchObject({ both: 5, lost: 0, added: 0 });
});
