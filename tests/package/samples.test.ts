import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import type { TensorLike, TensorType, ValueInfo } from 'zeropoint';
import { errorOf, installed, temporaryFolder, zeropoint } from './helpers.ts';

const {
  Tensor,
  decodeImage,
  imageSample,
  imageToTensor,
  labelsInFile,
  readNpy,
  readNpz,
  readWav,
  samplesFromFiles,
  samplesInFile,
  syntheticSamples,
  writeNpy,
  writeNpz,
} = zeropoint;

/** A .npy file by hand. */
function npy(
  descr: string,
  shape: string,
  data: number[],
  { fortran = false, version = 1 } = {},
): Uint8Array {
  const header = `{'descr': ${descr}, 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${shape}, }\n`;
  const length =
    version === 1
      ? [header.length & 255, header.length >> 8]
      : [header.length & 255, header.length >> 8, 0, 0];
  return Uint8Array.from([
    0x93,
    ...new TextEncoder().encode('NUMPY'),
    version,
    0,
    ...length,
    ...new TextEncoder().encode(header),
    ...data,
  ]);
}

const input = (name: string, type: TensorType, dims: ValueInfo['dims']): ValueInfo => ({ name, type, dims });

async function all<T>(series: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of series) found.push(item);
  return found;
}

describe('.npy', () => {
  test.each([
    ['float32', new Float32Array([1.5, -2, 3.25, 4, 5, 6])],
    ['float64', new Float64Array([1.5, -2, 3, 4, 5, 6])],
    ['float16', new Uint16Array([0x3c00, 0xc000, 0, 1, 2, 3])],
    ['int8', new Int8Array([-128, 127, 0, 1, 2, 3])],
    ['uint8', new Uint8Array([255, 1, 2, 3, 4, 5])],
    ['int16', new Int16Array([-32768, 1, 2, 3, 4, 5])],
    ['uint16', new Uint16Array([65535, 1, 2, 3, 4, 5])],
    ['int32', new Int32Array([-1, 1, 2, 3, 4, 5])],
    ['uint32', new Uint32Array([2 ** 32 - 1, 1, 2, 3, 4, 5])],
    ['int64', new BigInt64Array([-1n, 1n, 2n, 3n, 4n, 5n])],
    ['uint64', new BigUint64Array([1n, 1n, 2n, 3n, 4n, 5n])],
    ['bool', new Uint8Array([0, 1, 1, 0, 1, 0])],
  ] as const)('comes back as it was written: %s', (type, data) => {
    for (const dims of [[6], [2, 3], [1, 1, 6], [3, 2, 1, 1]]) {
      const file = writeNpy({ type, data, dims });
      expect(file.length % 64).toBe((data.byteLength % 64) as number);
      const back = readNpy(file);
      expect(back.type).toBe(type);
      expect(back.dims).toEqual(dims);
      expect(back.data).toEqual(data);
    }
  });

  test('scalars and empty arrays', () => {
    expect(readNpy(writeNpy(new Tensor('float32', [7], []))).data).toEqual(new Float32Array([7]));
    expect(readNpy(writeNpy(new Tensor('float32', [], [0, 3]))).dims).toEqual([0, 3]);
  });

  test('strings, as NumPy has them', async () => {
    const words = ['one', '', 'drei', 'naïve 日本 🙂', '五', '6'];
    for (const dims of [[6], [2, 3]]) {
      const back = readNpy(writeNpy(new Tensor('string', words, dims)));
      expect(back).toMatchObject({ type: 'string', data: words, dims });
    }
    expect(readNpy(writeNpy(new Tensor('string', [], [0]))).data).toEqual([]);
    // np.array([['a', 'b'], ['cd', '']]), also column by column and in big-endian order; np.array([b'ab', b'c'])
    const letters = (order: (code: number) => number[], text: string) =>
      [...text].flatMap((letter) => order(letter.charCodeAt(0)));
    const little = (code: number) => [code, 0, 0, 0];
    const big = (code: number) => [0, 0, 0, code];
    const square = { type: 'string', data: ['a', 'b', 'cd', ''], dims: [2, 2] };
    expect(readNpy(npy("'<U2'", '(2, 2)', letters(little, 'a\0b\0cd\0\0')))).toMatchObject(square);
    expect(readNpy(npy("'>U2'", '(2, 2)', letters(big, 'a\0cdb\0\0\0'), { fortran: true }))).toMatchObject(
      square,
    );
    expect(readNpy(npy("'|S2'", '(2,)', [97, 98, 99, 0])).data).toEqual(['ab', 'c']);
    await errorOf(() => readNpy(npy("'<U1'", '(1,)', [0, 0, 0, 255])), 'invalid-sample');
    await errorOf(() => writeNpy(new Tensor('string', ['a\0'])), 'unsupported-type');
  });

  test('column-major order, big-endian numbers, the second version of the format, an odd address', () => {
    // [[1, 2, 3], [4, 5, 6]] column by column
    expect(readNpy(npy("'|u1'", '(2, 3)', [1, 4, 2, 5, 3, 6], { fortran: true })).data).toEqual(
      new Uint8Array([1, 2, 3, 4, 5, 6]),
    );
    expect(readNpy(npy("'>i2'", '(2,)', [0x01, 0x02, 0xff, 0xff])).data).toEqual(new Int16Array([258, -1]));
    expect(readNpy(npy("'<i2'", '(1,)', [2, 1], { version: 2 })).data).toEqual(new Int16Array([258]));
    const file = npy("'<f4'", '(1,)', [0, 0, 128, 63]);
    const shifted = new Uint8Array(file.length + 3);
    shifted.set(file, 3);
    expect(readNpy(shifted.subarray(3)).data).toEqual(new Float32Array([1]));
  });

  test.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('not an array, but long enough')],
    ['a header that is cut off', npy("'<f4'", '(1,)', []).subarray(0, 40)],
    ['too little data', npy("'<f4'", '(2,)', [0, 0, 0, 0])],
    ['too much data', npy("'<f4'", '(1,)', [0, 0, 0, 0, 0])],
    ['a shape beyond measure', npy("'<f4'", '(99999999999, 99999999999)', [])],
    ['a shape that is none', npy("'<f4'", '(a,)', [])],
    ['objects', npy("'|O'", '(1,)', [0])],
    ['records', npy("[('a', '<f4')]", '(1,)', [0, 0, 0, 0])],
    ['complex numbers', npy("'<c8'", '(1,)', [0, 0, 0, 0, 0, 0, 0, 0])],
    ['strings without a length', npy("'<U0'", '(9999999999,)', [])],
    ['a version to come', npy("'<f4'", '(1,)', [0, 0, 0, 0], { version: 9 })],
  ])('refuses %s', async (_, bytes) => {
    const error = await errorOf(() => readNpy(bytes, 'x.npy'), 'invalid-sample');
    expect(error.message).toMatch(/^x\.npy: /);
    expect(error.details.file).toBe('x.npy');
  });

  test('types without a form in it cannot be written', async () => {
    await errorOf(() => writeNpy({ type: 'int4', data: new Int8Array(1), dims: [2] }), 'unsupported-type');
  });
});

