/// <reference lib="esnext.disposable" preserve="true" />

/** Symbol.asyncDispose; where the runtime has none, the symbol that compilers of `await using` fall back to. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for('Symbol.asyncDispose') as typeof Symbol.asyncDispose);
