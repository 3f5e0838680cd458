// Where the visitor is, as the address says it: #/PROJECT/STEP, or #/PROJECT/result/NUMBER; the start has none.
import { useEffect, useState } from 'preact/hooks';

export const steps = ['try', 'model', 'samples', 'goal', 'runs', 'result'] as const;
export type StepName = (typeof steps)[number];

export interface Route {
  /** Undefined: the start. */
  project: string | undefined;
  step: StepName;
  /** A run's number, of step 'result'. */
  run: number | undefined;
}

export function routeOf(hash: string): Route {
  const [, project, step, run] = /^#\/(\w+)(?:\/(\w+))?(?:\/(\d+))?/.exec(hash) ?? [];
  return {
    project,
    step: steps.find((name) => name === step) ?? 'model',
    run: run === undefined ? undefined : Number(run),
  };
}

export const hashOf = (project: string, step: StepName, run?: number): string =>
  `#/${project}/${step}${run === undefined ? '' : `/${run}`}`;

/** `replace`: Back does not come here again. */
export function go(hash: string, { replace = false } = {}): void {
  if (location.hash === hash || (hash === '#/' && location.hash === '')) return;
  if (!replace) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, '', hash);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => routeOf(location.hash));
  useEffect(() => {
    const look = () => setRoute(routeOf(location.hash));
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  return route;
}
