// The inputs and opsets of the engine's operators (OpDef::inputs and opsets in src/ops/op.h), beside ONNX's own
// schemas.

/** ONNX's names of element types, by letter. */
const letters = {
  f: 'float',
  d: 'double',
  h: 'float16',
  b: 'bfloat16',
  c: 'int8',
  C: 'uint8',
  s: 'int16',
  S: 'uint16',
  i: 'int32',
  I: 'uint32',
  l: 'int64',
  L: 'uint64',
  o: 'bool',
  t: 'string',
  q: 'int4',
  Q: 'uint4',
  p: 'int2',
  P: 'uint2',
  j: 'float8e4m3fn',
  J: 'float8e4m3fnuz',
  k: 'float8e5m2',
  K: 'float8e5m2fnuz',
  m: 'float4e2m1',
  e: 'float8e8m0',
};
const groups = { G: 'jJkK', F: 'fdh', N: 'fdhcCsSiIlL', A: 'fdhcCsSiIlLot' };
const known = new Set(Object.values(letters));
/** The oldest opset that is written. */
const oldest = 7;
/** That of the form in memory (kOpset). */
const inMemory = 21;

function parse(row) {
  const parsed = { where: 0, types: new Map(), first: undefined, attributes: new Map() };
  for (const word of row.split(' ')) {
    const types = word.match(/^(\d+)([A-Za-z]*)$/);
    const attribute = word.match(/^(\w+)(?:(=[^:]*)|<0)?:(\d+)$/);
    if (word.startsWith('@')) {
      parsed.where = word.slice(1);
    } else if (types) {
      const since = Number(types[1]);
      parsed.first ??= since;
      for (const letter of [...types[2]].flatMap((group) => [...(groups[group] ?? group)]))
        parsed.types.set(letters[letter], since);
    } else if (attribute) {
      if (!word.includes('<0')) parsed.attributes.set(attribute[1], Number(attribute[3]));
    } else {
      throw new Error(`'${word}' is no word of an operator's opsets`);
    }
  }
  return parsed;
}

/** What an operator says of its inputs (OpDef::inputs) that its schemas contradict: sentences. */
function compareInputs({ name, inputs, since: oldestRead }, { forms }) {
  const problems = [];
  const say = (text) => problems.push(`${name} ("${inputs}"): ${text}`);
  const words = inputs
    .split(' ')
    .filter(Boolean)
    .map((word) => {
      const [, input, since = 0, end = Number.POSITIVE_INFINITY] = word
        .replace('*?', '*')
        .match(/^([^:<]+)(?::(\d+))?(?:<(\d+))?$/);
      return { input, since: Number(since), end: Number(end), required: !/[?*]$/.test(input) };
    });
  const versions = Object.keys(forms)
    .map(Number)
    .sort((a, b) => a - b);
  const newest = versions.filter((version) => version <= inMemory).at(-1) ?? versions.at(-1);
  const { names } = forms[newest];
  // Of one input, messages give no name.
  const now = words.filter(({ end }) => end > inMemory);
  if (names.length !== now.length || (words.length > 1 && names.some((it, i) => it !== now[i].input)))
    say(`inputs are "${names.join(' ')}" with opset ${newest}`);
  for (const version of versions.filter((version) => version >= oldestRead)) {
    const form = forms[version].names;
    const there = words.filter(({ end }) => version < end);
    there.forEach(({ input, since, required }, i) => {
      if (required && since <= version && (form[i] === undefined || /[?]$/.test(form[i])))
        say(`${input} may be left out with opset ${version}`);
      else if (since > version && form[i] === input) say(`${input} is there with opset ${version}`);
    });
    if (form.length > there.length && !there.at(-1)?.input.endsWith('*'))
      say(`there are ${form.length} inputs with opset ${version}`);
  }
  return problems;
}

/** What an operator says that its schemas contradict: sentences. */
function compare({ name, opsets, respells }, { forms }) {
  const { where, types, first, attributes } = parse(opsets);
  const versions = Object.keys(forms)
    .map(Number)
    .sort((a, b) => a - b);
  const problems = [];
  const say = (text) => problems.push(`${name} ("${opsets}"): ${text}`);
  const atLeast = (version) => Math.max(version, oldest);
  const start = versions.filter((version) => version <= oldest).at(-1) ?? versions[0];
  if (first < atLeast(versions[0])) say(`ONNX has it since opset ${versions[0]}`);
  if (first > atLeast(start) && !versions.includes(first)) say(`nothing changed with opset ${first}`);

  const typesOf = (version) => {
    const { inputs, outputs } = forms[version];
    return where === 'o' ? outputs[0] : inputs[Math.min(Number(where), inputs.length - 1)];
  };
  const since = new Map();
  for (const version of versions.filter((version) => version >= start))
    for (const type of typesOf(version).filter((type) => known.has(type) && !since.has(type)))
      since.set(type, Math.max(atLeast(version), first));
  for (const [type, version] of since)
    if (types.get(type) !== version)
      say(`${type} came with opset ${version}, not ${types.get(type) ?? 'never'}`);
  for (const type of types.keys()) if (!since.has(type)) say(`${type} is no type of it`);

  // Attributes and inputs that changed since: in the row, or respell()'s.
  const before = new Set(Object.keys(forms[start].attributes));
  for (const version of versions.filter((version) => version > start)) {
    for (const [attribute, otherwise] of Object.entries(forms[version].attributes)) {
      if (before.has(attribute)) continue;
      before.add(attribute);
      const said = attributes.get(attribute);
      // What came after the opset of the form in memory, reading takes away.
      if (said === undefined ? !respells && version <= inMemory : said !== version)
        say(
          `attribute ${attribute} (${JSON.stringify(otherwise)}) came with opset ${version}, not ${said ?? 'never'}`,
        );
    }
    const gone = Object.keys(forms[start].attributes).filter((a) => !(a in forms[version].attributes));
    const newest = forms[version].inputs.length;
    if (version <= inMemory && !respells && (gone.length || newest !== forms[start].inputs.length))
      say(`its form changed with opset ${version}, and it has no respell()`);
  }
  return problems;
}

/** `registry`: zeropoint_cases --operators; `history`: the operators of index.json. */
export function opsetProblems(registry, history) {
  const problems = [];
  for (const operator of registry.operators.filter(({ domain }) => domain === 'ai.onnx')) {
    const known = history['ai.onnx'][operator.name];
    if (!known?.forms) continue; // an operator of ONNX Runtime's
    problems.push(...compareInputs(operator, known));
    if (operator.opsets) problems.push(...compare(operator, known));
    else if (operator.kernel) problems.push(`${operator.name} does not say since which opsets it is there`);
  }
  return problems;
}
