import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { GraphViewProps } from './graph-view.tsx';

/** The graph, whose code is loaded when it is first looked at. */
export function LazyGraph(props: GraphViewProps) {
  const [View, setView] = useState<{ of: ComponentType<GraphViewProps> } | { problem: string } | undefined>();
  useEffect(() => {
    let isCurrent = true;
    import('./graph-view.tsx').then(
      ({ default: of }) => isCurrent && setView({ of }),
      (error: unknown) => isCurrent && setView({ problem: String(error) }),
    );
    return () => {
      isCurrent = false;
    };
  }, []);
  if (!View) return <p class="note">Loading the graph…</p>;
  if ('problem' in View) return <p class="problem">The graph could not be loaded: {View.problem}</p>;
  return <View.of {...props} />;
}
