// Where the bytes of a build are: it is linked once more with the names of its functions, and each function is counted
// for the folder of the object file that defines it.
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { WasmReader } from '../../tools/wasm-reader.mjs';

const run = promisify(execFile);
const large = { maxBuffer: 2 ** 28 };

const sections = { import: 2, code: 10, data: 11, custom: 0 };

function functionNames(bytes, end) {
  const names = new Map();
  while (bytes.at < end) {
    const kind = bytes.byte();
    const next = bytes.number() + bytes.at;
    if (kind === 1) {
      for (let left = bytes.number(); left > 0; --left) names.set(bytes.number(), bytes.text());
    }
    bytes.at = next;
  }
  return names;
}

/** The functions of a module with names, { name, bytes }, and the bytes of its data. */
function readModule(file) {
  const bytes = new WasmReader(readFileSync(file), 8);
  let imported = 0;
  let data = 0;
  const lengths = [];
  let names = new Map();
  while (bytes.at < bytes.bytes.length) {
    const section = bytes.byte();
    const end = bytes.number() + bytes.at;
    if (section === sections.import) imported = bytes.importedFunctions().length;
    if (section === sections.data) data = end - bytes.at;
    if (section === sections.code) {
      for (let left = bytes.number(); left > 0; --left) {
        const start = bytes.at;
        const length = bytes.number();
        bytes.at += length;
        lengths.push(bytes.at - start);
      }
    }
    if (section === sections.custom && bytes.text() === 'name') names = functionNames(bytes, end);
    bytes.at = end;
  }
  const functions = lengths.map((length, i) => ({ name: names.get(i + imported) ?? '', bytes: length }));
  return { functions, data };
}

/** What a name is in the objects: the linker writes some characters as hexadecimal and numbers what has one name. */
const plain = (name) =>
  name.replace(/\\([0-9a-f]{2})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 16)));

/** Which folder of the engine defines a function; '' where several do. */
async function definitions(folder, environment) {
  const owners = new Map();
  const objects = readdirSync(join(folder, 'CMakeFiles'), { recursive: true }).filter((name) =>
    name.endsWith('.o'),
  );
  for (const object of objects) {
    const owner = object.match(/(?:src\/(\w+)|bindings)\//)?.[1] ?? 'bindings';
    const { stdout } = await run('emnm', ['-C', '--defined-only', join(folder, 'CMakeFiles', object)], {
      ...large,
      env: environment,
    });
    for (const [, name] of stdout.matchAll(/^[0-9a-f]+ [tTwW] (.*)$/gm)) {
      owners.set(name, (owners.get(name) ?? owner) === owner ? owner : '');
    }
  }
  return owners;
}

/** [{ part, bytes }], largest first, of a variant in build/wasm, which must have been built. */
export async function sizeByPart(root, variant, environment) {
  const folder = join(root, 'build', 'wasm');
  const { stdout } = await run('ninja', ['-C', folder, '-t', 'commands', variant], {
    ...large,
    env: environment,
  });
  const linked = mkdtempSync(join(tmpdir(), 'zeropoint-size-'));
  try {
    const output = `-o ${variant}.mjs `;
    const line = stdout.split('\n').find((text) => text.includes(output));
    const link = line.match(/\S*em\+\+ [^&\n]*/)[0];
    const command = link.replace(output, `-o ${linked}/named.mjs --profiling-funcs `);
    await run('sh', ['-c', command], { ...large, cwd: folder, env: environment });
    const { functions, data } = readModule(join(linked, 'named.wasm'));
    const owners = await definitions(folder, environment);
    const parts = new Map([['texts and tables', data]]);
    for (const { name, bytes } of functions) {
      const known = plain(name);
      const owner = owners.get(known) ?? owners.get(known.replace(/_\d+$/, ''));
      const part =
        owner === undefined ? 'C and C++ libraries' : owner === '' ? 'templates that several share' : owner;
      parts.set(part, (parts.get(part) ?? 0) + bytes);
    }
    return [...parts].map(([part, bytes]) => ({ part, bytes })).sort((a, b) => b.bytes - a.bytes);
  } finally {
    rmSync(linked, { recursive: true, force: true });
  }
}