describe('.npz', () => {
  test('comes back as it was written, and always as the same bytes', async () => {
    const tensors = { x: new Tensor('float32', [1, 2], [1, 2]), ids: new Tensor('int64', [1n], [1]) };
    const file = await writeNpz(tensors);
    const back = await readNpz(file);
    expect(Object.keys(back)).toEqual(['x', 'ids']);
    expect(back.x?.data).toEqual(tensors.x.data);
    expect(back.ids?.data).toEqual(tensors.ids.data);
    expect(await writeNpz(tensors)).toEqual(file);
  });

  test('refuses what is cut off, empty, or not a zip', async () => {
    const file = await writeNpz({ x: new Tensor('float32', new Array<number>(100).fill(1)) });
    await errorOf(() => readNpz(file.subarray(0, file.length - 30), 'x.npz'), 'invalid-sample');
    await errorOf(() => readNpz(new Uint8Array(10), 'x.npz'), 'invalid-sample');
    const { zipSync } = await import('fflate');
    await errorOf(() => readNpz(zipSync({ 'readme.txt': new Uint8Array(3) })), 'invalid-sample');
  });

  test('without arrays, as numpy writes it, has none', async () => {
    const empty = await writeNpz({});
    expect(await readNpz(empty)).toEqual({});
    const error = await errorOf(
      () => samplesInFile(empty, 'x.npz', [{ name: 'x', type: 'float32', dims: [1] }]),
      'invalid-sample',
    );
    expect(error.message).toContain('no array for x');
  });
});

