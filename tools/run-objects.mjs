// node tools/run-objects.mjs LIST OBJECT…: makes objects of the engine ready to be linked into a module that only runs
// models, and writes their names into LIST, a response file for the linker.
//
// An operator's definition (src/ops/op.h, OpDef) holds the addresses of all its rules, and a linker keeps every function
// whose address is taken. This program sets to null the addresses of rules that only training, the quantizer and the writer
// call: the linker then leaves them out, with all that only they need. It knows them by their parameter, so that a new rule
// needs no mention. Objects without such rules stay as they are, the others are copied beside LIST.
//
// The format: https://github.com/WebAssembly/tool-conventions/blob/main/Linking.md
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WasmReader } from './wasm-reader.mjs';

/** What the rules take, as compilers spell it in names: zp::Gradient&, zp::KnownRange's const RangeContext&, ... */
const onlyTaken = /RK?(?:NS_|N2zp)(?:8Gradient|4Fold|6Pieces|7Respell|12RangeContext)E$/;

const kinds = { function: 0, data: 1, global: 2, section: 3 };
const undefinedSymbol = 0x10;
const namedSymbol = 0x40;
const tableIndex = 2; // R_WASM_TABLE_INDEX_I32
/** Relocations that have an addend: addresses in memory, offsets in functions and sections. */
const withAddend = new Set([3, 4, 5, 8, 9, 11, 14, 15, 16, 17, 21, 22, 23, 25]);

const encoded = (value) => {
  const bytes = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 128);
  }
};

/** [{ kind, start, from, to, name }]: where each section starts, and from where to where its content is. */
function sectionsOf(bytes) {
  const found = [];
  for (const reader = new WasmReader(bytes, 8); reader.at < bytes.length; ) {
    const start = reader.at;
    const kind = reader.byte();
    const length = reader.number();
    const from = reader.at;
    const name = kind === 0 ? reader.text() : '';
    found.push({ kind, start, from, content: reader.at, to: from + length, name });
    reader.at = from + length;
  }
  return found;
}

/** For each symbol the name, where it is a function's. */
function functionSymbols(bytes, linking, imported) {
  const reader = new WasmReader(bytes, linking.content);
  const version = reader.number();
  if (version !== 2) throw new Error(`symbols of version ${version} are not known`);
  while (reader.at < linking.to) {
    const part = reader.byte();
    const next = reader.number() + reader.at;
    if (part !== 8) {
      reader.at = next;
      continue;
    }
    return Array.from({ length: reader.number() }, () => {
      const kind = reader.byte();
      const flags = reader.number();
      if (kind === kinds.section) {
        reader.number();
        return undefined;
      }
      if (kind === kinds.data) {
        reader.text();
        if (!(flags & undefinedSymbol)) for (let i = 0; i < 3; ++i) reader.number();
        return undefined;
      }
      const index = reader.number();
      const isNamed = !(flags & undefinedSymbol) || flags & namedSymbol;
      const name = isNamed ? reader.text() : imported[index];
      return kind === kinds.function ? name : undefined;
    });
  }
  return [];
}

/** An object without the addresses of such rules, and how many those were. */
export function withoutRules(bytes) {
  const sections = sectionsOf(bytes);
  const linking = sections.find(({ name }) => name === 'linking');
  const relocations = sections.find(({ name }) => name === 'reloc.DATA');
  if (!linking || !relocations) return { bytes, rules: 0 };
  const imports = sections.find(({ kind }) => kind === 2);
  const symbols = functionSymbols(
    bytes,
    linking,
    imports ? new WasmReader(bytes, imports.from).importedFunctions() : [],
  );

  const reader = new WasmReader(bytes, relocations.content);
  const data = sections[reader.number()];
  const count = reader.number();
  const changed = Buffer.from(bytes);
  const kept = [];
  for (let i = 0; i < count; ++i) {
    const start = reader.at;
    const type = reader.byte();
    const offset = reader.number();
    const symbol = reader.number();
    if (withAddend.has(type)) reader.number();
    if (type === tableIndex && onlyTaken.test(symbols[symbol] ?? ''))
      changed.writeUInt32LE(0, data.from + offset);
    else kept.push(bytes.subarray(start, reader.at));
  }
  const rules = count - kept.length;
  if (rules === 0) return { bytes, rules };
  const body = Buffer.concat([
    bytes.subarray(relocations.from, relocations.content), // its name
    encoded(sections.indexOf(data)),
    encoded(kept.length),
    ...kept,
  ]);
  return {
    rules,
    bytes: Buffer.concat([
      changed.subarray(0, relocations.start),
      encoded(0),
      encoded(body.length),
      body,
      changed.subarray(relocations.to),
    ]),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [list, ...objects] = process.argv.slice(2);
  const folder = list.replace(/\.rsp$/, '');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  let rules = 0;
  const linked = objects.map((object, i) => {
    const without = withoutRules(readFileSync(object));
    if (without.rules === 0) return object;
    rules += without.rules;
    const file = join(folder, `${i}-${basename(object)}`); // two may have one name
    writeFileSync(file, without.bytes);
    return file;
  });
  // The parts that depend on a build's instructions or threads need not have any.
  if (rules === 0 && /\.all\.run\.rsp$/.test(list))
    throw new Error(
      'no rule was found that only training or the quantizer calls: are they spelled otherwise now?',
    );
  writeFileSync(list, `${linked.join('\n')}\n`);
}
