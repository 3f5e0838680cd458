// node tools/ecosystem.mjs [PROJECT…]: builds and runs the projects of tests/ecosystem/ with the packed package, all or those
// named, and says what each did. Installs the tools that are pinned there in build/ecosystem/.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { projects } from '../tests/ecosystem/projects.mjs';
import { expected, faultsOf, folder, runProject } from '../tests/ecosystem/run.mjs';
import { Failure, root, run, runMain, step } from './process.mjs';

/** The packed package, unpacked: it needs no other package. */
async function unpacked() {
  const place = join(folder, 'packed');
  mkdirSync(place, { recursive: true });
  const output = execFileSync('npm', ['pack', '--json', '--pack-destination', place], {
    cwd: root,
    encoding: 'utf8',
  });
  const [{ filename }] = JSON.parse(output);
  await run('tar', ['-xzf', join(place, filename), '-C', place]);
  return join(place, 'package');
}

/** Installs the tools, where the pinned ones are not there yet. */
async function installTools() {
  const source = join(root, 'tests', 'ecosystem');
  const done = join(folder, 'node_modules', '.installed');
  const lock = readFileSync(join(source, 'package-lock.json'), 'utf8');
  if (existsSync(done) && readFileSync(done, 'utf8') === lock) return;
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(source, name), join(folder, name));
  cpSync(join(root, '.npmrc'), join(folder, '.npmrc'));
  await step('tools', () => run('npm', ['ci'], { cwd: folder, quiet: true }));
  writeFileSync(done, lock);
}

const kilobytes = (bytes) => `${Math.round(bytes / 1000)} KB`;

await runMain(async () => {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(projects);
  const unknown = names.filter((name) => !Object.hasOwn(projects, name));
  if (unknown.length)
    throw new Failure(
      `no such project: ${unknown.join(', ')}; there are ${Object.keys(projects).join(', ')}`,
    );
  mkdirSync(folder, { recursive: true });
  const installed = await unpacked();
  if (names.some((name) => !projects[name].quick)) await installTools();
  const y = await expected(installed);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
  });
  const rows = [];
  try {
    for (const name of names) {
      let results = {};
      let faults;
      try {
        results = await runProject(name, { installed, browser });
        faults = faultsOf(name, results, y);
      } catch (error) {
        faults = [error.message];
      }
      const found = Object.values(results).at(-1) ?? {};
      const { threads, worker, milliseconds, sizes } = found;
      rows.push({ name, faults });
      console.log(
        `${faults.length ? 'FAILED' : 'ok    '} ${projects[name].title}: ${[
          threads === undefined ? '' : threads ? 'threads' : 'one thread',
          worker ? 'worker' : '',
          milliseconds === undefined ? '' : `first result after ${milliseconds} ms`,
          sizes
            ? `${kilobytes(sizes.raw)}, ${kilobytes(sizes.gzip)} gzip, ${kilobytes(sizes.brotli)} brotli`
            : '',
        ]
          .filter(Boolean)
          .join(', ')}`,
      );
      for (const fault of faults) console.log(`       ${fault.slice(0, 2000).replaceAll('\n', '\n       ')}`);
    }
  } finally {
    await browser.close();
  }
  const failed = rows.filter(({ faults }) => faults.length).length;
  console.log(`\n${rows.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
});
