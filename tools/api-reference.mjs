// The API reference, dist-page/api/, from the doc comments of the package's types (dist/*.d.ts). One page without a script:
// the browser's own search finds everything. The build of the page (web/vite.config.ts) writes it.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root } from './process.mjs';

const types = join(root, 'dist');

// ---- declarations

/** Text without the stars of a doc comment. */
const plainComment = (comment) =>
  comment
    .replace(/^\s*\/\*\*\s?/, '')
    .replace(/\s*\*\/\s*$/, '')
    .replaceAll(/^\s*\* ?/gm, '')
    .trim();

/** From `start`, the text up to the end of a statement or member: a `;` or a closing brace outside of all brackets. */
function endOfStatement(text, start) {
  let depth = 0;
  for (let i = start; i < text.length; ++i) {
    const c = text[i];
    if (text.startsWith('/*', i)) i = text.indexOf('*/', i) + 1;
    else if (c === "'" || c === '"') i = text.indexOf(c, i + 1);
    else if ('{([<'.includes(c)) ++depth;
    else if (c === '>' && text[i - 1] === '=') continue;
    else if ('})]>'.includes(c)) {
      if (--depth === 0 && c === '}' && /^\s*\n/.test(text.slice(i + 1))) return i + 1;
    } else if (c === ';' && depth === 0) return i + 1;
  }
  return text.length;
}

/** Chunks `[doc comment] statement` of a piece of a declaration file. */
function statementsOf(text) {
  const found = [];
  const next = /\/\*\*[\s\S]*?\*\/|[^\s]/g;
  let comment = '';
  for (let match = next.exec(text); match; match = next.exec(text)) {
    if (match[0].startsWith('/**')) {
      comment = plainComment(match[0]);
      continue;
    }
    const end = endOfStatement(text, match.index);
    found.push({ comment, code: text.slice(match.index, end) });
    comment = '';
    next.lastIndex = end;
  }
  return found;
}

const head = /^(?:export )?(?:declare )?(?:abstract )?(interface|class|type|function|const) ([\w$]+)/;

/** What is between the braces of a class. */
const bodyOf = (code) => code.slice(code.indexOf('{') + 1, code.lastIndexOf('}'));

/** The code of a class with what it has from a class of another file, whose name says nothing to users. */
function withInherited(code, file, text) {
  const [clause, name] = / extends (\w+)/.exec(code.slice(0, code.indexOf('{'))) ?? [];
  const [, from] =
    new RegExp(`^import \\{[^}]*\\b${name}\\b[^}]*\\} from '(.+)\\.ts';`, 'm').exec(text) ?? [];
  if (!from) return code;
  const base = declarationsOf(join(dirname(file), `${from}.d.ts`)).get(name);
  return code.replace(clause, '').replace('{', () => `{${bodyOf(base.code)}`);
}

/** Declarations of a file, by name. Overloads of a function are one. */
function declarationsOf(file) {
  const declarations = new Map();
  const text = readFileSync(join(types, file), 'utf8');
  for (const { comment, code: own } of statementsOf(text)) {
    const [, kind, name] = head.exec(own) ?? [];
    const code = kind === 'class' ? withInherited(own, file, text) : own;
    if (!name || !/^export |^declare /.test(code)) continue;
    const before = declarations.get(name);
    if (before) before.overloads.push({ comment, code });
    else declarations.set(name, { kind, name, comment, code, overloads: [] });
  }
  return declarations;
}

