import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';

/** A view whose code is loaded when it is first shown. `what` it is, with its article. */
export function lazily<Props extends object>(
  what: string,
  load: () => Promise<{ default: ComponentType<Props> }>,
): ComponentType<Props> {
  let loaded: ComponentType<Props> | undefined;
  return function Lazy(props: Props) {
    const [View, setView] = useState<{ of: ComponentType<Props> } | { problem: string } | undefined>(
      loaded && { of: loaded },
    );
    useEffect(() => {
      if (loaded) return;
      let isCurrent = true;
      load().then(
        ({ default: of }) => {
          loaded = of;
          if (isCurrent) setView({ of });
        },
        (error: unknown) => isCurrent && setView({ problem: String(error) }),
      );
      return () => {
        isCurrent = false;
      };
    }, []);
    if (!View) return <p class="note">Loading {what}…</p>;
    if ('problem' in View)
      return (
        <p class="problem">
          This page could not load {what}: {View.problem}
        </p>
      );
    return <View.of {...props} />;
  };
}
