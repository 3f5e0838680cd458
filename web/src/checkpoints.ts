// Trainings that are not over, kept by the browser (IndexedDB) until they end or are forgotten: a page that is closed
// or reloaded goes on from the last whole epoch.
import type { SampleSet } from './sample-set.ts';
import { type Settings, type TrainingSettings, toOptions } from './settings.ts';
import type { LossPoint } from './work.ts';

export interface Checkpoint {
  key: string;
  /** How it is trained. */
  training: TrainingSettings;
  /** Whole epochs so far. */
  epoch: number;
  /** What the engine goes on from: TrainingOptions.resume. */
  state: Uint8Array;
  points: readonly LossPoint[];
  /** Milliseconds since 1970. */
  savedAt: number;
}

/** Those beyond belong to trainings that nobody came back to. */
const mostKept = 3;

/** In hexadecimal digits; undefined where the browser has no cryptography: on pages that are not secure. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  const hash = await globalThis.crypto.subtle?.digest('SHA-256', bytes);
  return hash && Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What a training is found by: its model, its samples, and what is quantized how, but not how it is trained. */
export async function checkpointKey(
  model: string | undefined,
  samples: SampleSet | undefined,
  settings: Settings,
): Promise<string | undefined> {
  if (model === undefined || samples?.identity === undefined) return undefined;
  const scheme = toOptions({ ...settings, mode: 'qat', training: undefined });
  return sha256(new TextEncoder().encode(JSON.stringify([model, samples.identity, scheme])));
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('zeropoint', 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore('checkpoints', { keyPath: 'key' }).createIndex('savedAt', 'savedAt');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Fulfilled when what `work` asks for is done, with the answer to what it returns. */
async function inStore<T>(
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const database = await open();
  try {
    return await new Promise<T>((resolve, reject) => {
      const transaction = database.transaction('checkpoints', mode);
      const request = work(transaction.objectStore('checkpoints'));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export const findCheckpoint = (key: string): Promise<Checkpoint | undefined> =>
  inStore('readonly', (store) => store.get(key));

export const forgetCheckpoint = (key: string): Promise<void> =>
  inStore('readwrite', (store) => store.delete(key));

/** In place of the one with the same key. */
export const saveCheckpoint = (checkpoint: Checkpoint): Promise<IDBValidKey> =>
  inStore('readwrite', (store) => {
    const request = store.put(checkpoint);
    let kept = 0;
    const newestFirst = store.index('savedAt').openKeyCursor(null, 'prev');
    newestFirst.onsuccess = () => {
      const cursor = newestFirst.result;
      if (!cursor) return;
      kept += 1;
      if (kept > mostKept) store.delete(cursor.primaryKey);
      cursor.continue();
    };
    return request;
  });
