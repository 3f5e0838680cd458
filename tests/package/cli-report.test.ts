// --report: the page's report in one file, from the command line.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { cli, models, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const here = { cwd: folder };

/** Pictures with something written on them. */
async function draw(name: string, width: number, height: number, count: number) {
  mkdirSync(at(name));
  for (let i = 0; i < count; ++i) {
    const svg = `<svg width="${width}" height="${height}"><rect width="100%" height="100%" fill="white"/><text x="${5 + 9 * i}" y="${height * 0.7}" font-size="${height * 0.6}" font-weight="bold">EXIT ${i}</text></svg>`;
    await sharp(Buffer.from(svg))
      .png()
      .toFile(at(`${name}/${i}.png`));
  }
}

beforeAll(async () => {
  copyFileSync(models.angle.path, at('angle.onnx'));
  copyFileSync(models.detection.path, at('text.onnx'));
  await draw('lines', 192, 48, 3);
  await draw('signs', 160, 96, 2);
});

const unescaped = (html: string) =>
  html.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&amp;', '&');

test('classes: each sample with its picture, the worst first, the command and the recipe', async () => {
  const args = [
    'quantize',
    'angle.onnx',
    '-o',
    'small.onnx',
    '--mode',
    'static',
    '--calibration',
    'lines',
    '--preset',
    'ppocr-cls',
  ];
  const { code, stderr } = await cli([...args, '--report', 'r.html', '--save-recipe', 'r.json'], here);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const html = readFileSync(at('r.html'), 'utf8');
  expect(html).toMatch(/^<!doctype html><html lang="en">/);
  expect(html).toContain('<title>angle.onnx, quantized</title>');
  expect(html).toContain('The answers are taken for classes');
  expect(html.match(/<img src="data:image\/webp;base64,/g)).toHaveLength(3);
  for (const name of ['0.png', '1.png', '2.png']) expect(html).toContain(`<strong>${name}</strong>`);
  expect(html).not.toMatch(/<script|src="http|<link/); // it needs nothing else
  const text = unescaped(html);
  expect(text).toContain(`npx zeropoint ${args.join(' ')} --report r.html --save-recipe r.json`);
  expect(text).toContain(readFileSync(at('r.json'), 'utf8'));
});

test('masks are pictures', async () => {
  const args = [
    'quantize',
    'text.onnx',
    '-o',
    'text-8.onnx',
    '--mode',
    'weight-only',
    '--calibration',
    'signs',
    '--preset',
    'ppocr-det',
  ];
  const { code, stderr } = await cli([...args, '--report', 'text.html'], here);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const html = readFileSync(at('text.html'), 'utf8');
  expect(html).toContain('The answers are taken for masks');
  expect(html).not.toContain('<canvas');
  // Of both samples: what went in, and the mask of either model over it.
  const masks = [
    ...html.matchAll(
      /<img src="data:image\/webp;base64,([^"]+)" alt="A mask of \d+ × \d+: ([\d.]+) % marked" class="over"/g,
    ),
  ];
  expect(masks).toHaveLength(4);
  for (const [, data = '', share] of masks) {
    expect(Number(share)).toBeGreaterThan(0);
    const { channels } = await sharp(Buffer.from(data, 'base64')).stats();
    expect(channels[3]?.max).toBeGreaterThan(100); // something covers
  }
});

test('made-up samples: the report says that the answers mean nothing; one each for many models', async () => {
  const args = [
    'quantize',
    'angle.onnx',
    models.wakeWord.path,
    '-o',
    'many/',
    '--mode',
    'dynamic',
    '--report',
    'many/',
  ];
  expect(await cli([...args, '--shape', 'x:1,3,48,192'], here)).toMatchObject({ code: 1 }); // the second has no input x
  expect(readFileSync(at('many/angle.report.html'), 'utf8')).toContain('The samples are made up');
  expect(readdirSync(at('many')).sort()).toEqual(['angle.onnx', 'angle.report.html']);
  const { code, stderr } = await cli(
    ['quantize', 'angle.onnx', '-o', 'x.onnx', '--mode', 'dynamic', '--report', 'r.html'],
    here,
  );
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/r\.html exists.*--force/) });
  expect(existsSync(at('x.onnx'))).toBe(false);
});
