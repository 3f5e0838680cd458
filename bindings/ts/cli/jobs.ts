// Commands that make a model of each model that they are given.
import { resolve } from 'node:path';
import {
  type CommonOptions,
  errorObject,
  exitCodes,
  interrupted,
  isStream,
  json,
  keepStandardOutput,
  print,
  printError,
  WrongCall,
} from './common.ts';
import { checkOutput, isFolder, modelsAt, placesFor, type Source, writeOutput } from './paths.ts';

export interface JobOptions extends CommonOptions {
  output: string;
  force?: boolean;
}

/** One model, and where all that is made of it goes. */
export interface Job<Also extends string = never> {
  source: Source;
  output: string;
  /** Further files. */
  also: Partial<Record<Also, string>>;
  /** What messages call the model, where there are others. */
  of: string | undefined;
}

/** A further file of each model: its flag, what was said there, and what its name ends with in a folder. */
interface Further {
  flag: string;
  path: string | undefined;
  ending: string;
}

/** The models of a call. Throws where an output may not be written, before anything is done. */
export async function jobsOf<Also extends string = never>(
  words: readonly string[],
  options: JobOptions,
  further: Record<Also, Further>,
): Promise<Job<Also>[]> {
  const models = await modelsAt(words, options.output);
  const inputs = models.map(({ path }) => path).filter((path) => !isStream(path));
  const claimed = new Set<string>();
  const claim = async (path: string, into: boolean) => {
    const key = isStream(path) ? path : resolve(path);
    if (claimed.has(key))
      throw new WrongCall(`${isStream(path) ? 'standard output' : path} cannot be two outputs at once`);
    claimed.add(key);
    await checkOutput(path, inputs, options.force, into);
  };
  const places = async ({ flag, path, ending }: Further & { path: string }) => {
    const found = await placesFor(flag, path, models, ending);
    const into = await isFolder(path);
    for (const place of found) await claim(place, into);
    return found;
  };
  const outputs = await places({ flag: '-o', path: options.output, ending: '.onnx' });
  const also = new Map<Also, readonly string[]>();
  for (const [name, { path, ...how }] of Object.entries(further) as [Also, Further][])
    if (path !== undefined) also.set(name, await places({ path, ...how }));
  if (typeof options.json === 'string') await claim(options.json, false);
  if (claimed.has('-')) {
    if (options.json === true)
      throw new WrongCall(
        'standard output is taken by a file: name one for the report, as in --json report.json',
      );
    keepStandardOutput();
  }
  return models.map((source, i) => ({
    source,
    output: outputs[i] as string,
    also: Object.fromEntries([...also].map(([name, paths]) => [name, paths[i]])) as Job<Also>['also'],
    of: models.length > 1 ? source.path : undefined,
  }));
}

/** Does the work for each model. One that fails does not keep the others from their turn, and the exit code tells. */
export async function doJobs<J extends Job<string>>(
  jobs: readonly J[],
  options: JobOptions,
  done: string,
  work: (job: J) => Promise<object>,
): Promise<void> {
  const results: object[] = [];
  let failures = 0;
  for (const [i, job] of jobs.entries()) {
    const { of } = job;
    if (of !== undefined && options.json !== true) print(`${i > 0 ? '\n' : ''}${of}`);
    try {
      results.push({ ...(of !== undefined && { model: of }), ...(await work(job)) });
    } catch (error) {
      if (of === undefined || interrupted.aborted) throw error;
      failures += 1;
      printError(error, of);
      results.push({ model: of, error: errorObject(error) });
    }
  }
  const result = jobs.length > 1 ? { models: results } : results[0];
  if (typeof options.json === 'string') await writeOutput(options.json, json(result));
  if (options.json === true) process.stdout.write(json(result));
  else if (jobs.length > 1) print(`\n${jobs.length - failures} of ${jobs.length} models were ${done}`);
  if (failures > 0) process.exitCode = exitCodes.failed;
}
