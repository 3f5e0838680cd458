// The npm package's JavaScript: bindings/ts bundled into dist/ with what it stands on (Comlink, fflate, commander, ...),
// so that it works in a plain browser, in a worker (where import maps do not reach) and after an install without a
// network. Types come from tsc. All chunks lie in dist/ itself: modules find worker.js and wasm/ beside them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes the licenses of the packages whose code went into the bundle. */
const folders = new Set();
function licenses() {
  return {
    name: 'licenses',
    generateBundle(_, bundle) {
      for (const chunk of Object.values(bundle)) {
        for (const id of Object.keys(chunk.modules ?? {})) {
          const found = /^(.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)[\\/]/.exec(id);
          if (found) folders.add(found[1]);
        }
      }
    },
    writeBundle({ dir }) {
      const texts = [...folders].sort().map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
        const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file ? readFileSync(join(folder, file), 'utf8').trim() : '';
        return `${name} ${version} (${license})\n\n${text}`;
      });
      const intro = 'dist/ contains code of these packages.';
      writeFileSync(join(dir, 'THIRD-PARTY.txt'), `${[intro, ...texts].join(`\n\n${'-'.repeat(80)}\n\n`)}\n`);
    },
  };
}

/** Browsers must meet no `node:` import; Node's bundle may `require` its built-in modules, as commander does. */
const bundle = (platform, entries) => ({
  input: Object.fromEntries(entries.map((name) => [name, `bindings/ts/${name}.ts`])),
  platform,
  external: (id) => id.startsWith('./wasm/') || id === 'sharp',
  plugins: [licenses()],
  output: {
    dir: 'dist',
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: `${platform}-[name]-[hash].js`,
  },
});

export default [bundle('browser', ['index', 'worker']), bundle('node', ['node', 'thread', 'cli'])];
