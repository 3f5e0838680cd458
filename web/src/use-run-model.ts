// A run's model, opened from its file while it is looked at.
import { useEffect, useState } from 'preact/hooks';
import { Model } from 'zeropoint';
import type { Run } from './work.ts';

export async function openRun({ files }: Pick<Run, 'files'>): Promise<Model> {
  const [file, ...others] = files;
  if (!file) throw new Error('the run has no file');
  return Model.load(file.blob, {
    externalData: others.map(({ name, blob }) => new File([blob], name)),
  });
}

/** Undefined until it is open. `isWanted`: somebody looks at the run. */
export function useRunModel(run: Run | undefined, isWanted: boolean): Model | undefined {
  const [open, setOpen] = useState<{ of: string; model: Model } | undefined>();
  const id = isWanted ? run?.id : undefined;
  useEffect(() => {
    if (!run || id === undefined) return;
    let isCurrent = true;
    const opening = openRun(run);
    opening.then(
      (model) => isCurrent && setOpen({ of: run.id, model }),
      () => undefined, // the view says that there is none
    );
    return () => {
      isCurrent = false;
      setOpen(undefined);
      opening.then((model) => model.dispose()).catch(() => undefined);
    };
  }, [id]);
  return open?.of === id ? open?.model : undefined;
}
