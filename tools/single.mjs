// node tools/single.mjs [FILE]: the page as one .html file that works from a disk, with the engine and the demos in it.
// FILE is dist-single/zeropoint.html unless you name one.
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { build, buildSingle, sizeOf } from './build.mjs';
import { root, runMain } from './process.mjs';
import { setUp } from './setup.mjs';

await runMain(async () => {
  const file = resolve(process.argv[2] ?? join(root, 'dist-single', 'zeropoint.html'));
  await build(await setUp(), ['wasm', 'package']);
  const built = await buildSingle();
  mkdirSync(dirname(file), { recursive: true });
  copyFileSync(built, file);
  console.log(`${relative('.', file)}: ${(sizeOf(file) / 1e6).toFixed(1)} MB. Open it in a browser.`);
});
