// A program that uses the package ends when its work is done, and not before.
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { models } from './helpers.ts';

interface Ended {
  code: unknown;
  stdout: string;
  stderr: string;
}

/** Runs Node where the package is installed. */
function runNode(args: string[]): Promise<Ended> {
  return new Promise((done) => {
    execFile(
      process.execPath,
      args,
      { cwd: inject('installation'), timeout: 60_000, killSignal: 'SIGKILL' },
      (error, stdout, stderr) => {
        done({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
      },
    );
  });
}

/** Runs a program in a file. */
function run(name: string, program: string): Promise<Ended> {
  const script = join(inject('installation'), `${name}.mjs`);
  writeFileSync(script, program);
  return runNode(['--expose-gc', script]);
}

/** Loads a model, and runs it. */
const runsModel = `const model = await Model.load(${JSON.stringify(models.wakeWord.path)});
  const session = await model.createSession();
  const outputs = await session.run({ 'x.1': new Tensor('float32', new Float32Array(16 * 96), [1, 16, 96]) });`;

test.each([
  ['one thread', '{ threads: 1 }'],
  ['two threads', '{ threads: 2 }'],
  ['the engine in a worker', '{ worker: true, threads: 2 }'],
])('%s', async (name, config) => {
  const ended = await run(
    `exit-${name.length}`,
    `import { configure, Model, Tensor } from 'zeropoint';
configure(${config});
${runsModel}
console.log(Object.keys(outputs).join());
`,
  );
  expect(ended).toEqual({ code: 0, stdout: '53\n', stderr: '' });
});

test.each(['false', 'true'])(
  'a program that is a string, with threads; the engine in a worker: %s',
  async (worker) => {
    const program = `import { configure, Model, Tensor } from 'zeropoint';
configure({ worker: ${worker}, threads: 2 });
${runsModel}
console.log(Object.keys(outputs).join());`;
    const ended = await runNode(['--input-type=module', '-e', program]);
    expect(ended).toEqual({ code: 0, stdout: '53\n', stderr: '' });
  },
);

test('an engine that lost its thread holds nothing up when it is collected as garbage', async () => {
  const ended = await run(
    'exit-lost',
    `import { createRequire, syncBuiltinESMExports } from 'node:module';
const threads = createRequire(import.meta.url)('node:worker_threads');
const started = [];
threads.Worker = class extends threads.Worker {
  constructor(...args) {
    super(...args);
    started.push(this);
  }
};
syncBuiltinESMExports();
const { configure, Model, Tensor } = await import('zeropoint');
configure({ worker: false, threads: 2 });
await (async () => {
  ${runsModel}
  await Promise.all(started.splice(0).map((thread) => thread.terminate()));
  await session.run({}).catch(({ code }) => console.log(code));
})();
configure({ threads: 1 });
for (let round = 0; round < 5; ++round) {
  gc();
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log('ended');
`,
  );
  expect(ended).toEqual({ code: 0, stdout: 'engine-lost\nended\n', stderr: '' });
});
