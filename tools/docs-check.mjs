// node tools/docs-check.mjs [--write]: compares documents with the repository. Each file, folder, npm script, preset,
// option and name of the code that a document names exists; each link and its heading resolve; a listing marked
// `<!-- file: PATH -->` is that file's text, and the README's numbers are those of docs/ (--write copies both in);
// includes follow ARCHITECTURE.md's table of rooms.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { outputOf, root, runMain } from './process.mjs';
import { readmeBlocks } from './readme-numbers.mjs';

const lines = (text) => (text ? text.split('\n').filter(Boolean) : []);
const tracked = lines(outputOf('git', ['ls-files', '--cached', '--others', '--exclude-standard'])).filter(
  (file) => existsSync(join(root, file)),
);
const textOf = (file) => readFileSync(join(root, file), 'utf8');

const documents = tracked.filter((file) => extname(file) === '.md');
const sources = tracked.filter(
  (file) =>
    /^(src|bindings|web|tests|tools|bench|cmake|examples)\/.*\.(cpp|h|m?ts|tsx|m?js|py|cmake|txt|json|html|sh)$/.test(
      file,
    ) || ['package.json', 'CMakePresets.json', 'CMakeLists.txt'].includes(file),
);
/** This file names what may be missing, which is no proof that it exists. */
const code = sources.filter((file) => file !== 'tools/docs-check.mjs');

const folders = new Set(
  tracked.flatMap((file) => file.split('/').map((_, i, parts) => parts.slice(0, i).join('/'))),
);
const files = new Set(tracked);
const baseNames = new Set(tracked.map((file) => file.split('/').at(-1)));

/** Folders that builds make: what is in them is no file of the repository. */
const made = /^(\.\/)?(build|dist|dist-page|node_modules|corpus|samples|images)(\/|$)/;
const extensions = 'cpp|h|ts|mts|tsx|mjs|cjs|js|py|md|tsv|txt|json|yml|cmake|sh|html|css|c|cc';
const filePattern = new RegExp(`^\\.{0,2}/?[\\w@.-]+(/[\\w@.-]+)*\\.(${extensions})$`);

/** Where a path may start: the root, where includes start, and the folders that the file lies in. */
function exists(path, from) {
  const around = from.split('/').map((_, i, parts) => parts.slice(0, i).join('/'));
  const candidates = ['src', 'tests/unit', 'bindings', ...around].map((base) =>
    normalize(join(base, path)).replace(/\/$/, ''),
  );
  return candidates.some((file) => files.has(file) || folders.has(file));
}

/** Names of files that readers have, or that a program makes: no files of the repository. */
const elsewhere = new Set([
  'classes.csv',
  'report.json',
  'THIRD-PARTY.txt',
  'sbom.cdx.json',
  'CMakeCache.txt',
  'compile_commands.json', // biome-ignore format: a list
]);

function pathProblem(token, from) {
  if (made.test(token) || elsewhere.has(token.split('/').at(-1))) return undefined;
  if (filePattern.test(token)) {
    if (exists(token, from)) return undefined;
    if (!token.includes('/') && baseNames.has(token)) return undefined;
    return `there is no file ${token}`;
  }
  // A folder: src/ops/, or tests/judge.
  if (
    /^[\w.-]+(\/[\w.-]+)*\/$/.test(token) ||
    /^(src|tests|tools|bench|bindings|web|docs|examples)\/[\w/-]+$/.test(token)
  ) {
    return exists(token, from) || exists(`${token}.h`, from) ? undefined : `there is no folder ${token}`;
  }
  return undefined;
}

// ---- names