/** What index.d.ts exports: declarations, in the order of their names. */
export function exportedDeclarations() {
  const found = new Map();
  const visit = (file) => {
    for (const { code } of statementsOf(readFileSync(join(types, file), 'utf8'))) {
      const [, names, from] = /^export (?:type )?(\*|\{[\s\S]*\}) from '(.+)\.ts';/.exec(code) ?? [];
      if (!from) continue;
      const target = join(dirname(file), `${from}.d.ts`);
      if (names === '*') {
        visit(target);
        continue;
      }
      const declarations = declarationsOf(target);
      for (const name of names.replaceAll(/[{}]|\btype\b/g, '').split(',')) {
        if (name.trim() === '') continue;
        const declaration = declarations.get(name.trim());
        if (!declaration) throw new Error(`${target} does not declare ${name.trim()}`);
        found.set(declaration.name, declaration);
      }
    }
  };
  visit('index.d.ts');
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Members of a class or interface that users see: { comment, code }. */
export function membersOf({ code }) {
  return statementsOf(bodyOf(code))
    .filter((member) => !/^(#private|private |protected )/.test(member.code))
    .map((member) => ({ ...member, code: member.code.replace(/;$/, '').replaceAll(/^ {4}/gm, '') }));
}

// ---- HTML

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

const inline = (text) =>
  escaped(text)
    .replaceAll(/`([^`]+)`/g, '<code>$1</code>')
    .replaceAll(/(https?:\/\/[^\s)]+)/g, '<a href="$1">$1</a>');

/** Paragraphs, lists and code of a doc comment. */
function proseOf(comment) {
  const parts = comment.split(/^```\w*\n([\s\S]*?)^```$/gm);
  return parts
    .map((part, i) => {
      if (i % 2) return `<pre><code>${escaped(part)}</code></pre>`;
      return part
        .split(/\n\s*\n/)
        .filter((paragraph) => paragraph.trim())
        .map((paragraph) => {
          const [first, ...items] = paragraph.split(/^- /m);
          const list = items.map((item) => `<li>${inline(item.trim())}</li>`).join('');
          return `${first.trim() ? `<p>${inline(first.trim())}</p>` : ''}${list ? `<ul>${list}</ul>` : ''}`;
        })
        .join('');
    })
    .join('');
}

const style = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; grid-template-columns: 15rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; box-sizing: border-box; overflow: auto; padding: 1rem; border-right: 1px solid #8884; }
nav h2 { font-size: 0.9rem; margin: 1rem 0 0.2rem; }
nav ul { list-style: none; margin: 0; padding: 0; font-size: 0.9rem; }
main { padding: 1rem 2rem 4rem; max-width: 55rem; }
section { border-top: 1px solid #8884; margin-top: 1.5rem; }
h3 { font-size: 1.2rem; margin: 0.8rem 0 0; }
pre { background: #8881; padding: 0.5rem 0.8rem; overflow: auto; margin: 0.5rem 0; border-radius: 4px; }
code { font: 0.88em ui-monospace, monospace; }
dd { margin: 0 0 0.8rem 1.2rem; }
dt pre { margin-bottom: 0; }
a { color: light-dark(#0550ae, #79b8ff); }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; border: 0; } }
`;

function page(declarations) {
  const names = new Set(declarations.map(({ name }) => name));
  const linked = (code, own) =>
    escaped(code).replaceAll(/\b[A-Z]\w+\b/g, (name) =>
      names.has(name) && name !== own ? `<a href="#${name}">${name}</a>` : name,
    );
  const codeOf = (code, own) => `<pre><code>${linked(code, own)}</code></pre>`;
  const clean = (code) => code.replace(/^export (declare )?/, '').replace(/;$/, '');
  const section = (declaration) => {
    const { kind, name, comment, code, overloads } = declaration;
    const body =
      kind === 'interface' || kind === 'class'
        ? `${codeOf(clean(code.slice(0, code.indexOf('{'))).trim(), name)}${proseOf(comment)}<dl>${membersOf(
            declaration,
          )
            .map((member) => `<dt>${codeOf(member.code, name)}</dt><dd>${proseOf(member.comment)}</dd>`)
            .join('')}</dl>`
        : [declaration, ...overloads]
            .map((one) => `${codeOf(clean(one.code), name)}${proseOf(one.comment)}`)
            .join('');
    return `<section id="${name}"><h3>${name}</h3>${body}</section>`;
  };
  const groups = [
    ['Classes', ['class']],
    ['Functions', ['function']],
    ['Options and results', ['interface']],
    ['Types', ['type']],
    ['Constants', ['const']],
  ].map(([title, kinds]) => [title, declarations.filter(({ kind }) => kinds.includes(kind))]);
  const menu = groups
    .map(
      ([title, list]) =>
        `<h2>${title}</h2><ul>${list.map(({ name }) => `<li><a href="#${name}">${name}</a></li>`).join('')}</ul>`,
    )
    .join('');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zeropoint: API reference</title>
<link rel="icon" href="../icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="style.css">
</head>
<body>
<nav aria-label="Names"><a href="../">zeropoint</a>${menu}</nav>
<main>
<h1>API reference</h1>
<p>What <code>import … from 'zeropoint'</code> gives, from the doc comments of version ${
    JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
  }. <code>zeropoint/run</code> gives those that load and run a model; its <code>Model</code> ends with
<code>createSession</code> and <code>dispose</code>.</p>
${groups.map(([title, list]) => `<h2>${title}</h2>${list.map(section).join('\n')}`).join('\n')}
</main>
</body>
</html>
`;
}

/** The reference's files, by their names. The page's policy allows no style inside a document. */
export const referenceFiles = () => ({ 'index.html': page(exportedDeclarations()), 'style.css': style });
