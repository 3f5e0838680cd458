import type { Taken } from './feeds.ts';
import type { QuantizeOptions, QuantizeReport } from './quantize.ts';
import { version } from './version.ts';

/** The name of the entry in metadata_props of the files that are written. */
export const provenanceKey = 'zeropoint';

/**
 * How a model was made: the entry `zeropoint` of a written file's metadata_props, as JSON. The same model, options and
 * samples give the same text: it has no time in it, and the keys of each object are in alphabetical order.
 */
export interface Provenance {
  version: string;
  /**
   * The options of quantize(), and its own choices where the caller left them open (`mode`, `format`). Of simplify(): `simplified`,
   * `dims` and `shapes`.
   */
  settings: Record<string, unknown>;
  /** The repairs that ran. */
  repairs: readonly string[];
  /** The file that the model was read from. Missing if the platform cannot hash (a page without https). */
  source?: { sha256: string };
  /** Those that calibration read. `sha256`: of the list of theirs, in order. */
  samples?: { count: number; sha256?: string };
}

const hex = (bytes: ArrayBuffer) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * The SHA-256 of bytes as they are in this moment, in hexadecimal digits; undefined where the platform has no WebCrypto,
 * as on pages without https.
 */
export async function sha256(bytes: Uint8Array): Promise<string | undefined> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return undefined;
  const own = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();
  try {
    return hex(await subtle.digest('SHA-256', own));
  } catch {
    return undefined; // more bytes than it takes
  }
}

/** Hashes samples one after the other. */
export class SamplesHash {
  count = 0;
  readonly #hashes: Promise<string | undefined>[] = [];

  /** Reads the sample in the call: its memory may be given away afterwards. */
  add(sample: Taken): void {
    this.count += 1;
    const text = new TextEncoder();
    for (const [name, { type, dims, data }] of [...sample].sort(([a], [b]) => (a < b ? -1 : 1))) {
      this.#hashes.push(sha256(text.encode(JSON.stringify([name, type, dims]))));
      const bytes = Array.isArray(data)
        ? text.encode(JSON.stringify(data))
        : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      this.#hashes.push(sha256(bytes));
    }
  }

  async digest(): Promise<string | undefined> {
    const hashes = await Promise.all(this.#hashes);
    return hashes.includes(undefined) ? undefined : sha256(new TextEncoder().encode(hashes.join('\n')));
  }
}

/** What options are for: the work, and not the result. */
const unsaid = [
  'calibration',
  'labels',
  'layerErrors',
  'threads',
  'onProgress',
  'signal',
  'onCheckpoint',
  'resume',
  'stop',
];

/** A value for JSON whose objects have their keys in order, and no entries that say nothing. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => item !== undefined && !unsaid.includes(key))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, ordered(item)] as const)
      .filter(([, item]) => JSON.stringify(item) !== '{}'),
  );
}

/** The text of the entry. */
export async function provenanceOf(
  options: QuantizeOptions | Readonly<Record<string, unknown>>,
  report: Pick<QuantizeReport, 'mode' | 'trials' | 'repairsRun'>,
  format: string,
  source: Promise<string | undefined> | undefined,
  samples: SamplesHash,
): Promise<string> {
  const chosen = report.trials.find(({ kept }) => kept)?.options;
  const [sourceHash, samplesHash] = [await source, samples.count > 0 ? await samples.digest() : undefined];
  const made: Provenance = {
    version,
    settings: { ...options, ...chosen, mode: report.mode, format },
    repairs: report.repairsRun,
    ...(sourceHash !== undefined && { source: { sha256: sourceHash } }),
    ...(samples.count > 0 && {
      samples: { count: samples.count, ...(samplesHash !== undefined && { sha256: samplesHash }) },
    }),
  };
  return JSON.stringify(ordered(made));
}
