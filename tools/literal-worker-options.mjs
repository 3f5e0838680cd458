// node literal-worker-options.mjs zeropoint.mjs: make a threaded Emscripten module acceptable to bundlers.
//
// Emscripten starts its threads with `new Worker(new URL("…", import.meta.url), workerOptions)`. Vite bundles
// the worker only if the options are a literal, so the literal is written there. Run after linking.
import { readFileSync, writeFileSync } from 'node:fs';

const [file] = process.argv.slice(2);
const source = readFileSync(file, 'utf8');
const literal = '{type:"module",workerData:"em-pthread",name:"em-pthread"}';
const call = /(new Worker\(\s*new URL\([^()]*\),\s*)workerOptions(\s*\))/g;

const calls = source.match(call)?.length ?? 0;
if (calls === 0) {
  throw new Error(
    `${file}: no \`new Worker(new URL(…), workerOptions)\` found: has Emscripten changed its output?`,
  );
}
writeFileSync(file, source.replace(call, `$1${literal}$2`));