/** A .wav file by hand. */
function wav(
  tag: number,
  bits: number,
  channels: number,
  data: number[],
  { announced = data.length, odd = false } = {},
) {
  const u16 = (n: number) => [n & 255, (n >> 8) & 255];
  const u32 = (n: number) => [...u16(n & 65535), ...u16(n >>> 16)];
  const text = (s: string) => [...new TextEncoder().encode(s)];
  const frame = (channels * bits) / 8;
  const format = [
    ...u16(tag),
    ...u16(channels),
    ...u32(16000),
    ...u32(16000 * frame),
    ...u16(frame),
    ...u16(bits),
  ];
  const extra = odd ? [...text('LIST'), ...u32(3), 1, 2, 3, 0] : [];
  return Uint8Array.from([
    ...text('RIFF'),
    ...u32(36 + extra.length + data.length),
    ...text('WAVEfmt '),
    ...u32(16),
    ...format,
    ...extra,
    ...text('data'),
    ...u32(announced),
    ...data,
  ]);
}

describe('.wav', () => {
  const bytesOf = (array: ArrayBufferView) => [...new Uint8Array(array.buffer)];

  test.each([
    ['8 bits', wav(1, 8, 1, [0, 128, 255]), [-1, 0, 127 / 128]],
    ['16 bits', wav(1, 16, 1, bytesOf(new Int16Array([-32768, 0, 16384]))), [-1, 0, 0.5]],
    ['24 bits', wav(1, 24, 1, [0, 0, 128, 0, 0, 64]), [-1, 0.5]],
    ['32 bits', wav(1, 32, 1, bytesOf(new Int32Array([-(2 ** 31), 2 ** 30]))), [-1, 0.5]],
    ['floats', wav(3, 32, 1, bytesOf(new Float32Array([-0.25, 1]))), [-0.25, 1]],
    ['doubles', wav(3, 64, 1, bytesOf(new Float64Array([-0.25, 1]))), [-0.25, 1]],
    ['two channels', wav(1, 16, 2, bytesOf(new Int16Array([16384, 0, -16384, -16384]))), [0.25, -0.5]],
    ['a chunk of odd length before', wav(1, 16, 1, [0, 64], { odd: true }), [0.5]],
    ['a recording that was cut off', wav(1, 16, 1, [0, 64], { announced: 0xffffffff }), [0.5]],
  ])('%s', (_, file, samples) => {
    const read = readWav(file);
    expect(read.sampleRate).toBe(16000);
    expect([...read.samples]).toEqual(samples);
  });

  test.each([
    ['text', new TextEncoder().encode('not sound at all')],
    ['a compressed format', wav(85, 16, 1, [0, 0])],
    ['data that is not there', wav(1, 16, 1, [0, 0], { announced: 100 })],
    ['no channels', wav(1, 16, 0, [0, 0])],
    ['no data', wav(1, 16, 1, []).subarray(0, 36)],
    ['no format', wav(1, 16, 1, []).subarray(0, 20)],
  ])('refuses %s', async (_, bytes) => {
    await errorOf(() => readWav(bytes, 'x.wav'), 'invalid-sample');
  });

  test('becomes windows as long as the input', async () => {
    const file = wav(1, 16, 1, bytesOf(new Int16Array(10).fill(16384)));
    const inputs = [input('sound', 'float32', ['batch', 4])];
    const samples = await samplesInFile(file, 'a.wav', inputs, { audioScale: 32768 });
    expect(samples.map(({ sound }) => sound?.dims)).toEqual([
      [1, 4],
      [1, 4],
    ]);
    expect(samples[0]?.sound?.data).toEqual(new Float32Array(4).fill(16384));
    const whole = await samplesInFile(file, 'a.wav', [input('sound', 'float32', ['batch', 'n'])]);
    expect(whole.map(({ sound }) => sound?.dims)).toEqual([[1, 10]]);
    await errorOf(() => samplesInFile(file, 'a.wav', inputs, { sampleRate: 44100 }), 'invalid-sample');
    await errorOf(() => samplesInFile(file, 'a.wav', [input('s', 'float32', [1, 99])]), 'invalid-sample');
  });
});

