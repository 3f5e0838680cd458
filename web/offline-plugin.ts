// What the build adds to the page, so that it works with the network off, on any host, and from any folder of it.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import sharp from 'sharp';
import type { HtmlTagDescriptor, Plugin } from 'vite';
import { referenceFiles } from '../tools/api-reference.mjs';
import { listPackages } from '../tools/bundled.mjs';
import { headers, policyOf, type Sources, sources } from './src/offline/headers.ts';
import type { Kept } from './src/offline/service-worker.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const publicFolder = join(here, 'public');
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

const hashOf = (content: string | Uint8Array) => `sha256-${sha256(content).digest('base64')}`;

/** The policy as a tag. It has to stand before all that it governs. */
const policyTag = (allowed: Sources): HtmlTagDescriptor => ({
  tag: 'meta',
  attrs: { 'http-equiv': 'Content-Security-Policy', content: policyOf(allowed) },
  injectTo: 'head-prepend',
});

/** For hosts that read a file of headers. Files in assets/ are named for their content. */
const headersFile = () => {
  const lines = Object.entries(headers).map(([name, value]) => `  ${name}: ${value}\n`);
  return `/*\n${lines.join('')}\n/assets/*\n  Cache-Control: public, max-age=31536000, immutable\n`;
};

async function serviceWorker(files: Kept[], bundled: 'page' | 'site'): Promise<string> {
  const bundle = await rolldown({
    input: join(here, 'src', 'offline', 'service-worker.ts'),
    platform: 'browser',
    plugins: [listPackages(bundled)],
    transform: { define: { FILES: JSON.stringify(files), 'process.env.NODE_ENV': '"production"' } },
  });
  const { output } = await bundle.generate({ format: 'iife', minify: true });
  return output[0].code;
}

/** The whole engines of the package by their contents: what a page in the package needs not bring again. */
function filesOfPackage(): Map<string, string> {
  const folder = join(here, '..', 'dist', 'wasm');
  const names = readdirSync(folder).filter((name) => /^(?!run-).*\.wasm$/.test(name));
  return new Map(names.map((name) => [hashOf(readFileSync(join(folder, name))), `wasm/${name}`]));
}

/**
 * The page as a folder that can be put anywhere. `packed`: the one in the npm package, which `zeropoint serve` serves
 * (bindings/ts/cli/serve.ts) with the engines that the package has already.
 */
export function site({ packed = false } = {}): Plugin[] {
  const bundled = packed ? 'page' : 'site';
  const folder: Plugin = {
    name: 'offline-site',
    apply: 'build',
    transformIndexHtml: () => [
      policyTag(sources),
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
          integrity: hashOf(source),
          first: fileName === 'index.html' || start.includes(`"./${fileName}"`),
        }));
        emit('sw.js', await serviceWorker(files, bundled));
        if (packed) {
          const there = filesOfPackage();
          const shared: Record<string, string> = {};
          for (const { fileName, source } of all) {
            const name = there.get(hashOf(source));
            if (name === undefined) continue;
            shared[fileName] = name;
            delete bundle[fileName];
          }
          if (Object.keys(shared).length !== there.size)
            throw new Error(
              `of the package's ${there.size} engines the page has ${Object.keys(shared).length}`,
            );
          emit('served.json', JSON.stringify({ headers, shared }));
          return;
        }
        emit('_headers', headersFile());
        emit('.nojekyll', ''); // GitHub Pages would leave out files with an underscore
      },
    },
  };
  return [folder, listPackages(bundled)];
}

/** Leaves builds of the engine out of a page that is a file: what names them gets an address of nothing. */
const without = (name: string, builds: RegExp): Plugin => ({
  name,
  enforce: 'pre',
  transform(code) {
    const address = /new URL\(\s*"\.\/wasm\/([\w-]+)\.wasm"\s*,\s*import\.meta\.url\s*\)/g;
    const changed = code.replace(address, (all, build) => (builds.test(build) ? 'new URL("data:,")' : all));
    return changed === code ? null : { code: changed, map: null };
  },
});
/** What the page gets: threads would need an origin that can be isolated, which no file has. */
const oneThread = without('offline-one-thread', /-threads$/);
/** What its workers get: the page tells the engine's worker where the engine is. */
const noEngine = without('offline-no-engine', /./);

