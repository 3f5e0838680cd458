/// <reference lib="webworker" />
// Keeps the page for use with the network off, sends the headers that the host may not send, and lets nothing out.
//
// The first visit keeps the start page at once, so that a reload isolates it soon; the page then asks for the rest. An
// update is different: it keeps all files before it waits, and takes over when the user says so. Files carry their
// hashes: a file of another version is never kept in the place of one of this version.
import { PrecacheController } from 'workbox-precaching';
import { headers } from './headers.ts';

declare const self: ServiceWorkerGlobalScope;

/** A file of the page. */
export interface Kept {
  url: string;
  /** Of the file's content, where the name does not change with it. */
  revision: string | null;
  integrity: string;
  /** Whether the start page names it, or is it. */
  first: boolean;
}

/** All files of the page: offline-plugin.ts fills it in. */
declare const FILES: readonly Kept[];

const files = new PrecacheController({ cacheName: `zeropoint-${new URL(self.registration.scope).pathname}` });
files.addToCacheList(FILES.map(({ url, revision, integrity }) => ({ url, revision, integrity })));

/** The file that an address means. Nothing of a query is sent on. */
function fileAt(address: string): string {
  const url = new URL(address, self.location.href);
  url.search = '';
  url.hash = '';
  if (url.pathname.endsWith('/')) url.pathname += 'index.html';
  return url.href;
}

/**
 * Files on their way. Nobody asks the network for one a second time: a browser that has no room for a large file in its own
 * cache lets the second request fail when the first has all of it.
 */
const coming = new Map<string, Promise<unknown>>();

/** A file as it is kept, or from the network; then it is kept. */
async function answerWith(file: string, cacheKey: string, event: ExtendableEvent): Promise<Response> {
  while (coming.has(cacheKey)) await coming.get(cacheKey);
  const answered = (async () => {
    const integrity = files.getIntegrityForCacheKey(cacheKey) ?? '';
    const [answer, done] = files.strategy.handleAll({
      // A file whose name does not change with its content may be stale in the browser's own cache.
      request: new Request(file, { integrity, cache: file === cacheKey ? 'default' : 'reload' }),
      event,
      params: { cacheKey, integrity },
    });
    const response = await answer;
    await done;
    return response;
  })();
  coming.set(
    cacheKey,
    answered.catch(() => undefined).then(() => coming.delete(cacheKey)),
  );
  return answered;
}

/** The same for the page: what cannot be kept, because the storage is full for example, serves it all the same. */
const servedWith = (file: string, cacheKey: string, event: ExtendableEvent): Promise<Response> =>
  answerWith(file, cacheKey, event).catch(() =>
    fetch(file, {
      cache: 'reload',
      credentials: 'omit',
      integrity: files.getIntegrityForCacheKey(cacheKey) ?? '',
    }),
  );

/** Keeps files, and says how many of them were not there yet. */
async function keep(wanted: readonly Kept[], event: ExtendableEvent): Promise<number> {
  const cache = await caches.open(files.strategy.cacheName);
  let added = 0;
  for (const { url } of wanted) {
    const file = fileAt(url);
    const cacheKey = files.getCacheKeyForURL(file);
    if (!cacheKey || (await cache.match(cacheKey))) continue;
    const { ok, status } = await answerWith(file, cacheKey, event);
    if (!ok) throw new Error(`${url}: ${status}`);
    added += 1;
  }
  return added;
}

/** Documents and workers need the headers. Others stay as they are: browsers keep compiled code beside those. */
function withHeaders(response: Response, { mode, destination }: Request): Response {
  if (mode !== 'navigate' && destination !== 'worker' && destination !== 'sharedworker') return response;
  const all = new Headers(response.headers);
  for (const [name, value] of Object.entries(headers)) all.set(name, value);
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers: all });
}

/** Files of the page, others of its origin from the network, and nothing else. */
async function answer(event: FetchEvent): Promise<Response> {
  const { request } = event;
  if (request.method !== 'GET' || new URL(request.url).origin !== self.location.origin)
    return Response.error();
  const file = fileAt(request.url);
  const cacheKey = files.getCacheKeyForURL(file);
  if (cacheKey) return withHeaders(await servedWith(file, cacheKey, event), request);
  if (request.mode === 'navigate') return fetch(request); // a document of somebody else
  return withHeaders(await fetch(file, { credentials: 'omit' }), request);
}

self.addEventListener('fetch', (event) => event.respondWith(answer(event)));

self.addEventListener('install', (event) => {
  const wanted = self.registration.active ? FILES : FILES.filter(({ first }) => first);
  event.waitUntil(keep(wanted, event));
});

self.addEventListener('activate', (event) => {
  files.activate(event); // forgets the files of the version before
  event.waitUntil(self.clients.claim());
});

/** What the page asks for, and the answer that it gets. */
export interface Requests {
  /** Keeps all files: how many of them were not there yet, or what went wrong. */
  keep: { added: number } | { problem: string };
  /** Takes over from the version before, unless that one is open in other windows: their number. */
  takeOver: { others: number };
}

const requests: { [Name in keyof Requests]: (event: ExtendableMessageEvent) => Promise<Requests[Name]> } = {
  async keep(event) {
    try {
      return { added: await keep(FILES, event) };
    } catch (error) {
      return { problem: error instanceof Error ? error.message : String(error) };
    }
  },
  async takeOver() {
    const { scope } = self.registration;
    const open = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    const others = open.filter(({ url }) => fileAt(url) === fileAt(scope)).length - 1;
    if (others <= 0) await self.skipWaiting();
    return { others: Math.max(0, others) };
  },
};

self.addEventListener('message', (event) => {
  const request = requests[event.data as keyof Requests];
  event.waitUntil(request(event).then((reply) => event.ports[0]?.postMessage(reply)));
});