describe('labels', () => {
  const text = (content: string) => new TextEncoder().encode(content);

  test('a class for each sample, in their order or by name', async () => {
    expect(await labelsInFile(text('3\r\n1\n\n4\n'), 'x.txt')).toEqual([3, 1, 4]);
    const named = text('file;class\n"b.png";7\nsub/a.png;5\n');
    expect(await labelsInFile(named, 'x.csv', ['sub/a.png', 'elsewhere/b.png'])).toEqual([5, 7]);
    const npy = writeNpy(new Tensor('int64', [2n, 0n], [2]));
    expect(await labelsInFile(npy, 'x.npy')).toEqual([2, 0]);
  });

  test('what says no class is an error', async () => {
    for (const [content, samples] of [
      ['', []],
      ['class\ncat\n', []],
      ['1\n-2\n', []],
      ['a.png,1\n', ['b.png']],
    ] as const) {
      const error = await errorOf(() => labelsInFile(text(content), 'x.csv', samples), 'invalid-argument');
      expect(error.message).toContain('x.csv');
    }
    const half = writeNpy(new Tensor('float32', [0.5], [1]));
    await errorOf(() => labelsInFile(half, 'x.npy'), 'invalid-argument');
  });
});

describe('images', () => {
  /** Left half red, right half blue. */
  const halves = (width: number, height: number) => {
    const data = new Uint8ClampedArray(width * height * 4);
    for (let i = 0; i < width * height; ++i) {
      data.set(i % width < width / 2 ? [255, 0, 0, 255] : [0, 0, 255, 255], i * 4);
    }
    return { data, width, height };
  };

  test('order of dimensions and channels, mean and deviation', () => {
    const image = { data: new Uint8Array([255, 0, 51, 255]), width: 1, height: 1 };
    expect(imageToTensor(image).dims).toEqual([1, 3, 1, 1]);
    expect([...imageToTensor(image).data]).toEqual([1, 0, Math.fround(0.2)]);
    expect([...imageToTensor(image, { channels: 'bgr' }).data]).toEqual([Math.fround(0.2), 0, 1]);
    expect(imageToTensor(image, { layout: 'nhwc' }).dims).toEqual([1, 1, 1, 3]);
    expect(imageToTensor(image, { channels: 'gray' }).dims).toEqual([1, 1, 1, 1]);
    const normal = imageToTensor(image, { mean: [0.5, 0.25, 0], std: [0.5, 0.5, 2] }).data;
    expect([...normal]).toEqual([1, -0.5, Math.fround(0.1)]);
    const wide = imageToTensor(halves(2, 1), { layout: 'nchw' }).data;
    expect([...wide]).toEqual([1, 0, 0, 0, 0, 1]);
    expect([...imageToTensor(halves(2, 1), { layout: 'nhwc' }).data]).toEqual([1, 0, 0, 0, 0, 1]);
  });

  test('what is transparent is white', () => {
    const image = { data: new Uint8Array([10, 20, 30, 0]), width: 1, height: 1 };
    expect([...imageToTensor(image).data]).toEqual([1, 1, 1]);
  });

  test('a size: stretched, covered, contained, as high', () => {
    const image = halves(8, 4);
    expect(imageToTensor(image, { size: [4, 4] }).dims).toEqual([1, 3, 4, 4]);
    const stretched = imageToTensor(image, { size: 4 }).data;
    expect([stretched[0], stretched[3]]).toEqual([1, 0]);
    // The middle of 8 x 4 is half red, half blue.
    const covered = imageToTensor(image, { size: 4, resize: 'cover' }).data;
    expect([...covered.slice(0, 4)]).toEqual([1, 1, 0, 0]);
    // 8 x 4 in 4 x 4 is 4 x 2, with a row of the mean above and below: 0 after normalization.
    const contained = imageToTensor(image, { size: 4, resize: 'contain', mean: 0.5, std: 0.5 });
    expect([...contained.data.slice(0, 4)]).toEqual([0, 0, 0, 0]);
    expect([...contained.data.slice(4, 5)]).toEqual([1]);
    const high = imageToTensor(image, { size: [4, 12], resize: 'fit-height', mean: 0.5, std: 0.5 }).data;
    expect([...high.slice(0, 12)]).toEqual([1, 1, 1, 1, -1, -1, -1, -1, 0, 0, 0, 0]);
    const squeezed = imageToTensor(image, { size: [4, 4], resize: 'fit-height' });
    expect(squeezed.dims).toEqual([1, 3, 4, 4]);
  });

  test('shrinking is as smooth as sharp has it', async () => {
    const [width, height] = [97, 61];
    const data = new Uint8ClampedArray(width * height * 4);
    for (let i = 0; i < width * height; ++i) {
      const [x, y] = [i % width, Math.floor(i / width)];
      data.set([127 + 120 * Math.sin(x / 9), 127 + 120 * Math.cos(y / 7), (x * 255) / width, 255], i * 4);
    }
    const ours = imageToTensor({ data, width, height }, { size: [23, 31], layout: 'nhwc' }).data;
    const theirs = await sharp(data, { raw: { width, height, channels: 4 } })
      .removeAlpha()
      .resize(31, 23, { fit: 'fill', kernel: 'linear' })
      .raw()
      .toBuffer();
    const difference = ours.map((v, i) => Math.abs(v - (theirs[i] as number) / 255));
    expect(difference.reduce((a, b) => a + b, 0) / difference.length).toBeLessThan(0.01);
  });

  test('presets', () => {
    const image = halves(100, 50);
    expect(imageToTensor(image, { preset: 'imagenet' }).dims).toEqual([1, 3, 224, 224]);
    expect(imageToTensor(image, { preset: 'imagenet', size: 64 }).dims).toEqual([1, 3, 64, 64]);
    const det = imageToTensor(image, { preset: 'ppocr-det' });
    expect(det.dims).toEqual([1, 3, 64, 96]); // multiples of 32
    // Blue comes first, and takes the first mean: red there is 0.
    expect(det.data[0]).toBeCloseTo((0 - 0.485) / 0.229, 4);
    expect(imageToTensor(image, { preset: 'ppocr-rec' }).dims).toEqual([1, 3, 48, 320]);
    expect(imageToTensor(image, { preset: 'ppocr-cls' }).dims).toEqual([1, 3, 48, 192]);
    expect(imageToTensor(image, { preset: 'imagenet-tf' }).data[0]).toBeCloseTo(1, 4);
    expect(Math.max(...imageToTensor(image, { preset: 'unit' }).data)).toBe(1);
  });

  test('the model says what the options do not', () => {
    const image = halves(20, 10);
    const shape = (dims: ValueInfo['dims'], options = {}) =>
      imageSample(image, [input('x', 'float32', dims)], options).x?.dims;
    expect(shape(['n', 3, 'h', 'w'])).toEqual([1, 3, 10, 20]);
    expect(shape([1, 3, 6, 8])).toEqual([1, 3, 6, 8]);
    expect(shape([1, 6, 8, 3])).toEqual([1, 6, 8, 3]);
    expect(shape([1, 1, 28, 28])).toEqual([1, 1, 28, 28]);
    expect(shape(['n', 3, 48, 'w'], { preset: 'ppocr-rec' })).toEqual([1, 3, 48, 320]);
    expect(() => shape([1, 3, 6, 8], { size: 7 })).toThrow(/'x'.*\[1, 3, 6, 8\].*\[1, 3, 7, 7\]/);
    expect(() => shape([1, 4])).toThrow(/'x'/);
  });

  test('files are decoded by sharp, in all the usual formats', async () => {
    const { data, width, height } = halves(16, 8);
    const raw = sharp(data, { raw: { width, height, channels: 4 } });
    for (const bytes of [
      await raw.clone().png().toBuffer(),
      await raw.clone().webp({ lossless: true }).toBuffer(),
      await raw.clone().removeAlpha().jpeg({ quality: 100 }).toBuffer(),
      await raw.clone().gif().toBuffer(),
    ]) {
      const image = await decodeImage(bytes);
      expect([image.width, image.height]).toEqual([16, 8]);
      const { data: pixels } = imageToTensor(image);
      expect(pixels[0]).toBeGreaterThan(0.9);
      expect(pixels[15]).toBeLessThan(0.1);
    }
    const error = await errorOf(() => decodeImage(new Uint8Array(100), 'a.png'), 'invalid-sample');
    expect(error.message).toMatch(/^a\.png: /);
  });

  test('without sharp the error says what to do', async () => {
    // Outside the repository, in a node_modules folder without sharp.
    const alonePath = join(temporaryFolder(), 'node_modules', 'zeropoint');
    mkdirSync(alonePath, { recursive: true });
    cpSync(join(installed, 'dist'), join(alonePath, 'dist'), { recursive: true });
    writeFileSync(join(alonePath, 'package.json'), '{ "type": "module" }');
    const alone: typeof zeropoint = await import(pathToFileURL(join(alonePath, 'dist', 'node.js')).href);
    await expect(alone.decodeImage(new Uint8Array(1))).rejects.toMatchObject({
      code: 'invalid-sample',
      details: { hint: expect.stringContaining('npm install sharp') },
    });
  });

  test.each([
    ['an unknown preset', { preset: 'nope' }, /preset.*nope.*imagenet/],
    ['an unknown option', { sise: 3 }, /sise.*size/],
    ['a size of nothing', { size: 0 }, /size/],
    ['two means', { mean: [1, 2] }, /mean.*3/],
    ['a deviation of 0', { std: [1, 0, 1] }, /std/],
    ['an unknown layout', { layout: 'chwn' }, /layout.*nchw/],
  ])('refuses %s', async (_, options, message) => {
    const error = await errorOf(() => imageToTensor(halves(2, 2), options as never), 'invalid-argument');
    expect(error.message).toMatch(message);
  });
});

