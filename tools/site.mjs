// node tools/site.mjs [FOLDER]: the page as a folder that any web server can serve, from any path, with or without headers
// of its own. FOLDER is dist-site/ unless you name one; what an earlier run put there is replaced. THIRD-PARTY.txt and
// sbom.cdx.json in it name all that others made.
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { build, sizeOf } from './build.mjs';
import { Failure, root, runMain } from './process.mjs';
import { describeParts } from './sbom.mjs';
import { setUp } from './setup.mjs';

await runMain(async () => {
  const folder = resolve(process.argv[2] ?? join(root, 'dist-site'));
  const isOther = existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(join(folder, 'sw.js'));
  if (isOther) throw new Failure(`${folder} holds something else: name an empty folder or a new one`);
  const environment = await setUp();
  await build(environment, ['wasm', 'package', 'page']);
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, 'dist-page'), folder, { recursive: true });
  await describeParts(environment, folder);
  console.log(`${relative('.', folder)}: ${(sizeOf(folder) / 1e6).toFixed(1)} MB. Serve it from anywhere.`);
});
