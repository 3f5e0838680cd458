// The package says what others made in it, and brings their licenses.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { installed, root } from './helpers.ts';

interface Component {
  'bom-ref': string;
  name: string;
  version: string;
  purl: string;
  scope: string;
  licenses: ({ license: { id: string } } | { expression: string })[];
  properties: { name: string; value: string }[];
}

const text = readFileSync(join(installed, 'dist/sbom.cdx.json'), 'utf8');
const sbom = JSON.parse(text);
const components: Component[] = sbom.components;
const notices = readFileSync(join(installed, 'dist/THIRD-PARTY.txt'), 'utf8');
const named = (name: string) => components.filter((component) => component.name === name);
const placesOf = ({ properties }: Component) =>
  properties.flatMap(({ name, value }) => (name === 'zeropoint:in' ? value.split(' ') : []));

/** Sources of demos that the page in the package does not have. */
const isLeftOut = (name: string) => /^demos[\\/](?!digits)\w+[\\/]/.test(name);

/** Packages that sources take something from, but for types alone. */
function packagesIn(folder: string): string[] {
  const sources = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !name.endsWith('.d.ts') && !isLeftOut(name))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'));
  const found = sources.flatMap((source) => [
    ...[...source.matchAll(/^(?:import|export)\b(?! type\b)[^;]*?\bfrom '([^'.][^']*)'/gm)].map(
      ([, name]) => name,
    ),
    ...[...source.matchAll(/\bimport\('([^'.][^']*)'\)/g)].map(([, name]) => name),
  ]);
  const packages = found
    .filter((name): name is string => name !== undefined && !name.startsWith('node:'))
    .map((name) => /^(@[^/]+\/)?[^/]+/.exec(name)?.[0] as string);
  const own = ['zeropoint', 'zeropoint-report', 'sharp']; // sharp is installed by users
  return [...new Set(packages)].filter((name) => !own.includes(name)).sort();
}

describe('the list', () => {
  test('is CycloneDX, of this package', () => {
    const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(sbom).toMatchObject({
      bomFormat: 'CycloneDX',
      specVersion: expect.stringMatching(/^1\.\d$/),
      version: 1,
      metadata: { component: { name, version, purl: `pkg:npm/${name}@${version}` } },
    });
    const refs = components.map((component) => component['bom-ref']);
    expect(new Set(refs).size).toBe(refs.length);
    expect(sbom.dependencies).toEqual([{ ref: `${name}@${version}`, dependsOn: refs }]);
    for (const { purl, version: own, scope } of components) {
      expect(purl).toMatch(/^pkg:[a-z]+\/.+@.+$/);
      expect(own).toMatch(/\d/);
      expect(scope).toBe('required');
    }
  });

  test('is the same of the same build: no time, no number of chance, no place of a machine', () => {
    expect(sbom.serialNumber).toBeUndefined();
    expect(sbom.metadata.timestamp).toBeUndefined();
    expect(text).not.toMatch(/https?:\/\/\S*(registry|artifact|proxy)/i);
    expect(text).not.toContain(root);
  });

  test.each([
    ['dist', 'bindings/ts', ['commander', 'comlink', 'fflate', 'sirv', 'tinyglobby', 'cli-progress']],
    ['dist/page', 'web/src', ['preact', 'uplot', 'cytoscape', 'idb', 'workbox-window']],
  ])('has each package that %s has code of', (place, folder, some) => {
    const wanted = packagesIn(folder);
    expect(wanted).toEqual(expect.arrayContaining(some));
    for (const name of wanted)
      expect({ name, places: named(name).flatMap(placesOf) }).toEqual({
        name,
        places: expect.arrayContaining([place]),
      });
    for (const component of components.filter((each) => placesOf(each).includes(place)))
      expect(component.purl).toMatch(/^pkg:npm\//);
  });

  test('has what the linker puts into the WebAssembly', () => {
    const versions = Object.fromEntries(
      components
        .filter((component) => placesOf(component).includes('dist/wasm'))
        .map(({ name, version }) => [name, version]),
    );
    expect(versions).toEqual({
      'compiler-rt': expect.stringMatching(/^emscripten-\d/),
      dlmalloc: '2.8.6',
      emscripten: expect.stringMatching(/^\d+\.\d+\.\d+/),
      libcxx: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      libcxxabi: expect.stringMatching(/^emscripten-\d/),
      libunwind: expect.stringMatching(/^emscripten-\d/),
      musl: expect.stringMatching(/^1\.2\.\d+$/),
      protozero: expect.stringMatching(/^1\.\d+\.\d+$/),
    });
  });

  test('has the data of the demo', () => {
    expect(named('mnist').flatMap(placesOf)).toEqual(['dist/page']);
  });
});

describe('licenses', () => {
  const parts = new Map(
    notices
      .split(`\n\n${'-'.repeat(80)}\n\n`)
      .slice(1)
      .flatMap((part) => {
        const [heads = '', ...body] = part.split('\n\n');
        return heads.split('\n').map((head) => [head, body.join('\n\n')] as const);
      }),
  );

  test('each part has one, with its text, and nothing else is there', () => {
    const heads = components.map(({ name, version, licenses: [license] }) => {
      const id = license && ('expression' in license ? license.expression : license.license.id);
      return `${name} ${version} (${id})`;
    });
    expect([...parts.keys()].sort()).toEqual(heads.sort());
    for (const [head, body] of parts) {
      expect({ head, body }).toEqual({
        head,
        body: expect.stringMatching(/Permission|Redistribution|Apache License|public domain|ISC/i),
      });
      if (!head.startsWith('dlmalloc')) expect(body.length, head).toBeGreaterThan(300);
      if (/\(MIT\)/.test(head)) expect(body).toMatch(/Copyright|\(c\)/i);
    }
  });

  test('none of them asks for more than to be named', () => {
    const allowed = /^(MIT|ISC|BSD-[23]-Clause|Apache-2\.0|CC0-1\.0|0BSD|BlueOak-1\.0\.0|Unlicense)$/;
    for (const { name, licenses } of components) {
      for (const license of licenses) {
        const words = ('expression' in license ? license.expression : license.license.id).split(
          / (?:OR|AND) | WITH LLVM-exception/,
        );
        // NCSA stands beside MIT, of which one may be chosen.
        const open = words.filter((word) => word && word !== 'NCSA' && !allowed.test(word));
        expect({ name, open }).toEqual({ name, open: [] });
      }
    }
  });
});
