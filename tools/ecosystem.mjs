// node tools/ecosystem.mjs [--write] [PROJECT…]: builds and runs the projects of tests/ecosystem/ with the packed package, all
// or those named, and says what each did. Installs the tools that are pinned there in build/ecosystem/. With --write all are
// run, and docs/ECOSYSTEM.md says what they did.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { projects } from '../tests/ecosystem/projects.mjs';
import { expected, faultsOf, folder, runProject } from '../tests/ecosystem/run.mjs';
import { endAtSignals, Failure, isEnding, root, run, runMain, step } from './process.mjs';

/** The packed package, unpacked: it needs no other package. */
async function unpacked() {
  const place = join(folder, 'packed');
  mkdirSync(place, { recursive: true });
  const { output } = await run('npm', ['pack', '--json', '--silent', '--pack-destination', place], {
    quiet: true,
    group: true,
  });
  const [{ filename }] = JSON.parse(output);
  await run('tar', ['-xzf', join(place, filename), '-C', place], { group: true });
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
  await step('tools', () => run('npm', ['ci'], { cwd: folder, quiet: true, group: true }));
  writeFileSync(done, lock);
}

/** Of a tool that ran a project. */
function versionOf(tool, browser) {
  if (tool === 'browser') return `Chromium ${browser.version()}`;
  if (tool === 'node') return `Node ${process.versions.node}`;
  const manifest = [folder, root]
    .map((place) => join(place, 'node_modules', tool, 'package.json'))
    .find((file) => existsSync(file));
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return `${name} ${version}`;
}

/** The document: a row for each project. */
function documentOf(rows, browser) {
  const table = rows.map(({ name, faults, found: { threads, worker, sizes } }) => {
    const cells = [
      projects[name].title,
      projects[name].tools.map((tool) => versionOf(tool, browser)).join(', '),
      faults.length ? 'no' : 'yes',
      threads === undefined ? '' : threads ? 'yes' : 'one thread',
      threads === undefined ? '' : worker ? 'yes' : 'no',
      ...['raw', 'gzip', 'brotli'].map((form) => (sizes ? kilobytes(sizes[form]) : '')),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return `<!-- \`npm run test:ecosystem -- --write\` writes this file. -->
# Where the package was tried

zeropoint ${version}, as npm packs it, was put into a project for each of these ([tests/ecosystem/](../tests/ecosystem/projects.mjs)),
built, and run: it loaded a model, ran it, quantized it (but with \`zeropoint/run\`), and had to answer the same as everywhere.
Pages ran in ${versionOf('browser', browser)}, once isolated across origins and once not; the table is for isolated pages (the
others have one thread). Linux on x64, ${new Date().toISOString().slice(0, 10)}.
[The guide](GUIDE.md#in-bundlers-and-on-servers) says what to do in each.

| where | versions | works | threads | worker | served | gzip | brotli |
|---|---|---|---|---|---|---|---|
${table.join('\n')}

*Served* is all that the page took from its server to load the model, run it and quantize it, but for the model itself. Vite's
server was tried without isolation only. A program that is in a worker already, Node, Bun and Deno start no worker
for the engine. TypeScript only reads the types. Not tried here: other browsers, Windows, macOS, and Electron itself (only a page
with Node's \`process\`).
`;
}

const kilobytes = (bytes) => `${Math.round(bytes / 1000)} KB`;

await runMain(async () => {
  const isWriting = process.argv.includes('--write');
  const chosen = process.argv.slice(2).filter((argument) => argument !== '--write');
  if (isWriting && chosen.length) throw new Failure('--write is for all projects');
  const names = chosen.length ? chosen : Object.keys(projects);
  const unknown = names.filter((name) => !Object.hasOwn(projects, name));
  if (unknown.length)
    throw new Failure(
      `no such project: ${unknown.join(', ')}; there are ${Object.keys(projects).join(', ')}`,
    );
  mkdirSync(folder, { recursive: true });
  let browser;
  endAtSignals(() => browser?.close()); // with its profile, which lies in the system's folder for temporary files
  const installed = await unpacked();
  if (names.some((name) => !projects[name].quick)) await installTools();
  const y = await expected(installed);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
    handleSIGINT: false,
    handleSIGTERM: false,
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
      if (isEnding()) return new Promise(() => {}); // the signal's own work ends the program
      const found = Object.values(results).at(-1) ?? {};
      const { threads, worker, milliseconds, sizes } = found;
      rows.push({ name, faults, found });
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
    if (isWriting) writeFileSync(join(root, 'docs', 'ECOSYSTEM.md'), documentOf(rows, browser));
  } finally {
    await browser.close();
  }
  const failed = rows.filter(({ faults }) => faults.length).length;
  console.log(`\n${rows.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
});
