// The npm package's JavaScript: bindings/ts bundled into dist/ with what it stands on (Comlink, fflate, commander, ...),
// so that it works in a plain browser, in a worker (where import maps do not reach) and after an install without a
// network. Types come from tsc. All chunks lie in dist/ itself: modules find worker.js and wasm/ beside them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { listPackages } from './tools/bundled.mjs';
import { portableGlue } from './tools/glue.mjs';

const texts = new Map();
function glueOf(file) {
  if (!texts.has(file)) texts.set(file, portableGlue(readFileSync(file, 'utf8'), file));
  return texts.get(file);
}

/** The JavaScript of the engine's builds. Texts that are the same become one module. */
const glue = {
  name: 'glue',
  resolveId(id) {
    const [, name] = /^\.\.?\/wasm\/([\w-]+\.(?:mjs|wasm))$/.exec(id) ?? [];
    return name && join(import.meta.dirname, 'dist', 'wasm', name);
  },
  load(id) {
    const folder = join(import.meta.dirname, 'dist', 'wasm');
    if (!id.startsWith(folder)) return undefined;
    if (id.endsWith('.wasm')) {
      const packed = gzipSync(readFileSync(id), { level: 9 }).toString('base64');
      return { code: `export default "${packed}";`, moduleType: 'js' };
    }
    const text = glueOf(id);
    const same = readdirSync(folder)
      .filter((name) => name.endsWith('.mjs'))
      .map((name) => join(folder, name))
      .find((file) => file < id && glueOf(file) === text);
    return same ? `export { default } from ${JSON.stringify(same)};` : text;
  },
};

/** Bundlers for browsers refuse what only Node has, even where it is never reached. */
const noNode = {
  name: 'no-node',
  generateBundle(_, bundle) {
    for (const { fileName, code, imports, dynamicImports } of Object.values(bundle)) {
      const outside = [...(imports ?? []), ...(dynamicImports ?? [])].filter((name) => !bundle[name]);
      if (/\brequire\(|\bcreateRequire\b/.test(code ?? '')) outside.push('require()');
      if (outside.length) this.error(`${fileName} needs ${outside.join(', ')}, which browsers do not have`);
    }
  },
};

/** The command line's report is made by the page's code. */
const report = {
  tsconfig: false, // web/ has paths of its own
  resolve: {
    alias: {
      'zeropoint-report': join(import.meta.dirname, 'web', 'src', 'node-report.ts'),
      zeropoint: join(import.meta.dirname, 'bindings', 'ts', 'node.ts'),
    },
  },
  transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
};

/** Browsers must meet no `node:` import; Node's bundle may `require` its built-in modules, as commander does. */
const bundle = (platform, entries, output = {}, more = {}) => ({
  input: entries,
  platform,
  external: (id) => id === 'sharp',
  plugins: [glue, listPackages('package'), ...(platform === 'browser' ? [noNode] : [])],
  output: {
    dir: 'dist',
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: `${Object.keys(entries)[0].startsWith('run') ? 'run-' : ''}${platform}-[name]-[hash].js`,
    ...output,
  },
  ...more,
});

/**
 * What is started by itself, as a worker or from another origin, may need no other file. Names stay: Turbopack refuses a
 * function in a block that has the name of a variable outside.
 */
const alone = { minify: { compress: true, mangle: false, codegen: true }, codeSplitting: false };

/** Where `zeropoint/run` has its own files: it shares none with the main entry, so that a program can use both. */
const run = (name) => ({ [`run-${name}`]: `bindings/ts/run/${name}.ts` });
const main = (name) => ({ [name]: `bindings/ts/${name}.ts` });

export default [
  bundle('browser', main('index')),
  bundle('browser', main('worker'), alone),
  bundle('browser', main('inline'), alone),
  bundle('node', { ...main('node'), ...main('thread'), ...main('cli') }, {}, report),
  bundle('browser', { run: 'bindings/ts/run/index.ts' }),
  bundle('browser', run('worker'), alone),
  bundle('browser', run('inline'), alone),
  bundle('node', { ...run('node'), ...run('thread') }),
];
