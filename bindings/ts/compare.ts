import type { LayerError, OutputAgreement } from './engine/module.ts';
import { ZeropointError } from './errors.ts';
import { buffersOf, countOf, isSamples, SampleReader, type Samples, take } from './feeds.ts';
import { withTexts } from './findings.ts';
import { internals } from './loaded.ts';
import { Model } from './model.ts';
import * as check from './options.ts';
import type { Progress } from './quantize.ts';

/** How compare() works. */
export interface CompareOptions {
  /** Also compare the layers' outputs, which takes a second, slower run of each sample. Default: false. */
  layers?: boolean | undefined;
  /** Threads to run with. By default what configure() said. */
  threads?: number | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Stops the work; compare() then throws a ZeropointError with the code `cancelled`. */
  signal?: AbortSignal | undefined;
}

/** How two models agree. */
export interface Comparison {
  samples: number;
  /** Each output over all samples. */
  outputs: OutputAgreement[];
  /** Medians of a run, in milliseconds: an indication; `zeropoint bench` measures. */
  latency: { reference: number; candidate: number };
  /** The layers' outputs, in the order of the graph; empty unless asked for. */
  layers: LayerError[];
}

/** Runs a model and its quantized form on the same samples, and measures how far their outputs agree. */
export async function compare(
  reference: Model,
  candidate: Model,
  samples: Samples,
  given: CompareOptions = {},
): Promise<Comparison> {
  const options = check.taken(given);
  for (const [name, model] of Object.entries({ reference, candidate })) {
    if (!(model instanceof Model)) throw new ZeropointError('invalid-argument', `${name}: a Model is needed`);
  }
  if (!isSamples(samples)) {
    throw new ZeropointError('invalid-argument', 'samples: an Iterable or AsyncIterable of feeds is needed');
  }
  check.checkOptions(options, {
    layers: check.boolean,
    threads: check.integer(1, 64),
    onProgress: check.func,
    signal: check.signal,
  });
  const { engine, id: first } = internals.of(reference);
  const { engine: other, id: second } = internals.of(candidate);
  if (engine !== other) {
    throw new ZeropointError('invalid-argument', 'the two models were loaded by different engines', {
      hint: 'load both after configure()',
    });
  }
  const threads = Math.min(options.threads ?? engine.threads, engine.info.maxThreads);
  const reader = new SampleReader(samples);
  const job = await engine.call('createComparison', [first, second, threads, options.layers ?? false]);
  try {
    const total = countOf(samples);
    let count = 0;
    for (;;) {
      const sample = await reader.read(count, options.signal);
      if (!sample) break;
      const taken = take(sample.feeds, reference.inputs);
      await engine.call('beginComparison', [job, taken], buffersOf(taken));
      await engine.drive(
        (milliseconds) => engine.call('advanceComparison', [job, milliseconds]),
        ({ finished }) => finished,
        options.signal,
        (slice) => {
          const done = count + Math.min(slice.done / slice.total, 1);
          options.onProgress?.({ phase: 'compare', done, total });
        },
      );
      count += 1;
    }
    if (count === 0) throw new ZeropointError('invalid-argument', 'samples: there is no sample');
    const result = await engine.call('comparisonResult', [job]);
    const { samples: seen, outputs, referenceMs, candidateMs } = result;
    const layers = result.layers.map((layer) => withTexts<LayerError>(engine.schema, layer));
    return {
      samples: seen,
      outputs,
      latency: { reference: referenceMs, candidate: candidateMs },
      layers,
    };
  } finally {
    engine.release(job);
    await reader.close();
  }
}
