// node tools/sbom.mjs: the parts of dist/ that others made. dist/sbom.cdx.json lists it for programs (CycloneDX), and
// dist/THIRD-PARTY.txt has the license of each. A site, and the page as one file, get both too, with the models of all demos. npm tells of its
// packages, the bundlers tell which of them are in (tools/bundled.mjs), and tools/parts.mjs has the rest. The same build gives
// the same files: there is no time in them.
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listOf } from './bundled.mjs';
import { data, mitOf, models, native } from './parts.mjs';
import { commandPath, Failure, root, run, runMain } from './process.mjs';
import { setUp } from './setup.mjs';

const manifestOf = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));

/** Packages that demos take files of, by their paths: each has a row. */
function checkDemos() {
  const demos = join(root, 'web', 'src', 'demos');
  for (const name of readdirSync(demos, { recursive: true })) {
    if (!/\.tsx?$/.test(name)) continue;
    const source = readFileSync(join(demos, name), 'utf8');
    for (const [, found, file] of source.matchAll(/node_modules\/((?:@[^/]+\/)?[^/]+)\/([^'?]+)/g)) {
      const isNamed =
        models.some((one) => one.from === found && one.file === file) || !file.endsWith('.onnx');
      if (!isNamed || !data.some((one) => one.name === found))
        throw new Failure(`a demo has ${file} of ${found}, which has no row in tools/parts.mjs`);
    }
  }
}

/** The folders of all packages that are in dist/, or in a page with all demos, and what of it they are in. */
function packagesInside(page) {
  const isSite = page !== undefined;
  const places = new Map();
  const add = (folder, place) => places.set(folder, [...(places.get(folder) ?? []), place]);
  for (const bundle of ['package', page ?? 'page']) {
    if (!existsSync(listOf(bundle))) {
      if (isSite)
        throw new Failure(`${listOf(bundle)} is missing: remove dist-page and build/single, and build again`);
      continue; // not built
    }
    const place = isSite ? '.' : bundle === 'page' ? 'dist/page' : 'dist';
    for (const folder of JSON.parse(readFileSync(listOf(bundle), 'utf8'))) add(folder, place);
  }
  for (const { name, isPacked } of data) {
    const folder = join('node_modules', name);
    if (isSite ? !places.has(folder) : isPacked) add(folder, isSite ? '.' : 'dist/page');
  }
  return places;
}

function licenseText(folder, { name, license, author }) {
  const file = readdirSync(join(root, folder)).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  if (file) return readFileSync(join(root, folder, file), 'utf8').trim();
  const holder =
    (typeof author === 'string' ? author : author?.name) ?? data.find((one) => one.name === name)?.holder;
  if (license === 'MIT' && holder) return mitOf(holder);
  throw new Failure(`${name} brings no text of its license (${license}): add one to tools/parts.mjs`);
}

/** What npm says of the packages in the lockfile, by name and version. */
async function npmComponents() {
  const { output } = await run('npm', ['sbom', '--sbom-format=cyclonedx', '--package-lock-only'], {
    quiet: true,
  });
  const sbom = JSON.parse(output.slice(output.indexOf('{')));
  return { sbom, components: new Map(sbom.components.map((one) => [`${one.name}@${one.version}`, one])) };
}

const placesProperty = (places) => [{ name: 'zeropoint:in', value: places.join(' ') }];

/** Of a package of npm's. Where it was downloaded from is nobody's business but this machine's. */
function npmComponent(folder, places, components) {
  const manifest = manifestOf(folder);
  const { name, version, license } = manifest;
  const found = components.get(`${name}@${version}`);
  if (!found) throw new Failure(`${name} ${version} is in dist/, and not in package-lock.json: run npm ci`);
  const { author, description, purl, licenses, hashes } = found;
  return {
    component: {
      'bom-ref': `${name}@${version}`,
      type: 'library',
      name,
      version,
      author,
      description,
      scope: 'required',
      licenses: licenses ?? [{ license: { id: license } }],
      purl,
      hashes,
      properties: placesProperty(places),
    },
    license,
    text: licenseText(folder, manifest),
  };
}

/** Of a row of the table. */
function nativeComponent({ name, what, version, purl, license, text }, files, place) {
  const found = version(files);
  if (!/\d/.test(found)) throw new Failure(`the version of ${name} was not found`);
  return {
    component: {
      'bom-ref': `${name}@${found}`,
      type: 'library',
      name,
      version: found,
      description: what,
      scope: 'required',
      licenses: [/ (OR|AND|WITH) /.test(license) ? { expression: license } : { license: { id: license } }],
      purl: purl(found),
      properties: placesProperty([place]),
    },
    license,
    text: text(files),
  };
}

/** Of a network in a demo. */
function modelComponent({ name, from, file, what, license, text }) {
  const { version } = manifestOf(join('node_modules', from));
  return {
    component: {
      'bom-ref': `${name}@${version}`,
      type: 'machine-learning-model',
      name,
      version,
      description: what,
      scope: 'required',
      licenses: [{ license: { id: license } }],
      purl: `pkg:npm/${from.replace('@', '%40')}@${version}#${file}`,
      properties: placesProperty(['.']),
    },
    license,
    text,
  };
}

/** Where protozero is: as the engine was built with it, else where cmake/protozero.cmake looks. */
function protozeroFolder() {
  const places = [
    join(root, 'build', 'wasm', 'include'),
    '/usr/include',
    '/usr/local/include',
    '/opt/homebrew/include',
  ];
  const found = places
    .map((place) => join(place, 'protozero'))
    .find((folder) => existsSync(join(folder, 'version.hpp')));
  if (!found) throw new Failure('protozero was not found: tools/setup.mjs sets it up');
  return found;
}

/**
 * Writes both files. `environment`: the one with emcc. `site`: a folder with the page, instead of dist/; `page`: the name of its
 * list in tools/bundled.mjs.
 */
export async function describeParts(environment, site, page = 'site') {
  checkDemos();
  const emcc = commandPath('emcc', environment.PATH);
  if (!emcc) throw new Failure('emcc was not found: tools/setup.mjs sets it up');
  const reader = (folder) => (file) => readFileSync(join(folder, file), 'utf8');
  const files = {
    read: reader(dirname(realpathSync(emcc))),
    protozero: reader(protozeroFolder()),
  };
  const { sbom, components } = await npmComponents();
  const all = [
    ...[...packagesInside(site && page)].map(([folder, places]) => npmComponent(folder, places, components)),
    ...native.map((part) => nativeComponent(part, files, site ? '.' : 'dist/wasm')),
    ...(site ? models.map(modelComponent) : []),
  ].sort((a, b) => (a.component['bom-ref'] < b.component['bom-ref'] ? -1 : 1));

  const { bomFormat, specVersion } = sbom;
  const { name, version, license, description } = manifestOf('.');
  const self = `${name}@${version}`;
  const made = {
    $schema: sbom.$schema,
    bomFormat,
    specVersion,
    version: 1,
    metadata: {
      component: {
        'bom-ref': self,
        type: 'library',
        name,
        version,
        description,
        licenses: [{ license: { id: license } }],
        purl: `pkg:npm/${self}`,
      },
    },
    components: all.map(({ component }) => component),
    dependencies: [{ ref: self, dependsOn: all.map(({ component }) => component['bom-ref']) }],
  };
  const folder = site ?? join(root, 'dist');
  writeFileSync(join(folder, 'sbom.cdx.json'), `${JSON.stringify(made, null, 2)}\n`);
  // Several may have the same text: it comes once, below the names of all.
  const texts = new Map();
  for (const { component, license: own, text } of all)
    texts.set(text, [...(texts.get(text) ?? []), `${component.name} ${component.version} (${own})`]);
  const notices = [...texts].map(([text, heads]) => `${heads.join('\n')}\n\n${text}`);
  const intro = site
    ? 'This page was made with code, data and models of these.'
    : 'dist/ contains code of these. sbom.cdx.json says which part of it each is in.';
  writeFileSync(
    join(folder, 'THIRD-PARTY.txt'),
    `${[intro, ...notices].join(`\n\n${'-'.repeat(80)}\n\n`)}\n`,
  );
  return all.length;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runMain(async () => {
    const count = await describeParts(await setUp());
    console.log(`dist/sbom.cdx.json and dist/THIRD-PARTY.txt: ${count} parts`);
  });
}
