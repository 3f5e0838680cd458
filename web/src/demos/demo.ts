// A built-in demo: a model, samples for it, and a view in which the original and the quantized model do the same thing
// side by side. The page knows only this interface; add a folder and list it in index.ts.
import type { ComponentType } from 'preact';
import type { Feeds, ImageOptions, Model } from 'zeropoint';
import type { Names } from '../answers/kind.ts';
import type { LabelledSamples } from '../samples/sample-set.ts';

/** A file that a demo is packed with. `what`: the file in words, for the error when it cannot be loaded. */
export async function packed(url: string, what: string, signal?: AbortSignal) {
  const response = await fetch(url, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw new Error(`the demo's ${what} could not be loaded: the connection failed`, { cause: error });
  });
  if (!response.ok) throw new Error(`the demo's ${what} could not be loaded: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Demo.load of a model that is packed with the page. */
export const modelAt =
  (url: string, name: string): Demo['load'] =>
  async (signal) => ({ name, bytes: await packed(url, 'model', signal) });

/** What a demo's view keeps while another step is shown, by names of its own. */
export type DemoMemory = Map<string, unknown>;

export interface DemoViewProps {
  memory: DemoMemory;
  original: Model;
  /** Undefined until the model was quantized. */
  quantized: Model | undefined;
  test: LabelledSamples | undefined;
}

export interface Demo {
  id: string;
  title: string;
  summary: string;
  /** Whose the model and its data are, and under which licence, in a sentence. */
  licence: string;
  /** The goal that it starts with unless the visitor chooses, by its id. Undefined: that of any other model. */
  goal?: string;
  /** The model's file, with its name. */
  load(signal: AbortSignal): Promise<{ name: string; bytes: Uint8Array<ArrayBuffer> }>;
  /** What `samples` gives, in words. */
  samplesLabel: string;
  /** What they are, in a sentence. */
  samplesNote: string;
  sampleCount: number;
  /** Samples like those that the view shows, but not the same. */
  samples(model: Model, limit: number): AsyncIterable<Feeds>;
  /** How they are made of images, if they are: to show them. */
  image?: ImageOptions;
  /** What its classes or characters are called. */
  names?(): Promise<Names>;
  /** The right class of each of them, if that is known. */
  labels?: LabelledSamples['labels'];
  /** Samples that the model never saw, with labels: right answers are counted on them. */
  test?(model: Model): LabelledSamples;
  /** Loaded when it is shown: by lazily(). */
  View: ComponentType<DemoViewProps>;
}