/** A page that is a file may start workers from its own text only. */
const ownWorkers: Plugin = {
  name: 'offline-own-workers',
  enforce: 'pre',
  transform(code) {
    const call = /new Worker\(\s*new URL\(\s*(["'])(.+?)\1\s*,\s*import\.meta\.url\s*\)/g;
    const files: string[] = [];
    const changed = code.replace(call, (_, __, file) => `new OwnWorker${files.push(file)}(`);
    if (files.length === 0) return null;
    const imports = files.map((file, i) => `import OwnWorker${i + 1} from '${file}?worker&inline';\n`);
    return { code: `${imports.join('')}${changed.replaceAll(/(new OwnWorker\d+\()\s*,/g, '$1')}`, map: null };
  },
};

/** Text of a script that may stand in a document. */
function scriptText(code: string): string {
  const text = code.replaceAll(/<(?=\/script|script|!--)/gi, '\\x3C').trim();
  if (/[\0\r]/.test(text)) throw new Error('the page holds characters that a document would change');
  return text;
}

/** Moves what demos load out of a script and into elements: a browser would read it as a part of the script, slowly. */
function withoutData(code: string, blocks: string[]): string {
  let rest = '';
  let from = 0;
  // An engine stays where it is: in the text of its worker.
  for (const { index, 1: quote = '' } of code.matchAll(
    /(["'`])data:(?!application\/wasm)[\w/.+-]+;base64,/g,
  )) {
    const end = code.indexOf(quote, index + 1);
    if (end - index < 50_000) continue;
    const id = `data-${blocks.length}`;
    blocks.push(`<script type="text/plain" id="${id}">${code.slice(index + 1, end)}</script>\n`);
    rest += `${code.slice(from, index)}document.getElementById("${id}").textContent`;
    from = end + 1;
  }
  return rest + code.slice(from);
}

/** The page as one file: scripts, styles, engines and demos are in the document. */
export function single(): Plugin[] {
  return [
    oneThread,
    ownWorkers,
    listPackages('single'),
    {
      name: 'offline-single',
      apply: 'build',
      config: () => ({
        publicDir: false,
        worker: {
          plugins: () => [noEngine, listPackages('single')],
          // Code of modules is strict; a worker that is no module has to say so.
          rolldownOptions: { output: { codeSplitting: false, strict: true } },
        },
        build: {
          assetsInlineLimit: () => true,
          cssCodeSplit: false,
          modulePreload: false,
          // Code of modules is strict; a worker that is no module has to say so.
          rolldownOptions: { output: { codeSplitting: false, strict: true } },
        },
      }),
      generateBundle: {
        order: 'post',
        handler(_, bundle) {
          const contents = new Map(
            Object.values(bundle).map((file) => [
              file.fileName,
              file.type === 'chunk' ? file.code : file.source,
            ]),
          );
          const blocks: string[] = [];
          const icon = readFileSync(join(publicFolder, 'icon.svg')).toString('base64');
          let scripts = '';
          let styles = '';
          const html = String(contents.get('index.html'))
            .replace('./icon.svg', `data:image/svg+xml;base64,${icon}`)
            .replaceAll(/\s*<script [^>]*src="\.\/([^"]+)"[^>]*><\/script>/g, (_, name) => {
              scripts += scriptText(withoutData(String(contents.get(name)), blocks));
              return '';
            })
            .replaceAll(/\s*<link rel="stylesheet" [^>]*href="\.\/([^"]+)"[^>]*>/g, (_, name) => {
              styles += String(contents.get(name)).trim();
              return '';
            });
          styles += 'a[href="./api/"]{display:none}'; // the reference is a document of its own
          // tools/build.mjs puts the licenses below the page.
          styles +=
            '.licenses{padding:0 clamp(14px,2.2vw,40px) 24px;color:var(--muted)}.licenses pre{white-space:pre-wrap}';
          const allowed = {
            ...sources,
            'script-src': `'${hashOf(scripts)}' 'wasm-unsafe-eval'`,
            'style-src': `'${hashOf(styles)}'`,
            'img-src': 'blob: data:',
            'media-src': 'blob:',
            'font-src': "'none'",
            'connect-src': 'data:',
            'worker-src': 'blob:',
            'manifest-src': "'none'",
          };
          const head = `<meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${policyOf(allowed)}" />
    <style>${styles}</style>`;
          for (const name of contents.keys()) delete bundle[name];
          this.emitFile({
            type: 'asset',
            fileName: 'index.html',
            // A replacement as text would have its dollars read.
            source: html
              .replace('<meta charset="utf-8" />', () => head)
              .replace(
                '</body>',
                () => `${blocks.join('')}<script type="module">${scripts}</script>\n  </body>`,
              ),
          });
        },
      },
    },
  ];
}
