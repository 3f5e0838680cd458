// Modules that come without types of their own.

// dist/wasm/*.mjs: the engine as Emscripten links it; tools/build.mjs puts it there.
declare module '*.mjs' {
  const factory: import('./builds.ts').Factory<never>;
  export default factory;
}

/** dist/wasm/*.wasm, gzipped and in Base64: rolldown.config.mjs packs it. */
declare module '*.wasm' {
  const packed: string;
  export default packed;
}

declare module 'comlink/dist/esm/node-adapter.mjs' {
  export default function nodeEndpoint(port: unknown): import('comlink').Endpoint;
}

/** web/src/node-report.ts, where rolldown.config.mjs finds it. */
declare module 'zeropoint-report' {
  export const writeReport: import('./cli/report.ts').WriteReport;
}