describe('samples for a model', () => {
  const file = (name: string, bytes: Uint8Array) => ({ name, arrayBuffer: async () => bytes });
  const array = (dims: number[], type: TensorType = 'float32') => {
    const size = dims.reduce((a, b) => a * b, 1);
    return new Tensor(type, Array.from({ length: size }, (_, i) => i) as never, dims);
  };
  const shapesIn = async (tensor: TensorLike, dims: ValueInfo['dims'], type: TensorType = 'float32') =>
    (await samplesInFile(writeNpy(tensor), 'x.npy', [input('x', type, dims)])).map(({ x }) => x?.dims);

  test('an array is a sample, a sample without its batch, a stack of samples, or several batches', async () => {
    expect(await shapesIn(array([1, 2]), [1, 2])).toEqual([[1, 2]]);
    expect(await shapesIn(array([5, 2]), ['n', 2])).toEqual([[5, 2]]);
    expect(await shapesIn(array([2]), ['n', 2])).toEqual([[1, 2]]);
    expect(await shapesIn(array([3, 1, 2]), [1, 2])).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    expect(await shapesIn(array([4, 2]), [2, 2])).toEqual([
      [2, 2],
      [2, 2],
    ]);
    const [, second] = await samplesInFile(writeNpy(array([2, 1, 2])), 'x.npy', [
      input('x', 'float32', [1, 2]),
    ]);
    expect(second?.x?.data).toEqual(new Float32Array([2, 3]));
  });

  test('values keep their meaning when their type changes, or it is an error', async () => {
    expect(await shapesIn(array([2], 'uint8'), [2])).toEqual([[2]]);
    expect(await shapesIn(array([2], 'float64'), [2])).toEqual([[2]]);
    expect(await shapesIn(array([2], 'int32'), [2], 'int64')).toEqual([[2]]);
    await expect(shapesIn(array([2]), [2], 'int64')).rejects.toMatchObject({ code: 'invalid-sample' });
    const large = new Tensor('int32', [300]);
    await expect(shapesIn(large, [1], 'uint8')).rejects.toMatchObject({ code: 'invalid-sample' });
  });

  test('an array that does not fit is named, with what was expected and what was found', async () => {
    const error = await errorOf(() => shapesIn(array([7, 5]), [1, 3, 'h', 'w']), 'invalid-sample');
    expect(error.message).toBe("x.npy: input 'x' takes float32 [1, 3, h, w], the file has float32 [7, 5]");
    expect(error.details).toMatchObject({ file: 'x.npy', tensor: 'x' });
  });

  test('several inputs come from .npz', async () => {
    const inputs = [input('ids', 'int64', [1, 'n']), input('mask', 'int64', [1, 'n'])];
    const npz = await writeNpz({ ids: array([4], 'int32'), mask: array([1, 4], 'int64') });
    const [sample] = await samplesInFile(npz, 'a.npz', inputs);
    expect(sample?.ids?.dims).toEqual([1, 4]);
    expect(sample?.mask?.type).toBe('int64');
    const positional = await writeNpz({ arr_0: array([1, 4], 'int64'), arr_1: array([1, 4], 'int64') });
    expect(await samplesInFile(positional, 'a.npz', inputs)).toHaveLength(1);
    const other = await writeNpz({ ids: array([1, 4], 'int64'), masc: array([1, 4], 'int64') });
    const error = await errorOf(() => samplesInFile(other, 'a.npz', inputs), 'invalid-sample');
    expect(error.message).toBe('a.npz: no array for mask; it has masc');
    await errorOf(() => samplesInFile(writeNpy(array([1, 4])), 'a.npy', inputs), 'invalid-sample');
  });

  test('files are read one after the other, when they are asked for', async () => {
    const read: string[] = [];
    const files = ['a', 'b', 'c'].map((name) => ({
      name,
      arrayBuffer: async () => {
        read.push(name);
        return writeNpy(array([2, 1, 2]));
      },
    }));
    const series = samplesFromFiles(files, [input('x', 'float32', [1, 2])], { limit: 3 });
    expect(read).toEqual([]);
    expect(await all(series)).toHaveLength(3);
    expect(read).toEqual(['a', 'b']);
    const missing = { name: 'd', arrayBuffer: () => Promise.reject(new Error('gone')) };
    await errorOf(() => all(samplesFromFiles([missing], [])), 'io');
    await errorOf(
      () => all(samplesFromFiles([file('e.png', new Uint8Array(9))], [input('x', 'float32', [1])])),
      'invalid-sample',
    );
  });
});

