import { fileURLToPath } from 'node:url';
import preact from '@preact/preset-vite';
import { defineConfig } from 'vite';
import { listPackages } from '../tools/bundled.mjs';
import { single, site } from './offline-plugin.ts';
import { headers, policyOf, sources } from './src/offline/headers.ts';

/** While the page is being developed, Vite puts styles and a script into it. */
const developing = policyOf({
  ...sources,
  'script-src': `${sources['script-src']} 'unsafe-inline'`,
  'style-src': `${sources['style-src']} 'unsafe-inline'`,
});

export default defineConfig(({ mode }) => ({
  base: './',
  plugins: [preact(), mode === 'single' ? single() : site({ packed: mode === 'packed' })],
  resolve: {
    alias: [
      { find: 'zeropoint', replacement: fileURLToPath(new URL('../dist/index.js', import.meta.url)) },
      ...(mode === 'packed'
        ? [
            {
              find: /^\.\.?\/demos\/index\.ts$/,
              replacement: fileURLToPath(new URL('src/demos/packed.ts', import.meta.url)),
            },
          ]
        : []),
    ],
  },
  // Chromium starts no module worker from a page that is a file.
  worker: {
    format: mode === 'single' ? 'iife' : 'es',
    plugins: () => [listPackages(mode === 'packed' ? 'page' : 'site')],
  },
  assetsInclude: ['**/*.onnx'],
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 1500 },
  server: { headers: { ...headers, 'Content-Security-Policy': developing } },
  // A port of its own: a service worker stays with its port, and would answer for another project there.
  preview: { headers, port: 4750 },
}));
