// docs/OPERATORS.md: the engine's registry of operators beside the results of ONNX's cases.

/** The one operator that the reader itself replaces, and no file of src/ops. */
const constant = { domain: 'ai.onnx', name: 'Constant', since: 1, kernel: false };

/** Counts passed and all, of the cases about each operator: a map from its qualified name. */
function countCases(index, found) {
  const counts = new Map();
  for (const { name, op, expanded } of index.cases) {
    if (op === '') continue;
    const count = counts.get(op) ?? { own: [0, 0], expanded: [0, 0] };
    counts.set(op, count);
    const [passed, all] = count[expanded ? 'expanded' : 'own'];
    const isPassed = found.get(name).kind === 'passed';
    count[expanded ? 'expanded' : 'own'] = [passed + (isPassed ? 1 : 0), all + 1];
  }
  return counts;
}

const share = ([passed, all]) => (all === 0 ? '–' : `${passed}/${all}`);
const mark = (flag) => (flag ? 'yes' : '–');

/** The versions of its operator set whose form of an operator is read. */
function opsetsOf(operator, history, newestOpset) {
  const known = history[operator.domain]?.[operator.name];
  if (!known) return operator.since === 1 ? '1' : `${operator.since}`;
  const first = Math.max(operator.since, known.versions[0] ?? 1);
  const newest = operator.domain === 'ai.onnx' ? newestOpset : known.versions.at(-1);
  const last = known.deprecated ? known.deprecated - 1 : newest;
  return first >= last ? `${first}` : `${first}–${last}`;
}

function table(operators, index, newestOpset, counts) {
  const rows = operators.map((operator) => {
    const count = counts.get(`${operator.domain}.${operator.name}`) ?? { own: [0, 0], expanded: [0, 0] };
    return [
      operator.name,
      opsetsOf(operator, index.operators, newestOpset),
      operator.kernel ? 'kernel' : 'expands',
      operator.kernel ? mark(operator.integer) : '–',
      operator.kernel ? mark(operator.gradient) : '–',
      operator.kernel ? operator.rule : '–',
      share(count.own),
      share(count.expanded),
    ];
  });
  const head = [
    'operator',
    'versions',
    'runs as',
    'integer',
    'gradient',
    'quantized as',
    'cases',
    'expanded',
  ];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

/** Operators of ONNX that the engine has not, with the number of cases about each. */
function missing(operators, index, counts) {
  const there = new Set(operators.map(({ domain, name }) => `${domain}.${name}`));
  const lines = [];
  for (const [domain, entries] of Object.entries(index.operators)) {
    const names = Object.entries(entries)
      .filter(([name, { deprecated }]) => !deprecated && !there.has(`${domain}.${name}`))
      .map(([name]) => {
        const count = counts.get(`${domain}.${name}`);
        return count ? `${name} (${count.own[1] + count.expanded[1]})` : name;
      });
    if (names.length) lines.push(`- ${domain}: ${names.join(', ')}`);
  }
  return lines.join('\n');
}

/** The text of docs/OPERATORS.md. `registry`: zeropoint_cases --operators; `found`: the verdict on each case. */
export function operatorsDocument(registry, index, found) {
  const counts = countCases(index, found);
  const kinds = [...found.values()].reduce(
    (all, { kind }) => all.set(kind, (all.get(kind) ?? 0) + 1),
    new Map(),
  );
  const operators = [...registry.operators.filter(({ domain }) => domain !== 'zeropoint'), constant].sort(
    (a, b) => (a.name < b.name ? -1 : 1),
  );
  const domains = [...new Set(operators.map(({ domain }) => domain))].sort();
  const tables = domains.map((domain) => {
    const ofDomain = operators.filter((operator) => operator.domain === domain);
    return `## ${domain}\n\n${table(ofDomain, index, registry.newestOpset, counts)}\n`;
  });
  return `# Operators

\`npm run operators\` writes this page, from the engine's registry and a run of ONNX's own test cases. \`npm test\` fails when the
page is out of date. [GLOSSARY.md](GLOSSARY.md) explains the words.

zeropoint reads opsets 1 to ${registry.newestOpset} of ai.onnx. It writes a file as the lowest opset that can express it, from 7 on, unless the option
\`opset\` says otherwise. A model with unknown operators keeps its opset at least. ONNX 1.23 makes cases for its operators, and
brings models with cases: of these ${found.size} cases ${kinds.get('passed') ?? 0} pass. [tests/conformance/not-passing.tsv](../tests/conformance/not-passing.tsv)
says for each other case why it does not.

- **versions**: the versions of the operator set whose form of the operator is read.
- **runs as**: \`kernel\`, or \`expands\` into other operators when a model is read.
- **integer**: between quantized values the operator runs on integers: in a kernel of its own, as a table, or by moving them.
  (Operators that take integers, such as ConvInteger, need no such form.)
- **gradient**: the operator can be trained through.
- **quantized as**: a product with a weight; a value with its input's scale; a value with a scale of its own; or float.
- **cases**: the cases about the operator that pass, of all. **expanded**: the same for cases that express it by other operators.

${tables.join('\n')}
## Not there

These operators of ONNX are missing. The number counts the cases about each:

${missing(operators, index, counts)}
`;
}
