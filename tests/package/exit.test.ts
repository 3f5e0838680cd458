// A program that uses the package ends when its work is done, and not before.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { models } from './helpers.ts';

test.each([
  ['one thread', '{ threads: 1 }'],
  ['two threads', '{ threads: 2 }'],
  ['the engine in a worker', '{ worker: true, threads: 2 }'],
])('%s', async (name, config) => {
  const script = join(inject('installation'), `exit-${name.length}.mjs`);
  writeFileSync(
    script,
    `import { configure, Model, Tensor } from 'zeropoint';
configure(${config});
const model = await Model.load(${JSON.stringify(models.wakeWord.path)});
const session = await model.createSession();
const outputs = await session.run({ 'x.1': new Tensor('float32', new Float32Array(16 * 96), [1, 16, 96]) });
console.log(Object.keys(outputs).join());
`,
  );
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>(
    (done) => {
      execFile(process.execPath, [script], { timeout: 60_000 }, (error, out, messages) => {
        done({ code: error ? (error.code ?? error.signal) : 0, stdout: out, stderr: messages });
      });
    },
  );
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '53\n', stderr: '' });
});
