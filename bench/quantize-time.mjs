// npm run bench:quantize: how long quantizing takes with samples, in Chromium and in Node, and how soon a cancel answers.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openChromium, serve } from './lib/browsers.mjs';
import { realModels } from './lib/inputs.mjs';
import { movedToCurrentNode, processor } from './lib/node.mjs';
import { timeQuantizing } from './lib/quantizing.mjs';
import { table } from './lib/table.mjs';

const usage = `npm run bench:quantize -- [options]
  --models a,b   of bench:models (detection)
  --modes a,b    static, auto, dynamic, weight-only (static,auto)
  --samples N    (32)
  --in a,b       chromium, node (both)
  --json FILE    also write the rows
  --help`;

async function main() {
  const { values } = parseArgs({
    options: {
      models: { type: 'string', default: 'detection' },
      modes: { type: 'string', default: 'static,auto' },
      samples: { type: 'string', default: '32' },
      in: { type: 'string', default: 'chromium,node' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return console.log(usage);
  if (await movedToCurrentNode(import.meta.url)) return;
  const zeropoint = await import('../dist/node.js');
  const { models } = await realModels(zeropoint);
  const places = values.in.split(',');
  const rows = [];
  const folder = mkdtempSync(join(tmpdir(), 'zeropoint-quantize-'));
  const server = await serve(folder);
  const chromium = places.includes('chromium') ? await openChromium(server.url) : undefined;
  if (places.includes('chromium') && !chromium)
    console.error('there is no Chromium: set CHROMIUM to its path');
  try {
    for (const name of values.models.split(',')) {
      if (!models[name]) throw new Error(`there is no model ${name}: ${Object.keys(models).join(', ')}`);
      const { title, path, input } = models[name];
      const bytes = readFileSync(path);
      writeFileSync(join(folder, 'model'), bytes);
      const samples = [];
      const calibration = [];
      for (let i = 0; i < Number(values.samples); ++i) {
        const described = {};
        const feeds = {};
        for (const [key, { type, data, dims }] of Object.entries(await input(i))) {
          const file = `sample-${i}-${Object.keys(described).length}`;
          writeFileSync(join(folder, file), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
          described[key] = { type, dims, file };
          feeds[key] = new zeropoint.Tensor(type, data, dims);
        }
        samples.push(described);
        calibration.push(feeds);
      }
      for (const mode of values.modes.split(',')) {
        const add = (where, { seconds, cancel, phases }) => {
          rows.push({ model: title, mode, where, seconds, cancel, phases });
          console.error(
            `${title}, ${mode}, ${where}: ${seconds.toFixed(1)} s, cancel ${cancel.toFixed(0)} ms`,
          );
        };
        if (chromium) {
          const task = { samples, options: { mode } };
          add(chromium.version, await chromium.task('inPage', 'quantizing', task));
        }
        if (places.includes('node')) {
          add(`Node ${process.versions.node}`, await timeQuantizing(zeropoint, bytes, calibration, { mode }));
        }
      }
    }
  } finally {
    await chromium?.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const lines = rows.map(({ model, mode, where, seconds, cancel, phases }) => [
    model,
    mode,
    where,
    seconds.toFixed(1),
    cancel.toFixed(0),
    Object.entries(phases)
      .filter(([, time]) => time >= 0.1)
      .map(([phase, time]) => `${phase} ${time.toFixed(1)}`)
      .join(', '),
  ]);
  console.log(table(['model', 'mode', 'in', 'seconds', 'cancel ms', 'of which'], lines));
  if (values.json) writeFileSync(values.json, JSON.stringify({ processor: processor(), rows }, null, 2));
}

await main();
