import { lazily } from './lazily.tsx';

/** The graph, whose library is as large as the rest of the page. */
export const LazyGraph = lazily('the graph', () => import('./graph-view.tsx'));
