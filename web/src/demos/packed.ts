// In the place of index.ts in the page that is in the npm package: the model that reads text has 10.8 MB, which is three
// times what the package has without it.
import type { Demo } from './demo.ts';
import { digits } from './digits/index.ts';

export const demos: readonly Demo[] = [digits];
