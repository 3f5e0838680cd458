// The package as users get it: packed, and installed from the tarball without a network.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Installs it into a new folder of build/. Gives that folder, and the tarball. */
export function installPackage(name: string): { installation: string; tarball: string } {
  const installation = join(root, 'build', name);
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
  return { installation, tarball };
}
