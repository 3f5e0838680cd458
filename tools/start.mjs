// node tools/start.mjs [--port N] [--host H]: sets up, builds, and serves the page.
// Threads need a page that is isolated across origins: web/vite.config.ts sends the headers for that.
import { join } from 'node:path';
import { build } from './build.mjs';
import { nodeBin, root, run, runMain } from './process.mjs';
import { setUp } from './setup.mjs';

await runMain(async () => {
  await build(await setUp(), ['wasm', 'package', 'page']);
  const { code } = await run(
    nodeBin('vite'),
    ['preview', 'web', '--outDir', join(root, 'dist-page'), ...process.argv.slice(2)],
    { mayFail: true },
  );
  return code;
});
