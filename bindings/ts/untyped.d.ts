// Modules that come without types of their own.

// dist/wasm/*.mjs: the engine as Emscripten links it; tools/build.mjs puts it there.
declare module '*.mjs' {
  const factory: (options: {
    locateFile?: (file: string) => string;
  }) => Promise<import('./engine/module.ts').EngineModule>;
  export default factory;
}

declare module 'comlink/dist/esm/node-adapter.mjs' {
  export default function nodeEndpoint(port: unknown): import('comlink').Endpoint;
}
