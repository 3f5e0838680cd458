// Weights in files beside a model: on every door, read and written, and nothing else is ever read.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LoadOptions, Model as ModelType } from 'zeropoint';
import { modelOf, node, valueInfo } from './handmade.ts';
import { cli, errorOf, models, noisyFeeds, zeropoint } from './helpers.ts';

const { Model } = zeropoint;
const { path: whole, feeds } = models.angle;
const folder = mkdtempSync(join(tmpdir(), 'external-'));
const path = join(folder, 'model.onnx');
const names = ['model.onnx_data', 'model.onnx_data_1'];
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function save(model: ModelType, to: string, options: Parameters<ModelType['toFiles']>[0]) {
  mkdirSync(to, { recursive: true });
  const files = await model.toFiles(options);
  for (const file of files) {
    const bytes = await file.bytes();
    expect(bytes.byteLength).toBe(file.size);
    writeFileSync(join(to, file.name), bytes);
  }
  return files.map(({ name }) => name);
}

beforeAll(async () => {
  await using model = await Model.load(whole);
  // Each tensor is smaller than that, and all of them together are not.
  const written = await save(model, folder, { externalData: true, chunkSize: '400 kB' });
  expect(written.slice(0, 3)).toEqual(['model.onnx', ...names]);
});

async function answers(model: ModelType) {
  await using session = await model.createSession();
  const outputs = await session.run(noisyFeeds(feeds));
  return Object.values(outputs).map(({ data }) => [...(data as Float32Array)]);
}
async function answersOf(source: Parameters<typeof Model.load>[0], options?: LoadOptions) {
  await using model = await Model.load(source, options);
  return await answers(model); // before the model goes
}
const data = () => readdirSync(folder).filter((name) => name.includes('_data'));
const bytesOf = (name: string) => new Uint8Array(readFileSync(join(folder, name)));

