// The project's own tools end with all that they started, and say which signal it was.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { root, temporaryFolder } from './helpers.ts';

const folder = temporaryFolder();
const tools = pathToFileURL(join(root, 'tools', 'process.mjs')).href;

/** Whether a process is there and is no zombie: nobody may wait for what lost its parent. */
async function isRunning(pid: number): Promise<boolean> {
  const ps = spawn('ps', ['-o', 'stat=', '-p', `${pid}`]);
  let state = '';
  ps.stdout.on('data', (text) => {
    state += text;
  });
  await once(ps, 'close');
  return state.trim() !== '' && !state.startsWith('Z');
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s', async (signal, expected) => {
  const made = join(folder, signal);
  mkdirSync(made);
  // A program that starts another one, and ends for no signal but the last.
  const stubborn = `trap "" TERM; sleep 300 & echo $!; wait`;
  writeFileSync(
    join(folder, `${signal}.mjs`),
    `import { rmSync } from 'node:fs';
import { endAtSignals, runMain, start } from ${JSON.stringify(tools)};
await runMain(async () => {
  endAtSignals(() => rmSync(${JSON.stringify(made)}, { recursive: true }));
  const child = start('sh', ['-c', ${JSON.stringify(stubborn)}], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.on('data', (pid) => console.log(JSON.stringify([child.pid, Number(pid)])));
  await new Promise((done) => child.on('close', done));
  await new Promise(() => {});
});
`,
  );
  const program = spawn(process.execPath, [join(folder, `${signal}.mjs`)]);
  const [line] = await once(program.stdout, 'data');
  const pids: number[] = JSON.parse(line);
  for (const pid of pids) expect(await isRunning(pid)).toBe(true);
  program.kill(signal);
  const [code] = await once(program, 'close');
  expect(code).toBe(expected);
  for (const pid of pids) expect(await isRunning(pid)).toBe(false);
  expect(existsSync(made)).toBe(false);
});
