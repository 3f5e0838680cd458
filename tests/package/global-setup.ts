// The tests use what users get: the packed tarball, installed without a network.
import type { TestProject } from 'vitest/node';
import { installPackage } from './install.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder that the package was installed in. */
    installation: string;
    tarball: string;
  }
}

export default function setup(project: TestProject): void {
  const { installation, tarball } = installPackage('package-tests');
  project.provide('installation', installation);
  project.provide('tarball', tarball);
}
