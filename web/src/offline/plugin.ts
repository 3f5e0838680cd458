// What the build adds to the page, so that it works with the network off, on any host, and from any folder of it.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import sharp from 'sharp';
import type { HtmlTagDescriptor, Plugin } from 'vite';
import { referenceFiles } from '../../../tools/api-reference.mjs';
import { headers, policyOf, sources } from './headers.ts';
import type { Kept } from './service-worker.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const publicFolder = join(here, '..', '..', 'public');
const background = '#1f6f5c'; // of icon.svg

/** Icons that are no vectors: their sizes, and how much of the width is the drawing's. */
const icons = [
  { name: 'icon-192.png', size: 192, share: 1 },
  { name: 'icon-512.png', size: 512, share: 1 },
  // Systems cut these to a shape of theirs.
  { name: 'icon-maskable.png', size: 512, share: 0.8 },
  { name: 'icon-apple.png', size: 180, share: 0.9 },
];

async function drawIcon({ size, share }: (typeof icons)[number]): Promise<Buffer> {
  const width = Math.round(size * share);
  const drawing = await sharp(join(publicFolder, 'icon.svg'), { density: (72 * width) / 32 })
    .resize(width)
    .png()
    .toBuffer();
  if (share === 1) return drawing;
  const canvas = sharp({ create: { width: size, height: size, channels: 3, background } });
  return canvas
    .composite([{ input: drawing }])
    .png()
    .toBuffer();
}

const manifest = {
  id: './',
  name: 'zeropoint: quantize neural networks',
  short_name: 'zeropoint',
  description: 'Quantize, run and compare ONNX neural networks on this machine.',
  start_url: './',
  scope: './',
  display: 'standalone',
  background_color: '#fbfaf7',
  theme_color: background,
  icons: [
    { src: 'icon.svg', sizes: 'any', type: 'image/svg+xml' },
    ...icons
      .filter(({ name }) => !name.includes('apple'))
      .map(({ name, size }) => ({
        src: name,
        sizes: `${size}x${size}`,
        type: 'image/png',
        ...(name.includes('maskable') ? { purpose: 'maskable' } : {}),
      })),
  ],
};

const sha256 = (content: string | Uint8Array) => createHash('sha256').update(content);

/** The policy as a tag. It has to stand before all that it governs. */
export const policyTag = (allowed = sources): HtmlTagDescriptor => ({
  tag: 'meta',
  attrs: { 'http-equiv': 'Content-Security-Policy', content: policyOf(allowed) },
  injectTo: 'head-prepend',
});

/** For hosts that read a file of headers. Files in assets/ are named for their content. */
const headersFile = () => {
  const lines = Object.entries(headers).map(([name, value]) => `  ${name}: ${value}\n`);
  return `/*\n${lines.join('')}\n/assets/*\n  Cache-Control: public, max-age=31536000, immutable\n`;
};

async function serviceWorker(files: Kept[]): Promise<string> {
  const bundle = await rolldown({
    input: join(here, 'service-worker.ts'),
    platform: 'browser',
    transform: { define: { FILES: JSON.stringify(files), 'process.env.NODE_ENV': '"production"' } },
  });
  const { output } = await bundle.generate({ format: 'iife', minify: true });
  return output[0].code;
}

/** The page as a folder that can be put anywhere. */
export function site(): Plugin {
  return {
    name: 'offline-site',
    apply: 'build',
    transformIndexHtml: () => [
      policyTag(),
      { tag: 'link', attrs: { rel: 'manifest', href: './manifest.webmanifest' }, injectTo: 'head' },
      { tag: 'link', attrs: { rel: 'apple-touch-icon', href: './icon-apple.png' }, injectTo: 'head' },
    ],
    generateBundle: {
      order: 'post',
      async handler(_, bundle) {
        const emit = (fileName: string, source: string | Uint8Array) => {
          this.emitFile({ type: 'asset', fileName, source });
          return { fileName, source };
        };
        const all = [
          ...Object.values(bundle).map((file) => ({
            fileName: file.fileName,
            source: file.type === 'chunk' ? file.code : file.source,
          })),
          ...readdirSync(publicFolder).map((fileName) => ({
            fileName,
            source: readFileSync(join(publicFolder, fileName)),
          })),
          emit('manifest.webmanifest', JSON.stringify(manifest)),
        ];
        for (const icon of icons) all.push(emit(icon.name, await drawIcon(icon)));
        for (const [name, text] of Object.entries(referenceFiles())) all.push(emit(`api/${name}`, text));

        const start = String(all.find(({ fileName }) => fileName === 'index.html')?.source);
        const files = all.map(({ fileName, source }) => ({
          url: `./${fileName}`,
          revision: fileName.startsWith('assets/') ? null : sha256(source).digest('hex').slice(0, 16),
          integrity: `sha256-${sha256(source).digest('base64')}`,
          first: fileName === 'index.html' || start.includes(`"./${fileName}"`),
        }));
        emit('sw.js', await serviceWorker(files));
        emit('_headers', headersFile());
        emit('.nojekyll', ''); // GitHub Pages would leave out files with an underscore
      },
    },
  };
}
