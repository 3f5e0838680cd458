// ONNX's own test cases, run natively (tests/conformance/cases.cpp), beside tests/conformance/not-passing.tsv,
// which lists what does not pass and why. A case that is lost fails, and so does one that is gained, until the
// list says so: node tools/conformance.mjs --write writes it, and docs/OPERATORS.md, from a run. What passes must
// also pass when the inputs declare no shape, but for what tests/conformance/without-shapes.tsv lists.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPreset } from './build.mjs';
import { operatorsDocument } from './operators.mjs';
import { opsetProblems } from './opsets.mjs';
import { cores, Failure, inParallel, outputOf, root, run, runMain, step } from './process.mjs';
import { cacheFolderOf, ensureFolder, pythonWith } from './python.mjs';
import { setUp } from './setup.mjs';

const folder = join(root, 'tests', 'conformance');
const listFile = join(folder, 'not-passing.tsv');
const shapelessFile = join(folder, 'without-shapes.tsv');
const documentFile = join(root, 'docs', 'OPERATORS.md');
const program = join(root, 'build', 'native', 'zeropoint_cases');
const how = 'node tools/conformance.mjs --write';

const header = `# ONNX's test cases that do not pass, by tools/conformance.mjs. Columns: what hinders, case, why.
#   operator  it has operators that no file of src/ops handles: the third column names them
#   type      an element type, or a sequence, map or optional, that is not supported
#   form      a form of an operator that is not supported
#   disputed  the expected values contradict the specification, or are not defined by it: the third column says how
#             (written by hand: change "differs" to "disputed", and give the reason)
#   differs   other values, or an error that does not say "not supported": a fault of ours
#   crash     the program ended
# "${how}" writes this list anew, and keeps what is disputed.
`;
const shapelessHeader = `# ONNX's test cases that pass, and do not when the model's inputs declare no shape, by tools/conformance.mjs. Columns
# as in not-passing.tsv. "${how}" writes this list anew, and keeps what is disputed.
`;

/** The folder of the cases, and what index.json says of them. */
async function ensureCases() {
  const requirements = join(folder, 'requirements.txt');
  const script = join(folder, 'cases.py');
  const cases = cacheFolderOf('onnx-cases', [requirements, script]);
  await ensureFolder(cases, async (unfinished) => {
    const python = await pythonWith(requirements);
    await step("ONNX's test cases", () => run(python, [script, unfinished], { quiet: true }));
  });
  return { cases, index: JSON.parse(readFileSync(join(cases, 'index.json'), 'utf8')) };
}

/** Runs cases until they are through or the program dies. Answers what was found, and the case it died in. */
function runUntilCrash(args, names) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      complaint += text;
    });
    child.stdin.on('error', () => {}); // it died: its exit code says so
    child.on('error', (error) => fail(new Failure(`${program}: ${error.message}`)));
    child.on('close', (code) => {
      const found = new Map();
      let running;
      for (const line of output.split('\n').filter(Boolean)) {
        const [kind, why] = line.split('\t');
        if (why === undefined) {
          running = line.replace(/^run /, '');
        } else {
          found.set(running, { kind, why });
          running = undefined;
        }
      }
      if (code !== 0 && running === undefined) return fail(new Failure(`${complaint}${program} ended`));
      const why = complaint.match(/^.*(?:runtime error|ERROR|terminate|what\(\)).*$/m)?.[0] ?? complaint;
      done({ found, crashed: running, why: why.trim().split('\n')[0] });
    });
    child.stdin.end(`${names.join('\n')}\n`);
  });
}

/** A map from the name of a case to { kind, why }. `args`: the program's. */
async function runCases(args, names) {
  const found = new Map();
  const shards = Array.from({ length: cores }, (_, shard) => names.filter((_, i) => i % cores === shard));
  await inParallel(shards, async (shard) => {
    for (let rest = shard; rest.length; ) {
      const part = await runUntilCrash(args, rest);
      for (const [name, verdict] of part.found) found.set(name, verdict);
      if (part.crashed) found.set(part.crashed, { kind: 'crash', why: part.why });
      rest = rest.filter((name) => !found.has(name));
    }
  });
  return found;
}

/** A list: a map from the name of a case to { kind, why }. */
function readList(file) {
  const list = new Map();
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [kind, name, why] = line.split('\t');
    list.set(name, { kind, why });
  }
  return list;
}

const isDisputed = (verdict, listed) => verdict.kind === 'differs' && listed?.kind === 'disputed';

