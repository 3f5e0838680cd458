// npm run bench:bytes: where the bytes of a WebAssembly module are, by folder and by file, as the linker places them.
// Binaryen makes the code smaller afterwards, and mixes it: shares hold, bytes are more than in the package.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { table } from './lib/table.mjs';

const usage = `npm run bench:bytes -- [options]        after npm run build
  --module NAME   a module of build/wasm (run-simd)
  --files N       the N largest files (40)
  --of REGEXP     the sum of the files whose name it matches
  --help`;

const build = fileURLToPath(new URL('../build/wasm', import.meta.url));

/** What the linker says: lines of a map with the object and the symbol of each piece of code and data. */
function mapOf(module) {
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-bytes-'));
  try {
    const commands = execFileSync('ninja', ['-C', build, '-t', 'commands', '-s', `${module}.mjs`], {
      encoding: 'utf8',
    });
    const link = commands
      .trim()
      .split('\n')
      .at(-1)
      .replace(/^: && | && :$/g, '')
      .replace(/ -o \S+/, ` -o ${join(folder, 'module.mjs')} -Wl,-Map=${join(folder, 'map')}`)
      .replaceAll(' -Oz', ' -O1');
    execFileSync('sh', ['-c', link], { cwd: build, stdio: ['ignore', 'ignore', 'inherit'] });
    return readFileSync(join(folder, 'map'), 'utf8');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A source's name: `ops/einsum`. Objects that tools/run-objects.mjs changed have a number before their name. */
function sourceOf(object) {
  const [, library] = /\/lib([\w+-]+)\.a\b/.exec(object) ?? [];
  if (library) return `library/${library}`;
  const changed = /\.run\/\d+-(\w+)/.exec(object);
  if (changed) return `ops/${changed[1]}`;
  return /(?:src\/|(?=bindings\/[\w]+\.cpp))([\w/-]+)\.cpp/.exec(object)?.[1] ?? 'linker';
}

const { values } = parseArgs({
  options: {
    module: { type: 'string', default: 'run-simd' },
    files: { type: 'string', default: '40' },
    of: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
} else {
  const bytes = new Map();
  for (const line of mapOf(values.module).split('\n')) {
    const [, size, object] = /^\s*\S+\s+[0-9a-f]+\s+([0-9a-f]+) {9}(\S.*):\(.*\)$/.exec(line) ?? [];
    if (!object) continue;
    const source = sourceOf(object);
    bytes.set(source, (bytes.get(source) ?? 0) + Number.parseInt(size, 16));
  }
  const all = [...bytes.values()].reduce((a, b) => a + b, 0);
  const row = ([name, size]) => [name, (size / 1000).toFixed(1), `${((100 * size) / all).toFixed(1)} %`];
  const sorted = (map) => [...map].sort(([, a], [, b]) => b - a);
  if (values.of) {
    const wanted = new RegExp(values.of);
    const found = [...bytes].filter(([name]) => wanted.test(name));
    const sum = found.reduce((total, [, size]) => total + size, 0);
    console.log(
      table(['', 'KB', ''], [...sorted(found).map(row), row(['together', sum]), row(['all', all])]),
    );
  } else {
    const folders = new Map();
    for (const [name, size] of bytes) {
      const folder = name.split('/')[0];
      folders.set(folder, (folders.get(folder) ?? 0) + size);
    }
    console.log(table(['', 'KB', ''], [...sorted(folders).map(row), row(['all', all])]));
    console.log(table(['', 'KB', ''], sorted(bytes).slice(0, Number(values.files)).map(row)));
  }
}