/** Every word of the code without its comments, and the parts of words with dashes. */
const words = new Set();
for (const file of code) {
  const withoutComments = textOf(file).replaceAll(/^\s*(\/\/|\/?\*|# ).*$/gm, '');
  for (const [word] of withoutComments.matchAll(/[\w$]+(?:-\w+)*/g)) {
    words.add(word);
    for (const part of word.split('-')) words.add(part);
  }
}
const scripts = JSON.parse(textOf('package.json')).scripts;
const presets = new Set(
  Object.entries(JSON.parse(textOf('CMakePresets.json'))).flatMap(([key, list]) =>
    key.endsWith('Presets') ? list.map(({ name }) => name) : [],
  ),
);
const npmCommands = new Set(['install', 'pack', 'run', 'ci', 'init', 'exec']);

const camelCase = (flag) =>
  flag.replace(/^--(no-)?/, '').replaceAll(/-(\w)/g, (_, letter) => letter.toUpperCase());

/** Programs that are not ours, whose options are theirs. */
const foreign =
  /^(cmake|build\/\S*zeropoint_tests|ctest|npm|git|ninja|clang|emcc|apt|python|pip|cargo|sudo|npx (?!zeropoint))/;
const ownFlags = new Set(
  code
    .filter((file) => /^(bindings|tools|bench|tests)\//.test(file))
    .flatMap((file) => textOf(file).match(/--[a-z][\w-]*/g) ?? []),
);
/** A flag is spelled out, or made from the name of an option. */
const flagExists = (flag) => ownFlags.has(flag) || words.has(camelCase(flag)) || words.has(flag.slice(2));

function commandProblems(line) {
  const found = [];
  for (const [, run, name] of line.matchAll(/\bnpm (run )?([\w:-]+)/g)) {
    if (!(name in scripts) && (run || !npmCommands.has(name))) found.push(`there is no npm script ${name}`);
  }
  for (const [, name] of line.matchAll(/--preset(?: |=)([\w-]+)/g)) {
    // `--preset imagenet` of the command line is an option of ours, and not CMake's.
    if (/\b(cmake|ctest)\b/.test(line) && !presets.has(name)) found.push(`there is no preset ${name}`);
  }
  for (const [, file] of line.matchAll(/\b(?:node|bash) ((?:tools|bench|tests)\/[\w/.-]+)/g)) {
    if (!files.has(file)) found.push(`there is no file ${file}`);
  }
  for (const command of line.split(/&&|;|\|/)) {
    if (foreign.test(command.trim()) && !/ -- /.test(command)) continue;
    for (const [flag] of command.matchAll(/(?<=^|\s|\()--[a-z][\w-]*/g)) {
      if (!flagExists(flag)) found.push(`there is no option ${flag}`);
    }
  }
  return found;
}

/** Names that documents use and no code has: other people's. */
const others = new Set([
  'emcc',
  'emsdk',
  'sudo',
  'quantize_static',
  'quantize_dynamic',
  'metadata_props', // of ONNX's ModelProto
  'i16x8', // of WebAssembly's instructions
  'relaxed_dot_i8x16_i7x16',
  'relaxed_dot_i8x16_i7x16_add',
]);

/** An identifier, perhaps with the class before it or a call behind it: `Tensor::kReadSlack`, `report.layers`, `choices()`. */
function nameProblems(token) {
  if (!/^[A-Za-z_][\w]*(?:(?:::|\.)[A-Za-z_]\w*)*(?:\(\))?$/.test(token)) return [];
  return token
    .replace('()', '')
    .split(/::|\./)
    .filter((name) => !words.has(name) && !others.has(name))
    .map((name) => `nothing is called ${name}`);
}

// ---- one document

const slug = (heading) =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');

const headingsOf = (file) =>
  new Set(
    [
      ...textOf(file)
        .replaceAll(/^```.*?^```$/gms, '')
        .matchAll(/^#+ (.*)$/gm),
    ].map(([, text]) => slug(text.replaceAll(/[`*]/g, ''))),
  );

function linkProblem(target, from) {
  if (/^[a-z]+:/.test(target)) return undefined;
  const [path, fragment] = target.split('#');
  const file = path === '' ? from : normalize(join(dirname(from), path)).replace(/\/$/, '');
  if (!files.has(file) && !folders.has(file)) return `the link to ${target} leads nowhere`;
  if (fragment && extname(file) === '.md' && !headingsOf(file).has(fragment))
    return `${file} has no heading #${fragment}`;
  return undefined;
}

/** Listings that show a file: a comment that names it, and the code block that follows. */
const listing = /^<!-- file: (\S+) -->\n\n?```(\w*)\n(.*?)^```$/gms;

function checkDocument(file, write) {
  const problems = [];
  let text = textOf(file);
  const shown = text.replaceAll(listing, (whole, path, language, body) => {
    if (!files.has(path)) {
      problems.push(`${file}: there is no file ${path}`);
      return whole;
    }
    if (body === textOf(path)) return whole;
    if (!write)
      problems.push(
        `${file}: the listing differs from ${path} (node tools/docs-check.mjs --write copies it)`,
      );
    return `<!-- file: ${path} -->\n\n\`\`\`${language}\n${textOf(path)}\`\`\``;
  });
  if (write && shown !== text) writeFileSync(join(root, file), shown);
  text = shown.replaceAll(listing, '');

  let fenced = '';
  for (const [index, line] of text.split('\n').entries()) {
    const found = [];
    const fence = /^ {0,3}```(\w*)/.exec(line);
    if (fence) {
      fenced = fenced ? '' : fence[1] || 'text';
      continue;
    }
    if (fenced === 'sh' || /^ {4}zeropoint /.test(line))
      found.push(...commandProblems(line.replace(/\s+#.*$/, '')));
    if (fenced) continue;
    for (const [, target] of line.matchAll(/\]\(([^)\s]+)\)/g)) {
      const problem = linkProblem(target, file);
      if (problem) found.push(problem);
    }
    for (const [, token] of line.matchAll(/`([^`]+)`/g)) {
      const path = pathProblem(token, file);
      if (path) found.push(path);
      else if (!filePattern.test(token)) found.push(...nameProblems(token));
      found.push(...commandProblems(token));
    }
    for (const problem of found) problems.push(`${file}:${index + 1}: ${problem}`);
  }
  return problems;
}

// ---- comments

/** Files of other projects that comments cite, and a table that is there once its bench has written it. */
const theirs = new Set([
  'docs/OperatorKernels.md',
  'docs/operators.md',
  'js/web/docs/webgpu-operators.md',
  'src/frontends/onnx/docs/supported_ops.md',
  'docs/ELSEWHERE.md',
]);

/** Comments name files too: `quant/half.h`, src/kernels/isa.h. Of words with one extension and a folder only. */
function checkComments(file) {
  const problems = [];
  for (const [index, line] of textOf(file).split('\n').entries()) {
    const comment = /(?:^|\s)(?:\/\/|\*|#) (.*)$/.exec(line)?.[1];
    if (!comment || /^\s*#\s*include/.test(line)) continue;
    for (const [, token] of comment.matchAll(/`([\w:.]+(?:\(\))?)`/g)) {
      if (!filePattern.test(token))
        for (const problem of nameProblems(token)) problems.push(`${file}:${index + 1}: ${problem}`);
    }
    for (const [path] of comment.matchAll(
      /(?<![\w./<@-])[a-z][\w-]*(?:\/[\w-]+)+\.(?:cpp|h|ts|tsx|mjs|py|md)\b/g,
    )) {
      if (!made.test(path) && !exists(path, file) && !theirs.has(path))
        problems.push(`${file}:${index + 1}: there is no file ${path}`);
    }
  }
  return problems;
}

// ---- includes

/** The rooms of ARCHITECTURE.md, in their order: { folder, may }. */
function rooms() {
  const rows = [...textOf('ARCHITECTURE.md').matchAll(/^\| `(src\/\w+)` \|.*\| ([^|]*) \|$/gm)];
  const names = rows.map(([, folder]) => folder.slice('src/'.length));
  return rows.map(([, folder, may], i) => ({
    name: folder.slice('src/'.length),
    may: may === 'all of the above' ? names.slice(0, i) : may === '–' ? [] : may.split(', '),
  }));
}

function checkIncludes() {
  const problems = [];
  const all = rooms();
  const names = all.map(({ name }) => name);
  for (const folder of new Set(
    tracked.filter((file) => /^src\/\w+\//.test(file)).map((file) => file.split('/')[1]),
  )) {
    if (!names.includes(folder)) problems.push(`ARCHITECTURE.md: its table of rooms lacks src/${folder}`);
  }
  for (const [i, { name, may }] of all.entries()) {
    for (const other of may) {
      if (!names.slice(0, i).includes(other))
        problems.push(`ARCHITECTURE.md: src/${name} may include ${other}, which is no room above it`);
    }
    for (const file of tracked.filter((path) => path.startsWith(`src/${name}/`))) {
      for (const [, room] of textOf(file).matchAll(/^#include "(\w+)\//gm)) {
        if (room !== name && names.includes(room) && !may.includes(room))
          problems.push(`${file}: includes ${room}/, which ARCHITECTURE.md does not let src/${name} do`);
      }
    }
  }
  // The page has the package alone, and the package knows nothing of the page.
  for (const file of tracked.filter((path) => /^(web\/src|bindings\/ts)\//.test(path))) {
    const home = file.startsWith('web/') ? 'web/' : 'bindings/ts/';
    for (const [, path] of textOf(file).matchAll(/\bfrom '(\.[^']+)'/g)) {
      const to = normalize(join(dirname(file), path));
      if (!to.startsWith(home) && !made.test(to))
        problems.push(`${file}: imports ${to}, from outside ${home}`);
    }
  }
  return problems;
}

// ---- numbers of the README

/** `<!-- NAME -->` to `<!-- end of NAME -->` is what readme-numbers.mjs makes of the documents that benches write. */
function checkNumbers(write) {
  const text = textOf('README.md');
  const problems = [];
  let fresh = text;
  for (const [name, block] of Object.entries(readmeBlocks())) {
    const [start, end] = [`<!-- ${name} -->\n\n`, `\n<!-- end of ${name} -->`];
    const [from, to] = [fresh.indexOf(start), fresh.indexOf(end)];
    if (from < 0 || to < from) {
      problems.push(`README.md: the block <!-- ${name} --> is missing`);
      continue;
    }
    if (fresh.slice(from + start.length, to) === block) continue;
    if (!write) {
      problems.push(
        `README.md: <!-- ${name} --> is not what docs/ says (node tools/docs-check.mjs --write copies it)`,
      );
    }
    fresh = fresh.slice(0, from + start.length) + block + fresh.slice(to);
  }
  if (write && fresh !== text) writeFileSync(join(root, 'README.md'), fresh);
  return problems;
}

/** Everything that is wrong, a line each. */
export function docsProblems({ write = false } = {}) {
  return [
    ...checkNumbers(write),
    ...documents.flatMap((file) => checkDocument(file, write)),
    ...sources.flatMap(checkComments),
    ...checkIncludes(),
  ];
}

/** For lint: prints what is wrong. True: nothing is. */
export function docsCheck(options) {
  const problems = docsProblems(options);
  for (const problem of problems) console.log(problem);
  return problems.length === 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(() => (docsCheck({ write: process.argv.includes('--write') }) ? 0 : 1));
}