function writeList(file, text, found) {
  const list = readList(file);
  const lines = [...found]
    .filter(([, { kind }]) => kind !== 'passed')
    .map(([name, verdict]) => {
      const { kind, why } = isDisputed(verdict, list.get(name)) ? list.get(name) : verdict;
      return `${kind}\t${name}\t${why}`;
    })
    .sort();
  writeFileSync(file, `${text}${lines.map((line) => `${line}\n`).join('')}`);
}

/** What a run found that the list does not say, one line each. */
function differences(found, list) {
  const lines = [];
  for (const [name, verdict] of found) {
    const listed = list.get(name);
    const { kind, why } = verdict;
    if (kind === 'passed') {
      if (listed)
        lines.push(`${name} passes now, and is listed as ${listed.kind}: write it down with "${how}"`);
    } else if (!listed) {
      lines.push(`${name} passed before: ${kind}: ${why}`);
    } else if (listed.kind !== kind && !isDisputed(verdict, listed)) {
      lines.push(`${name} is listed as ${listed.kind}: ${kind}: ${why}`);
    } else if (kind === 'operator' && listed.why !== why) {
      lines.push(`${name} is listed to lack ${listed.why}, and lacks ${why}: write it down with "${how}"`);
    }
  }
  for (const name of list.keys())
    if (!found.has(name)) lines.push(`${name} is listed, and no such case exists`);
  return lines;
}

/** Writes every case's model anew, of several opsets, and has ONNX's checker look at them. */
async function checkWritten(cases, names) {
  const to = mkdtempSync(join(tmpdir(), 'zeropoint-written-'));
  try {
    const input = `${names.join('\n')}\n`;
    const wrote = spawnSync(program, ['--rewrite', cases, to], { cwd: root, input, encoding: 'utf8' });
    if (wrote.status !== 0) throw new Failure(`${program} --rewrite ended: ${wrote.stderr}`);
    const python = await pythonWith(join(folder, 'requirements.txt'));
    const said = outputOf(python, [join(folder, 'check_written.py'), to, cases]);
    if (!said) throw new Failure('check_written.py failed');
    const { checked, failures } = JSON.parse(said);
    return { checked, failures: [...wrote.stdout.split('\n').filter(Boolean), ...failures] };
  } finally {
    rmSync(to, { recursive: true, force: true });
  }
}

/** Runs all cases. With `write`, the list and the document become what was found. */
export async function conformance(environment, { write = false } = {}) {
  const { cases, index } = await ensureCases();
  await buildPreset('conformance', environment, { buildFolder: 'native' });
  const names = index.cases.map(({ name }) => name);
  const found = await runCases([cases], names);
  const passed = names.filter((name) => found.get(name)?.kind === 'passed');
  const shapeless = await runCases(['--shapeless', cases], passed);
  if (write) {
    writeList(listFile, header, found);
    writeList(shapelessFile, shapelessHeader, shapeless);
  }
  const registry = outputOf(program, ['--operators']);
  if (!registry) throw new Failure(`${program} --operators failed`);
  const operators = JSON.parse(registry);
  const document = operatorsDocument(operators, index, found);
  if (write) writeFileSync(documentFile, document);

  const written = await checkWritten(cases, names);
  const lines = [
    ...differences(found, readList(listFile)),
    ...differences(shapeless, readList(shapelessFile)).map((line) => `without shapes: ${line}`),
    ...opsetProblems(operators, index.operators),
    ...written.failures,
  ];
  const isCurrent = readFileSync(documentFile, 'utf8') === document;
  if (!isCurrent) lines.push(`${relative(root, documentFile)} is not what this run says: "${how}" writes it`);
  for (const line of lines) console.log(`FAILED: ${line}`);
  const counts = {};
  for (const { kind } of found.values()) counts[kind] = (counts[kind] ?? 0) + 1;
  console.log(
    `  ${names.length} cases: ${Object.entries(counts)
      .map(([kind, count]) => `${kind} ${count}`)
      .sort()
      .join(
        ', ',
      )}; ${[...shapeless.values()].filter(({ kind }) => kind === 'passed').length} pass without the shapes of inputs; ${written.checked} files written as other opsets`,
  );
  return { passed: counts.passed + (isCurrent ? 1 : 0), failed: lines.length, failures: lines };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    const { failed } = await conformance(await setUp({ tests: true }), {
      write: process.argv.includes('--write'),
    });
    return failed === 0 ? 0 : 1;
  });
}
