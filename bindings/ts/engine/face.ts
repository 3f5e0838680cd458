// The engine as a worker shows it, called through Comlink. Errors travel as values.
import { transfer } from 'comlink';
import {
  callHost,
  type HostMethod,
  type HostOptions,
  type Result,
  type RunHost,
  type RunSlice,
} from './run-host.ts';

let host: RunHost | undefined;

/** Opens the engine of a package entry. */
export type Opener = (options: HostOptions) => Promise<RunHost>;

/** The buffers of a written model or of a run's outputs: moved to the caller, not copied. */
function buffersOf(value: unknown): ArrayBuffer[] {
  if (value instanceof Uint8Array) return [value.buffer as ArrayBuffer];
  const outputs = (value as Partial<RunSlice> | undefined)?.outputs ?? [];
  return outputs.flatMap(({ data }) => (ArrayBuffer.isView(data) ? [data.buffer as ArrayBuffer] : []));
}

export const faceOf = (openHost: Opener) => ({
  /** Holds the lock for as long as this thread lives. False: it cannot. */
  hold(name: string): Promise<boolean> | boolean {
    const locks = (globalThis.navigator as Navigator | undefined)?.locks;
    if (!locks) return false;
    return new Promise((held) => {
      locks
        .request(name, () => {
          held(true);
          return new Promise(() => {});
        })
        .catch(() => held(false));
    });
  },

  async open(options: HostOptions): Promise<Result<unknown>> {
    const opened = await callHost({ open: () => openHost(options) } as never, 'open' as never, []);
    if ('error' in opened) return opened;
    host = opened.value as RunHost;
    return { value: host.info() };
  },

  async call(method: HostMethod, args: unknown[]): Promise<Result<unknown>> {
    if (!host) {
      return { error: { code: 'internal', message: 'the engine is not open', details: {}, fatal: true } };
    }
    const result = await callHost(host, method, args);
    return 'value' in result ? transfer(result, buffersOf(result.value)) : result;
  },
});

export type WorkerFace = ReturnType<typeof faceOf>;
