// The page's side of the service worker: registers it, reloads once where that isolates the page, and says what a visitor
// has to know. Nothing here runs while the page is being developed.
import { messageSW, Workbox } from 'workbox-window';
import type { Requests } from './service-worker.ts';

/** Something to tell the visitor, and what to do about it. */
export interface Notice {
  text: string;
  button?: string;
  act?: () => void;
}

/** One of each kind at a time. */
export type NoticeKind = 'update' | 'threads' | 'kept';

const notices = new Map<NoticeKind, Notice>();
const listeners = new Set<() => void>();

export function currentNotices(): [NoticeKind, Notice][] {
  return [...notices];
}

/** Calls `listener` after each change; the returned function ends that. */
export function onNotices(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed(): void {
  for (const listener of listeners) listener();
}

function show(kind: NoticeKind, notice: Notice): void {
  notices.set(kind, notice);
  changed();
}

export function dismiss(kind: NoticeKind): void {
  notices.delete(kind);
  changed();
}

let kept = false;

/** Whether this version works with the network off. */
export const isKept = (): boolean => kept;

const ask = <Name extends keyof Requests>(worker: ServiceWorker, name: Name): Promise<Requests[Name]> =>
  messageSW(worker, name as unknown as object);

/** A reload would take work from those who have begun. */
let begun = false;
for (const sign of ['pointerdown', 'keydown', 'change', 'drop'])
  addEventListener(sign, () => (begun = true), { capture: true, once: true });

const oneThread = (why: string) => show('threads', { text: `This page computes with one thread: ${why}.` });

/** That the page was reloaded to be isolated. A browser that refuses isolation would be asked again for ever. */
const reloaded = {
  key: 'zeropoint-reloaded',
  read(): boolean {
    try {
      return sessionStorage.getItem(this.key) !== null;
    } catch {
      return true; // without a note, no reload
    }
  },
  write(value: boolean): void {
    try {
      if (value) sessionStorage.setItem(this.key, 'yes');
      else sessionStorage.removeItem(this.key);
    } catch {
      // The page then stays as it is.
    }
  },
};

/** Once the service worker is active, a reload brings the headers that isolate the page. */
function isolate(): 'isolated' | 'reloading' | 'not isolated' {
  if (crossOriginIsolated) {
    reloaded.write(false);
    return 'isolated';
  }
  if (reloaded.read()) {
    oneThread('the browser did not isolate it from other pages');
    return 'not isolated';
  }
  const reload = () => {
    reloaded.write(true);
    location.reload();
  };
  if (begun) {
    show('threads', {
      text: 'This page computes with one thread. It can use all cores after a reload.',
      button: 'Reload',
      act: reload,
    });
    return 'not isolated';
  }
  reload();
  return 'reloading';
}

/** `waiting` keeps a new version, and takes over when the visitor says so. */
function announceUpdate(waiting: ServiceWorker): void {
  const update = async () => {
    // The old version's files are gone once the new one is in charge.
    navigator.serviceWorker.addEventListener('controllerchange', () => location.reload(), { once: true });
    const { others } = await ask(waiting, 'takeOver');
    if (others === 0) return;
    const tabs = others === 1 ? 'another tab shows' : `${others} other tabs show`;
    show('update', {
      text: `A new version is ready, but ${tabs} the old one. Close the other tabs first.`,
      button: 'Update',
      act: () => void update(),
    });
  };
  show('update', {
    text: 'A new version of this page is ready. The update reloads the page.',
    button: 'Update',
    act: () => void update(),
  });
}

/** Asks for a new version when the visitor comes back, once an hour at most. */
function lookForUpdates(registration: ServiceWorkerRegistration): void {
  let last = Date.now();
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'visible' || Date.now() - last < 3_600_000) return;
    last = Date.now();
    registration.update().catch(() => undefined); // the network is off
  });
}

/** The service worker, once it is in charge. Its first installation may fail. */
function activeOf(registration: ServiceWorkerRegistration): Promise<ServiceWorker> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const { active, installing, waiting } = registration;
      if (active) resolve(active);
      else if (!installing && !waiting) reject(new Error('a file arrived damaged'));
    };
    const { installing, waiting } = registration;
    (installing ?? waiting)?.addEventListener('statechange', look);
    look();
  });
}

async function keepEverything(worker: ServiceWorker): Promise<void> {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  if (connection?.saveData) return; // files that are used are kept all the same
  const reply = await ask(worker, 'keep');
  if ('problem' in reply) {
    // With the network off, the next visit goes on.
    if (navigator.onLine)
      show('kept', { text: `Not all of this page could be kept for use offline: ${reply.problem}` });
    return;
  }
  kept = true;
  changed();
  if (reply.added === 0) return;
  show('kept', { text: 'This page now works with the network off.' });
  setTimeout(() => dismiss('kept'), 10_000);
}

export async function goOffline(): Promise<void> {
  if (!import.meta.env.PROD) return;
  if (import.meta.env.MODE === 'single') {
    oneThread('it was opened from a file');
    return;
  }
  if (!('serviceWorker' in navigator)) {
    if (!crossOriginIsolated) oneThread('browsers give threads only to pages of https addresses');
    return;
  }
  try {
    const workbox = new Workbox('./sw.js');
    workbox.addEventListener('waiting', ({ sw }) => sw && announceUpdate(sw));
    // A browser that blocks service workers answers with nothing, where types promise a registration.
    const registration = (await workbox.register({ immediate: true }).catch(() => undefined)) ?? undefined;
    if (!registration) throw new Error('the browser allows no service worker');
    lookForUpdates(registration);
    const worker = await activeOf(registration);
    if (isolate() !== 'reloading') await keepEverything(worker);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    show('kept', { text: `This page could not be kept for use offline: ${problem}` });
    if (!crossOriginIsolated) oneThread('no service worker could isolate it');
  }
}
