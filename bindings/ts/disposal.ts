// Objects of the engine's that JavaScript holds: given back on dispose(), or when they are collected.
import type { Engine } from './engine/client.ts';
import type { Id } from './engine/host.ts';
import { ZeropointError } from './errors.ts';

/** Symbol.asyncDispose; where the runtime has none, the symbol that compilers of `await using` fall back to. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for('Symbol.asyncDispose') as typeof Symbol.asyncDispose);

interface Held {
  engine: Engine;
  id: Id;
}

const forgotten = new FinalizationRegistry<Held>(({ engine, id }) => engine.release(id));

/** An object in the engine, owned by one object of JavaScript's. */
export class Owned {
  readonly engine: Engine;
  readonly #id: Id;
  readonly #what: string;
  #disposed = false;

  constructor(owner: object, what: string, engine: Engine, id: Id) {
    this.engine = engine;
    this.#id = id;
    this.#what = what;
    forgotten.register(owner, { engine, id }, this);
  }

  /** The object's number, or an error after dispose(). */
  get id(): Id {
    if (this.#disposed) {
      throw new ZeropointError('disposed', `the ${this.#what} was used after dispose()`);
    }
    return this.#id;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    forgotten.unregister(this);
    if (!this.engine.failed) await this.engine.call('release', [this.#id]);
  }
}