describe('synthetic samples', () => {
  const inputs = [
    input('image', 'float32', ['n', 3, 'H', 'W']),
    input('ids', 'int64', ['n', 'length']),
    input('attention_mask', 'int64', ['n', 'length']),
    input('flag', 'bool', []),
  ];

  test('the same seed gives the same samples, another seed others', () => {
    const make = (seed: number) => [
      ...syntheticSamples(inputs, { count: 2, seed, dims: { H: 4, W: 5, length: 6 } }),
    ];
    expect(make(1)).toEqual(make(1));
    expect(make(1)).not.toEqual(make(2));
    const [first, second] = make(1);
    expect(first?.image?.dims).toEqual([1, 3, 4, 5]);
    expect(first?.image?.data).not.toEqual(second?.image?.data);
    expect(first?.ids?.dims).toEqual([1, 6]);
    expect(first?.attention_mask?.data).toEqual(new BigInt64Array(6).fill(1n));
    expect(first?.flag?.size).toBe(1);
  });

  test('floats are normal or uniform', () => {
    const large = [input('x', 'float32', [100, 100])];
    const moments = (distribution: 'normal' | 'uniform') => {
      const [sample] = syntheticSamples(large, { count: 1, distribution });
      const data = sample?.x?.data as Float32Array;
      const mean = data.reduce((a, b) => a + b, 0) / data.length;
      return [mean, data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length];
    };
    const [mean, variance] = moments('normal');
    expect(mean).toBeCloseTo(0, 1);
    expect(variance).toBeCloseTo(1, 1);
    const [middle, spread] = moments('uniform');
    expect(middle).toBeCloseTo(0, 1);
    expect(spread).toBeCloseTo(1 / 3, 1);
  });

  test('dimensions that no input has are an error', async () => {
    const error = await errorOf(
      () => [...syntheticSamples(inputs, { dims: { Hight: 3 } })],
      'invalid-argument',
    );
    expect(error.message).toMatch(/Hight.*n, H, W, length/);
  });
});
