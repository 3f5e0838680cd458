/**
 * zeropoint/run in one file, as zeropoint/inline is: for service workers, extensions and pages of one file that only run
 * models.
 */
import { unpacked } from '../inline-module.ts';
import { setPlatform } from '../platform.ts';
import packed from '../wasm/run-simd.wasm';
import * as local from './local-single.ts';
import { prefix } from './prefix.ts';

setPlatform({ prefix, embedded: () => unpacked(packed), loadLocal: () => local });

export * from './api.ts';
