// The projects of `npm run test:ecosystem`. Each is a folder here, with what shared/ has in it too and the packed package in
// its node_modules. `npm test` runs those that are `quick`: they need no tool that the project does not have itself.

/**
 * @typedef {object} Project
 * @property {string} title
 * @property {string} [folder] By default the project's name.
 * @property {boolean} [quick]
 * @property {string[][]} [build] Programs and what they are told, in the project's folder.
 * @property {string} [copy] Where the package's worker and WebAssembly are copied to.
 * @property {string} [serve] The folder that a page is in; there is none: a program for Node.
 * @property {string[]} [dev] A server to start instead, which says its address.
 * @property {string[]} [run] The program; MODEL is the model's path.
 * @property {string[]} [tools] The packages whose versions docs/ECOSYSTEM.md names; `browser` and `node` are those that run it.
 * @property {boolean} [runs] It has `zeropoint/run`: it runs the model, and quantizes nothing.
 * @property {boolean} [crossOrigin] The package is served from another origin.
 * @property {{ threads?: boolean, worker?: boolean }} expects With an isolated page, where there are two.
 */

/** @type {Record<string, Project>} */
export const projects = {
  plain: {
    title: 'plain modules, import map',
    tools: ['browser'],
    quick: true,
    serve: '.',
    expects: { threads: true, worker: true },
  },
  csp: {
    title: 'plain modules, content security policy of extensions (MV3)',
    tools: ['browser'],
    quick: true,
    serve: '.',
    expects: { threads: true, worker: true },
  },
  cdn: {
    title: 'the package from another origin',
    tools: ['browser'],
    quick: true,
    serve: '.',
    crossOrigin: true,
    expects: { threads: true, worker: true },
  },
  electron: {
    title: 'a page with Node’s process, as Electron has it',
    tools: ['browser'],
    quick: true,
    serve: '.',
    expects: { threads: true, worker: true },
  },
  vite: {
    title: 'Vite, no configuration',
    tools: ['vite'],
    folder: 'shared',
    quick: true,
    build: [['vite', 'build', '--base', './', '--logLevel', 'warn']],
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  'vite-dev': {
    title: 'Vite’s server, no configuration',
    tools: ['vite'],
    folder: 'shared',
    quick: true,
    dev: ['vite', '--host', '127.0.0.1', '--port', '0'],
    expects: { worker: true },
  },
  'vite-react': {
    title: 'Vite and React',
    tools: ['vite', 'react'],
    quick: true,
    build: [['vite', 'build', '--base', './', '--logLevel', 'warn']],
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  'vite-worker': {
    title: 'Vite, in a worker of one’s own',
    tools: ['vite'],
    quick: true,
    build: [['vite', 'build', '--base', './', '--logLevel', 'warn']],
    serve: 'dist',
    expects: { threads: true },
  },
  webpack: {
    title: 'webpack, no configuration for the package',
    tools: ['webpack'],
    build: [['node', 'build.js']],
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  'next-webpack': {
    title: 'Next, webpack',
    tools: ['next', 'react'],
    folder: 'next',
    build: [['next', 'build', '--webpack']],
    serve: 'out',
    expects: { threads: true, worker: true },
  },
  'next-turbopack': {
    title: 'Next, Turbopack',
    tools: ['next', 'react'],
    folder: 'next',
    build: [['next', 'build', '--turbopack']],
    serve: 'out',
    expects: { threads: true, worker: true },
  },
  esbuild: {
    title: 'esbuild, files copied',
    tools: ['esbuild'],
    folder: 'bundled',
    build: [['esbuild', 'main.js', '--bundle', '--splitting', '--format=esm', '--minify', '--outdir=dist']],
    copy: 'dist/zeropoint',
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  rollup: {
    title: 'Rollup, files copied',
    tools: ['rollup'],
    folder: 'bundled',
    build: [['rollup', 'main.js', '--plugin', 'node-resolve', '--format', 'es', '--dir', 'dist']],
    copy: 'dist/zeropoint',
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  rolldown: {
    title: 'rolldown, files copied',
    tools: ['rolldown'],
    folder: 'bundled',
    quick: true,
    build: [['rolldown', 'main.js', '--format', 'esm', '--minify', '--dir', 'dist']],
    copy: 'dist/zeropoint',
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  inline: {
    title: 'zeropoint/inline, one file (rolldown)',
    tools: ['rolldown'],
    quick: true,
    build: [['rolldown', 'main.js', '--format', 'iife', '--minify', '--file', 'dist/main.js']],
    serve: 'dist',
    expects: { threads: false, worker: false },
  },
  'service-worker': {
    title: 'zeropoint/inline in a service worker (rolldown)',
    tools: ['rolldown'],
    quick: true,
    build: [
      ['rolldown', 'service-worker.js', '--format', 'iife', '--minify', '--file', 'dist/service-worker.js'],
      ['rolldown', 'main.js', '--format', 'esm', '--file', 'dist/main.js'],
    ],
    serve: 'dist',
    expects: { threads: false, worker: false },
  },
  run: {
    title: 'zeropoint/run, Vite, no configuration',
    tools: ['vite'],
    runs: true,
    quick: true,
    build: [['vite', 'build', '--base', './', '--logLevel', 'warn']],
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  'run-esbuild': {
    title: 'zeropoint/run, esbuild, files copied',
    tools: ['esbuild'],
    folder: 'run-bundled',
    runs: true,
    build: [['esbuild', 'main.js', '--bundle', '--splitting', '--format=esm', '--minify', '--outdir=dist']],
    copy: 'dist/zeropoint',
    serve: 'dist',
    expects: { threads: true, worker: true },
  },
  'run-inline': {
    title: 'zeropoint/run/inline, one file (rolldown)',
    tools: ['rolldown'],
    runs: true,
    quick: true,
    build: [['rolldown', 'main.js', '--format', 'iife', '--minify', '--file', 'dist/main.js']],
    serve: 'dist',
    expects: { threads: false, worker: false },
  },
  'run-node': {
    title: 'zeropoint/run, Node, require and import, beside the main entry',
    tools: ['node'],
    runs: true,
    quick: true,
    run: ['node', 'main.cjs'],
    expects: { threads: true, worker: false },
  },
  'node-esm': {
    title: 'Node, import',
    tools: ['node'],
    folder: 'shared',
    quick: true,
    run: ['node', 'node.js'],
    expects: { threads: true, worker: false },
  },
  'node-require': {
    title: 'Node, require',
    tools: ['node'],
    quick: true,
    run: ['node', 'main.cjs'],
    expects: { threads: true, worker: false },
  },
  'esbuild-node-esm': {
    title: 'esbuild for Node, modules',
    tools: ['esbuild', 'node'],
    folder: 'esbuild-node',
    build: [['esbuild', 'main.js', '--bundle', '--platform=node', '--format=esm', '--outfile=dist/main.mjs']],
    run: ['node', 'dist/main.mjs'],
    expects: { threads: true, worker: false },
  },
  'esbuild-node-cjs': {
    title: 'esbuild for Node, CommonJS',
    tools: ['esbuild', 'node'],
    folder: 'esbuild-node',
    build: [['esbuild', 'main.js', '--bundle', '--platform=node', '--format=cjs', '--outfile=dist/main.cjs']],
    run: ['node', 'dist/main.cjs'],
    expects: { threads: true, worker: false },
  },
  jest: {
    title: 'jest',
    tools: ['jest', 'node'],
    run: ['node', '--experimental-vm-modules', '../node_modules/jest/bin/jest.js', '--rootDir', '.'],
    expects: { threads: true, worker: false },
  },
  bun: {
    title: 'Bun',
    tools: ['bun'],
    folder: 'shared',
    run: ['bun', 'node.js'],
    expects: { worker: false },
  },
  deno: {
    title: 'Deno',
    tools: ['deno'],
    folder: 'shared',
    run: ['deno', 'run', '--allow-all', 'node.js'],
    expects: { worker: false },
  },
  types: {
    title: 'TypeScript, strict, skipLibCheck false',
    tools: ['typescript'],
    quick: true,
    build: [
      ['tsc', '--noEmit', '-p', 'tsconfig.json'],
      ['tsc', '--noEmit', '-p', 'tsconfig.json', '--module', 'nodenext', '--moduleResolution', 'nodenext'],
    ],
    expects: {},
  },
};
