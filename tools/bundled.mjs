// The npm packages that a bundler put into its output, by the paths of its modules: lists for tools/sbom.mjs.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** What each of these bundles is made of: `page` is the one in the package, `site` the one with all demos, `single` one file. */
const bundles = ['package', 'page', 'site', 'single'];

/** The file of a list: folders of packages, as JSON. */
export const listOf = (bundle) => join(root, 'build', 'bundled', `${bundle}.json`);

/** The package that a module is of, or that a bundler adds code of its own from. */
function folderOf(id) {
  const [, tool] = /^\0(vite|rolldown)\//.exec(id) ?? [];
  if (tool) return join(root, 'node_modules', tool);
  return /^\0?(.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)[\\/]/.exec(id)?.[1];
}

const found = new Map(bundles.map((name) => [name, new Set()]));

/** A plugin of rolldown's and Vite's that writes the list. Several, as those of workers, may add to one. */
export function listPackages(bundle) {
  const folders = found.get(bundle);
  return {
    name: 'list-packages',
    generateBundle(_, output) {
      for (const { modules = {} } of Object.values(output)) {
        for (const id of Object.keys(modules)) {
          const folder = folderOf(id);
          if (folder) folders.add(relative(root, folder));
        }
      }
    },
    writeBundle() {
      const file = listOf(bundle);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify([...folders].sort(), null, 2)}\n`);
    },
  };
}
