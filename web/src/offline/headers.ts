// What the page may do, as headers: the server that `npm start` runs, the service worker and hosts that read a `_headers`
// file send them. The policy is in the page itself too (offline-plugin.ts), for hosts that send no headers.

/** Threads need shared memory, which browsers give only to pages that are isolated across origins. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** What a Content-Security-Policy lets the page load, by directive. */
export type Sources = Record<string, string>;

/** Nothing goes to another origin. Addresses of blobs and data lead nowhere: they name what the page holds already. */
export const sources: Sources = {
  'default-src': "'none'",
  'script-src': "'self' 'wasm-unsafe-eval'",
  'style-src': "'self'",
  'img-src': "'self' blob: data:",
  'media-src': "'self' blob:",
  'font-src': "'self'",
  'connect-src': "'self'",
  'worker-src': "'self' blob:",
  'manifest-src': "'self'",
  'object-src': "'none'",
  'frame-src': "'none'",
  'base-uri': "'none'",
  'form-action': "'none'",
};

export const policyOf = (allowed: Sources): string =>
  Object.entries(allowed)
    .map(([directive, list]) => `${directive} ${list}`)
    .join('; ');

export const headers: Readonly<Record<string, string>> = {
  ...isolation,
  'Content-Security-Policy': policyOf(sources),
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-DNS-Prefetch-Control': 'off',
};
