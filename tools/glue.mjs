// Emscripten's JavaScript for a WebAssembly module, changed so that it runs wherever JavaScript does. Unchanged, it finds
// out by itself where it is, imports Node's modules there, and starts its own file as a worker, which bundlers do not take.
// Changed, it is told all that: `instantiateWasm`, `startThread` and `isThread` (bindings/ts/builds.ts, Factory).
// It also frees objects that garbage collection finds. The engine's host frees its own, and those of an engine that was
// lost must not be freed: a session would wait for ever for its threads that are gone.
import { parseAst } from 'rolldown/parseAst';

/** All nodes of a tree, parents first. */
function* nodesOf(node) {
  if (Array.isArray(node)) {
    for (const item of node) yield* nodesOf(item);
  } else if (node && typeof node === 'object') {
    if (typeof node.type === 'string') yield node;
    for (const [key, child] of Object.entries(node)) {
      if (key !== 'parent' && child && typeof child === 'object') yield* nodesOf(child);
    }
  }
}

/** The text with parts replaced: those inside of other parts go with them. */
function replaced(text, edits) {
  let result = '';
  let at = 0;
  for (const { start, end, by } of [...edits].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (start < at) continue;
    result += text.slice(at, start) + by;
    at = end;
  }
  return result + text.slice(at);
}

/** `file` is only named in errors. */
export function portableGlue(text, file) {
  const tree = parseAst(text, { lang: 'js' });
  const sourceOf = ({ start, end }) => text.slice(start, end);
  const counts = {};
  const edits = [];
  const edit = (what, { start, end }, by) => {
    counts[what] = (counts[what] ?? 0) + 1;
    edits.push({ start, end, by });
  };

  // Of the file itself only the factory is left: it does not start by itself where it finds itself in a worker.
  for (const statement of tree.body) {
    const [declared] = statement.declarations ?? [];
    if (declared?.id.name === 'Module') counts.factory = 1;
    else if (statement.type !== 'ExportDefaultDeclaration') edit('the rest', statement, '');
  }

  for (const node of nodesOf(tree.body)) {
    if (node.type === 'VariableDeclarator' && node.id.name === 'ENVIRONMENT_IS_NODE')
      edit('whether it is in Node', node.init, 'false');
    else if (node.type === 'VariableDeclarator' && node.id.name === 'ENVIRONMENT_IS_PTHREAD')
      edit('whether it is a thread', node.init, '!!Module["isThread"]');
    else if (/^(If|Conditional)/.test(node.type) && sourceOf(node.test) === 'ENVIRONMENT_IS_NODE') {
      const { start, end, alternate } = node;
      if (alternate) edit('what is done in Node', { start, end: alternate.start }, '');
      else edit('what is done in Node', { start, end }, '{}');
    } else if (node.type === 'LogicalExpression' && /^!?ENVIRONMENT_IS_NODE$/.test(sourceOf(node.left)))
      edit('what Node decides', node.left, sourceOf(node.left).startsWith('!') ? 'true' : 'false');
    else if (
      node.type === 'IfStatement' &&
      /^ENVIRONMENT_IS_WEB ?\|\| ?ENVIRONMENT_IS_WORKER$/.test(sourceOf(node.test))
    )
      edit('where its file is', node, '{}');
    else if (node.type === 'IfStatement' && /typeof FinalizationRegistry$/.test(sourceOf(node.test)))
      edit('what garbage collection frees', node.test, 'true'); // as where there is no such registry
    else if (node.type === 'NewExpression' && node.callee.name === 'Worker')
      edit('a thread', node, 'Module["startThread"]()');
    else if (node.type === 'NewExpression' && node.callee.name === 'URL') edit('a file', node, '{href:""}');
    else if (node.type === 'Literal' && /^[\w-]+\.(wasm|mjs)$/.test(node.value)) edit('a file', node, '""');
    else if (node.type === 'MemberExpression' && sourceOf(node) === 'import.meta.url')
      edit('its file', node, '""');
  }

  const hasThreads = /\bPThread\b/.test(text);
  const expected = [
    'factory',
    'whether it is in Node',
    'where its file is',
    'what garbage collection frees',
    ...(hasThreads ? ['whether it is a thread', 'a thread'] : []),
  ];
  const missing = expected.filter((what) => counts[what] !== 1);
  if (missing.length)
    throw new Error(`${file}: not found once: ${missing.join(', ')}: has Emscripten changed its output?`);
  return replaced(text, edits);
}
