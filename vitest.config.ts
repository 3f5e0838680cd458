import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        // Where bindings/ts finds them once it is built.
        resolve: {
          alias: [
            { find: /^\.\/wasm\//, replacement: fileURLToPath(new URL('dist/wasm/', import.meta.url)) },
          ],
        },
        test: {
          name: 'package',
          include: ['tests/package/**/*.test.ts'],
          globalSetup: 'tests/package/global-setup.ts',
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false, // each file has a browser of its own
          retry: process.env.CI ? 1 : 0, // other programs use the machine too: the run names what passed at the second try
        },
      },
    ],
  },
});
