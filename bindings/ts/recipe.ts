// How a quantization is made again: the file that the page and the command line write and read.
import type { Schema } from './engine/module.ts';
import { messageOf, ZeropointError } from './errors.ts';
import * as check from './options.ts';
import { fileChecks, schemeChecks } from './quantize.ts';
import type { ImageOptions } from './samples/image.ts';
import { sampleChecks } from './samples/load.ts';
import { type SyntheticOptions, syntheticChecks } from './samples/synthetic.ts';
import type { FileOptions, SchemeOptions } from './scheme-options.ts';
import { version } from './version.ts';

/** How samples were made of files, or out of nothing. */
export interface RecipeSamples {
  /** What they were, in words. */
  what: string;
  /** How many were read. */
  count?: number | undefined;
  /** How images were prepared: for samplesFromFiles(). */
  image?: ImageOptions | undefined;
  /** Sound: every value was multiplied by this. */
  audioScale?: number | undefined;
  /** The most samples that were to be read. */
  limit?: number | undefined;
  /** Samples that were made up: for syntheticSamples(). */
  synthetic?: SyntheticOptions | undefined;
}

/** All that makes a quantized model again, but for the model and its samples. It is a file of JSON. */
export interface Recipe {
  /** The version of the package that wrote it. */
  zeropoint: string;
  /** The file that was quantized. */
  model: { name: string; sha256?: string | undefined };
  samples: RecipeSamples;
  /** For quantize(). */
  options: SchemeOptions & FileOptions;
}

/** Without what says nothing: undefined, and objects in which nothing is said. */
function said<T extends object>(options: T): T {
  const kept = Object.entries(options).flatMap(([name, value]) => {
    const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
    const own = isRecord ? said(value as object) : value;
    return own === undefined || (isRecord && Object.keys(own as object).length === 0) ? [] : [[name, own]];
  });
  return Object.fromEntries(kept);
}

/** The recipe of a quantization. Options that nobody chose are not in it. */
export const recipeOf = ({ model, samples, options }: Omit<Recipe, 'zeropoint'>): Recipe => ({
  zeropoint: version,
  model: said(model),
  samples: said(samples),
  options: said(options),
});

/** The text of a recipe's file. */
export const recipeText = (recipe: Recipe): string => `${JSON.stringify(recipe, null, 2)}\n`;

/** Reads the text of a recipe's file. `schema`: that of choices(). Throws where the text is no recipe. */
export function readRecipe(text: string, schema: Schema): Recipe {
  const wrong = (what: string) => {
    const hint = 'use a recipe that the page saved as “Recipe”, or the command line with --save-recipe';
    return new ZeropointError('invalid-argument', `the recipe cannot be read: ${what}`, { hint });
  };
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw wrong(messageOf(error));
  }
  const { limit, audioScale, sampleRate: _, ...image } = sampleChecks;
  const parts: Record<string, check.Check> = {
    zeropoint: check.string,
    model: check.optionsOf({ name: check.string, sha256: check.string }),
    samples: check.optionsOf({
      what: check.string,
      count: check.integer(0, 2 ** 31),
      image: check.optionsOf(image),
      ...(audioScale && { audioScale }),
      ...(limit && { limit }),
      synthetic: check.optionsOf(syntheticChecks),
    }),
    options: check.optionsOf({ ...schemeChecks(schema), ...fileChecks(schema) }),
  };
  try {
    check.checkOptions(found, parts);
  } catch (error) {
    throw wrong(messageOf(error));
  }
  const { zeropoint = '', model, samples, options } = found as Partial<Recipe>;
  if (!options) throw wrong('it has no options');
  return { zeropoint, model: model ?? { name: '' }, samples: samples ?? { what: '' }, options };
}
