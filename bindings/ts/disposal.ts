// Objects of the engine's that JavaScript holds: given back on dispose(), or when they are collected.
import type { Client } from './engine/client.ts';
import type { Id } from './engine/run-host.ts';
import { ZeropointError } from './errors.ts';

interface Held {
  engine: Client;
  id: Id;
  letGo: () => void;
}

const forgotten = new FinalizationRegistry<Held>(({ engine, id, letGo }) => {
  engine.release(id);
  letGo();
});

/** An object in the engine, owned by one object of JavaScript's. */
export class Owned {
  readonly engine: Client;
  readonly #id: Id;
  readonly #letGo: () => void;
  readonly #what: string;
  #disposed = false;

  constructor(owner: object, what: string, engine: Client, id: Id) {
    this.engine = engine;
    this.#id = id;
    this.#what = what;
    this.#letGo = engine.hold();
    forgotten.register(owner, { engine, id, letGo: this.#letGo }, this);
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
    try {
      if (!this.engine.ended) await this.engine.call('release', [this.#id]);
    } catch (error) {
      if (!this.engine.ended) throw error; // with an engine that ends, all is freed
    } finally {
      this.#letGo();
    }
  }
}
