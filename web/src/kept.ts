// What the browser keeps between visits (IndexedDB): models, samples, settings and runs, and trainings that are not over.
// All of it is on the user's machine, and goes with one call.
import { type DBSchema, deleteDB, type IDBPDatabase, openDB } from 'idb';
import type { ImageOptions } from 'zeropoint';
import type { Columns } from './samples/labels.ts';
import type { Settings, TrainingSettings } from './settings.ts';
import type { LossPoint, Run } from './work.ts';

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

export type Source = 'demo' | 'files' | 'synthetic';

/** A model that somebody works on, without its files and runs. */
export interface Project {
  id: string;
  name: string;
  /** Of the model's files. */
  size: number;
  demo: string | undefined;
  source: Source;
  image: ImageOptions | undefined;
  dims: Record<string, number> | undefined;
  columns: Columns | undefined;
  /** What the user said that the model answers with. */
  kind: string | undefined;
  settings: Settings | undefined;
  runs: number;
  savedAt: number;
}

export type Role = 'model' | 'weights' | 'sample' | 'labels';

export interface KeptFile {
  id: string;
  project: string;
  role: Role;
  order: number;
  file: File;
}

export type KeptRun = Run & { project: string };

interface Schema extends DBSchema {
  checkpoints: { key: string; value: Checkpoint; indexes: { savedAt: number } };
  projects: { key: string; value: Project };
  files: { key: string; value: KeptFile; indexes: { project: string } };
  runs: { key: string; value: KeptRun; indexes: { project: string } };
}

const name = 'zeropoint';
let opening: Promise<IDBPDatabase<Schema>> | undefined;

/** A browser may never answer: its storage is broken, or a tab with an older page holds it. Milliseconds. */
const patience = 10_000;
let isLate = false;

const unanswered = () => new Error('its storage does not answer; close other tabs with this page');

/** Its result, or an error where it takes too long. */
async function inTime<T>(work: Promise<T>, onLate: () => void = () => {}): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      onLate();
      reject(unanswered());
    }, patience);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Why the browser keeps nothing, as the end of a sentence. */
export function whyNotKept(error: unknown): string {
  const { name, message } = error instanceof Error ? error : { name: '', message: String(error) };
  if (name === 'QuotaExceededError') return 'there is no more room in its storage';
  if (typeof indexedDB === 'undefined' || indexedDB === null) return 'it has no storage here';
  if (name === 'SecurityError' || name === 'InvalidStateError') return 'its storage is closed to this page';
  return message;
}

/** Waits for all. Of several errors it throws the cause; the others are of requests that were given up with it. */
async function all(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  if (errors.length) throw errors.find(({ name }) => name !== 'AbortError') ?? errors[0];
}

async function database(): Promise<IDBPDatabase<Schema>> {
  opening ??= openDB<Schema>(name, 2, {
    upgrade(db, before) {
      if (before < 1)
        db.createObjectStore('checkpoints', { keyPath: 'key' }).createIndex('savedAt', 'savedAt');
      if (before < 2) {
        db.createObjectStore('projects', { keyPath: 'id' });
        db.createObjectStore('files', { keyPath: 'id' }).createIndex('project', 'project');
        db.createObjectStore('runs', { keyPath: 'id' }).createIndex('project', 'project');
      }
    },
    // Another tab has a newer page, or forgets everything.
    blocking() {
      void opening?.then((db) => db.close());
      opening = undefined;
    },
    terminated() {
      opening = undefined;
    },
  })
    .catch((error: unknown) => {
      opening = undefined;
      throw error;
    })
    .finally(() => {
      isLate = false;
    });
  // Later calls do not wait as long again.
  if (isLate) throw unanswered();
  return inTime(opening, () => {
    isLate = true;
  });
}

// ---- projects

/** The newest first. */
export async function projects(): Promise<Project[]> {
  const all = await (await database()).getAll('projects');
  return all.sort((a, b) => b.savedAt - a.savedAt);
}

export async function project(
  id: string,
): Promise<{ project: Project; files: KeptFile[]; runs: Run[] } | undefined> {
  const db = await database();
  const found = await db.get('projects', id);
  if (!found) return undefined;
  const files = await db.getAllFromIndex('files', 'project', id);
  const runs = await db.getAllFromIndex('runs', 'project', id);
  return {
    project: found,
    files: files.sort((a, b) => a.order - b.order),
    runs: runs.sort((a, b) => a.number - b.number),
  };
}

export const saveProject = async (project: Project): Promise<unknown> =>
  (await database()).put('projects', project);

export async function saveFiles(files: readonly KeptFile[]): Promise<void> {
  const transaction = (await database()).transaction('files', 'readwrite');
  await all([...files.map((file) => transaction.store.put(file)), transaction.done]);
}

export async function forgetFiles(project: string, roles: readonly Role[]): Promise<void> {
  const transaction = (await database()).transaction('files', 'readwrite');
  for (const { id, role } of await transaction.store.index('project').getAll(project)) {
    if (roles.includes(role)) void transaction.store.delete(id);
  }
  await transaction.done;
}

export const saveRun = async (run: KeptRun): Promise<unknown> => (await database()).put('runs', run);
export const forgetRun = async (id: string): Promise<void> => (await database()).delete('runs', id);

export async function forgetProject(id: string): Promise<void> {
  const transaction = (await database()).transaction(['projects', 'files', 'runs'], 'readwrite');
  void transaction.objectStore('projects').delete(id);
  for (const store of ['files', 'runs'] as const) {
    for (const key of await transaction.objectStore(store).index('project').getAllKeys(id)) {
      void transaction.objectStore(store).delete(key);
    }
  }
  await transaction.done;
}

/** Everything, settings of the page included. */
export async function forgetEverything(): Promise<void> {
  try {
    localStorage.clear();
  } catch {
    // Storage that is forbidden holds nothing.
  }
  void opening?.then(
    (db) => db.close(),
    () => undefined,
  );
  opening = undefined;
  await inTime(deleteDB(name));
}

// ---- trainings that are not over

/** Older ones belong to trainings that nobody came back to. */
const mostCheckpoints = 3;

export const findCheckpoint = async (key: string): Promise<Checkpoint | undefined> =>
  (await database()).get('checkpoints', key);

export const forgetCheckpoint = async (key: string): Promise<void> =>
  (await database()).delete('checkpoints', key);

/** In place of the one with the same key. */
export async function saveCheckpoint(checkpoint: Checkpoint): Promise<void> {
  const transaction = (await database()).transaction('checkpoints', 'readwrite');
  await transaction.store.put(checkpoint);
  const oldestFirst = await transaction.store.index('savedAt').getAllKeys();
  for (const key of oldestFirst.slice(0, -mostCheckpoints)) void transaction.store.delete(key);
  await transaction.done;
}