describe('a model with its weights beside it', () => {
  test('runs the same from a path, a file: URL and in the command line', async () => {
    const expected = await answersOf(whole);
    expect(await answersOf(path)).toEqual(expected);
    expect(await answersOf(pathToFileURL(path))).toEqual(expected);
    await using model = await Model.load(path);
    expect(model.externalData.map(({ name }) => name)).toEqual(data().sort());
    const { stdout, code } = await cli(['inspect', path]);
    expect([code, stdout.includes('operators')]).toEqual([0, true]);
  });

  test('runs the same from what is given: bytes, Blobs, Files, paths, a function', async () => {
    const expected = await answersOf(whole);
    const model = bytesOf('model.onnx');
    const map = <T>(of: (name: string) => T) => Object.fromEntries(data().map((name) => [name, of(name)]));
    const given: LoadOptions['externalData'][] = [
      map(bytesOf),
      map((name) => new Blob([bytesOf(name)])),
      map((name) => join(folder, name)),
      data().map((name) => new File([bytesOf(name)], name)),
      (name: string) => bytesOf(name),
      async (name: string) => new Blob([bytesOf(name)]),
    ];
    for (const externalData of given) expect(await answersOf(model, { externalData })).toEqual(expected);
  });

  test('runs the same from a server', async () => {
    const server = createServer((request, response) =>
      response.end(readFileSync(join(folder, request.url ?? ''))),
    );
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.onnx`;
    try {
      expect(await answersOf(address)).toEqual(await answersOf(whole));
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  test('with weights that stay in their files gives the same bytes in every mode', async () => {
    for (const options of [
      { mode: 'weight-only' },
      { mode: 'weight-only', weights: 'int4' },
      { mode: 'dynamic' },
      { mode: 'float16' },
    ] as const) {
      const [there, here] = await Promise.all(
        (['files', 'memory'] as const).map(async (weights) => {
          await using model = await Model.load(path, { weights });
          const { model: small } = await model.quantize(options);
          await using result = small;
          return { bytes: await result.toBytes(), run: await answers(result) };
        }),
      );
      expect(there).toEqual(here);
    }
  });

  test('says which file and tensor is missing, or too short', async () => {
    const other = join(folder, 'other');
    mkdirSync(other);
    copyFileSync(path, join(other, 'model.onnx'));
    const gone = await errorOf(() => Model.load(join(other, 'model.onnx')), 'io');
    expect(gone.details).toMatchObject({ file: names[0] });
    expect(gone.details.tensor).toBeTruthy();
    expect(gone.message).toContain(other);
    for (const name of data()) copyFileSync(join(folder, name), join(other, name));
    truncateSync(join(other, 'model.onnx_data'), 1000);
    const short = await errorOf(() => Model.load(join(other, 'model.onnx')), 'invalid-model');
    expect(short.message).toContain('which has 1000');
    expect(short.details).toMatchObject({ file: names[0] });
    const none = await errorOf(() => Model.load(bytesOf('model.onnx')), 'io');
    expect(none.details.hint).toContain('externalData');
    const few = { [data()[0] as string]: bytesOf(data()[0] as string) };
    await errorOf(() => Model.load(bytesOf('model.onnx'), { externalData: few }), 'io');
    await errorOf(() => Model.load(path, { externalData: 'model.onnx_data' as never }), 'invalid-argument');
    await errorOf(() => Model.load(path, { externalData: () => 7 as never }), 'io');
  });
});

// ---- models that lie

const varint = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
const field = (tag: number, bytes: number[]) => [tag * 8 + 2, ...varint(bytes.length), ...bytes];
const text = (tag: number, value: string) => field(tag, [...new TextEncoder().encode(value)]);
/** y = x + w, of four floats; w lies where these entries say. */
const lying = (entries: Record<string, string>) =>
  modelOf([
    ...node('Add', ['x', 'w'], ['y']),
    ...valueInfo(11, 'x', [4]),
    ...valueInfo(12, 'y', [4]),
    ...field(5, [
      8,
      4,
      16,
      1,
      ...text(8, 'w'),
      ...Object.entries(entries).flatMap(([key, value]) => field(13, [...text(1, key), ...text(2, value)])),
      112,
      1,
    ]),
  ]);

describe('a path that a model names', () => {
  const room = join(folder, 'room');
  const at = (location: string, more: Record<string, string> = {}) => {
    writeFileSync(join(room, 'model.onnx'), lying({ location, ...more }));
    return Model.load(join(room, 'model.onnx'));
  };
  beforeAll(() => {
    mkdirSync(join(room, 'deep'), { recursive: true });
    writeFileSync(join(folder, 'secret'), new Uint8Array(64));
    writeFileSync(join(room, 'w'), new Uint8Array(64));
    writeFileSync(join(room, 'deep', 'w'), new Uint8Array(64));
    symlinkSync(join(folder, 'secret'), join(room, 'link'));
    symlinkSync(folder, join(room, 'up'));
    symlinkSync('w', join(room, 'inner'));
    symlinkSync('/dev/zero', join(room, 'zero'));
  });

  test('may be below its folder, and a link within it', async () => {
    for (const name of ['w', './w', 'deep/w', 'deep\\w', 'deep/../w', 'inner'])
      await (await at(name)).dispose();
    await (await at('w', { offset: '48', length: '16' })).dispose();
  });

  test('does not leave it', async () => {
    for (const name of [
      '../secret',
      'deep/../../secret',
      join(folder, 'secret'),
      '/etc/passwd',
      'C:\\w',
      '..\\secret',
    ]) {
      const { details, message } = await errorOf(() => at(name), 'invalid-model');
      expect(details.tensor).toBe('w');
      expect(message).toContain('folder of the model');
    }
    for (const name of ['link', 'up/secret', 'zero', 'deep']) {
      const { details } = await errorOf(() => at(name), 'io');
      expect(details).toMatchObject({ tensor: 'w', file: name });
    }
  });

  test('is as long as it says', async () => {
    for (const more of [
      { offset: '49' },
      { offset: '9000000000000000' },
      { length: '8' },
      { offset: '-1' },
    ]) {
      const { details } = await errorOf(() => at('w', more as Record<string, string>), 'invalid-model');
      expect(details.tensor).toBe('w');
    }
  });

  test('may be that of a cache, whose files are all links into one folder', async () => {
    const [cache, blobs] = [join(folder, 'snapshots'), join(folder, 'blobs')];
    for (const each of [cache, blobs]) mkdirSync(each);
    writeFileSync(join(blobs, '1'), lying({ location: 'w' }));
    writeFileSync(join(blobs, '2'), new Uint8Array(16));
    symlinkSync(join(blobs, '1'), join(cache, 'model.onnx'));
    symlinkSync(join(blobs, '2'), join(cache, 'w'));
    await (await Model.load(join(cache, 'model.onnx'))).dispose();
  });
});

describe('what is written', () => {
  test('has weights of its own where that is asked for, and the report and toBytes() know', async () => {
    await using model = await Model.load(path);
    const { model: small, report } = await model.quantize({ mode: 'weight-only', externalData: true });
    await using result = small;
    expect(report.files.map(({ name }) => name)).toEqual(['model.onnx', 'model.onnx_data']);
    expect(report.sizeAfter).toBe(report.files.reduce((sum, { size }) => sum + size, 0));
    const to = join(folder, 'written');
    expect(await save(result, to, { name: 'model_q8.onnx' })).toEqual([
      'model_q8.onnx',
      'model_q8.onnx_data',
    ]);
    expect(await answersOf(join(to, 'model_q8.onnx'))).toEqual(await answers(result));
    expect((await result.toFiles({ externalData: false })).length).toBe(1);
    expect(await answersOf(await result.toBytes())).toEqual(await answers(result));
    await errorOf(() => result.toBytes({ externalData: true }), 'invalid-argument');
    await errorOf(() => result.toFiles({ name: 'a/b.onnx' }), 'invalid-argument');
    await errorOf(() => result.toFiles({ chunkSize: 'much' }), 'invalid-argument');
  });

  test('goes out in parts, and as a Blob', async () => {
    await using model = await Model.load(path);
    const [, file] = await model.toFiles({ externalData: true });
    if (!file) return expect.fail('the weights have no file');
    const parts: Uint8Array[] = [];
    for await (const part of file) parts.push(part);
    expect(Buffer.concat(parts).equals(await file.bytes())).toBe(true);
    expect(new Uint8Array(await (await file.blob()).arrayBuffer())).toEqual(await file.bytes());
  });

  test('by the command line: beside the model, and never over an input', async () => {
    const to = join(folder, 'out');
    mkdirSync(to);
    const call = (...more: string[]) =>
      cli([
        'quantize',
        path,
        '-o',
        join(to, 'model_q4.onnx'),
        '--mode',
        'weight-only',
        '--weights',
        'int4',
        ...more,
      ]);
    const { code, stderr, stdout } = await call('--external-data', '--chunk-size', '100kB');
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/^(progress: .*\n)*warning: \d+ layers .* got 8 bits\n$/),
    ]);
    const written = readdirSync(to).sort();
    expect(written.slice(0, 3)).toEqual(['model_q4.onnx', 'model_q4.onnx_data', 'model_q4.onnx_data_1']);
    for (const name of written.slice(1)) expect(stdout).toContain(name);
    await using small = await Model.load(join(to, 'model_q4.onnx'));
    expect((await answers(small)).length).toBe(1);
    expect((await call('--external-data')).code).toBe(2); // it is there
    rmSync(join(to, 'model_q4.onnx'));
    expect((await call('--external-data')).code).toBe(2); // its data is
    expect(existsSync(join(to, 'model_q4.onnx'))).toBe(false);
    expect((await call('--external-data', '--force')).code).toBe(0);
    const over = await cli([
      'quantize',
      path,
      '-o',
      join(folder, names[0] as string),
      '--mode',
      'dynamic',
      '--force',
    ]);
    expect(over.code).toBe(2);
  });
});
