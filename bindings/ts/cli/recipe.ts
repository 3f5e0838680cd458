// --config and --save-recipe: see ../recipe.ts.
import { basename } from 'node:path';
import type { Schema } from '../engine/module.ts';
import type { FileOptions, QuantizeReport, Recipe, SchemeOptions } from '../node.ts';
import { readRecipe, recipeOf } from '../recipe.ts';
import { imageChecks } from '../samples/image.ts';
import { isStream } from './common.ts';
import { readBytes } from './paths.ts';
import type { SampleArguments } from './samples.ts';

export const readConfig = async (path: string, schema: Schema): Promise<Recipe> =>
  readRecipe(new TextDecoder().decode(await readBytes(path, 'a recipe')), schema);

const withoutUndefined = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;

/** Flags win over the recipe. */
export const mergedWith = <T extends object>(recipe: T | undefined, flags: T): T => ({
  ...(recipe as T),
  ...withoutUndefined(flags),
});

const imageNames = Object.keys(imageChecks) as (keyof SampleArguments)[];

/** The same of samples. A preset is a way to prepare images by itself: nothing of the recipe's is left beside it. */
export function sampleArguments(
  options: SampleArguments & { calibration?: string },
  recipe: Recipe | undefined,
): SampleArguments {
  if (!recipe) return options;
  const { image, audioScale, limit, synthetic = {} } = recipe.samples;
  const said = withoutUndefined({ ...options });
  if (options.calibration === undefined) {
    const { count, dims, shapes, seed } = synthetic;
    const made = { samples: count, dims, shape: shapes, seed };
    return { ...withoutUndefined(made), ...said } as SampleArguments;
  }
  const of = { ...(options.preset === undefined && image), audioScale, samples: limit };
  return { ...withoutUndefined(of), ...said } as SampleArguments;
}

/** The recipe of what was done. */
export function recipeFor({
  path,
  digest,
  report,
  calibration,
  samples,
  given,
  options,
}: {
  path: string;
  digest: string | undefined;
  report: QuantizeReport;
  calibration: string | undefined;
  samples: SampleArguments;
  given: { count: number; synthetic: boolean } | undefined;
  options: SchemeOptions & FileOptions;
}): Recipe {
  const { dims, shape: shapes, seed, samples: limit, audioScale } = samples;
  const image = Object.fromEntries(imageNames.map((name) => [name, samples[name]]));
  return recipeOf({
    model: { name: isStream(path) ? 'model.onnx' : basename(path), sha256: digest },
    samples:
      calibration !== undefined
        ? { what: `samples of ${basename(calibration)}`, count: report.samples, image, audioScale, limit }
        : given
          ? {
              what: `${given.count} made-up samples`,
              count: report.samples,
              synthetic: { count: given.count, dims, shapes, seed },
            }
          : { what: 'none', count: 0 },
    options,
  });
}
