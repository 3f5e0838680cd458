import { gunzipSync } from 'fflate';

/** A module that came gzipped and in Base64 (rolldown.config.mjs). */
export const unpacked = (packed: string): Promise<WebAssembly.Module> =>
  WebAssembly.compile(gunzipSync(Uint8Array.from(atob(packed), (c) => c.charCodeAt(0))));
