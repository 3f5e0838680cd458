// In the place of index.ts in the page that is in the npm package: the models of the other demos have 19 MB, twice what the
// package has without them.
import type { Demo } from './demo.ts';
import { digits } from './digits/index.ts';

export const demos: readonly Demo[] = [digits];
