// The tests use what users get: the packed tarball, installed without a network.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder that the package was installed in. */
    installation: string;
    tarball: string;
  }
}

export default function setup(project: TestProject): void {
  const installation = join(root, 'build', 'package-tests');
  rmSync(installation, { recursive: true, force: true });
  mkdirSync(installation, { recursive: true });
  writeFileSync(join(installation, 'package.json'), '{ "private": true, "type": "module" }\n');
  const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', installation], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [{ filename }] = JSON.parse(packed);
  const tarball = join(installation, filename);
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', '--loglevel=error', tarball], {
    cwd: installation,
    stdio: 'inherit',
  });
  project.provide('installation', installation);
  project.provide('tarball', tarball);
}
