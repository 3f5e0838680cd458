// A text that is searched, and how much of one.

/** So many sentences of a text are searched, and a file may have so many bytes. */
export const most = { sentences: 5000, bytes: 8_000_000 };

export interface Text {
  name: string;
  sentences: readonly string[];
  /** The pieces of each. */
  ids: readonly (readonly number[])[];
  /** Sentences of which the network reads the beginning. */
  cut: number;
  /** Sentences that are left out, behind the last one. */
  left: number;
}
