import { useEffect, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';

/**
 * A model's result for an input, shown as it grows. When either changes, the earlier work ends and new work begins. `work` must
 * be the same function in each call.
 */
export function useWork<Input, Found>(
  model: Model | undefined,
  input: Input,
  work: (session: Session, input: Input, signal: AbortSignal, show: (found: Found) => void) => Promise<void>,
): { found: Found | undefined; problem: string } {
  const [shown, setShown] = useState<{ of: Model; input: Input; found: Found } | undefined>();
  const [problem, setProblem] = useState('');
  useEffect(() => {
    setProblem('');
    if (!model) return;
    const leaving = new AbortController();
    const { signal } = leaving;
    const run = async () => {
      const session = await model.createSession();
      try {
        await work(session, input, signal, (found) => {
          if (!signal.aborted) setShown({ of: model, input, found });
        });
      } finally {
        await session.dispose();
      }
    };
    run().catch((error: unknown) => {
      if (!signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
    });
    return () => leaving.abort();
  }, [model, input, work]);
  return { found: shown?.of === model && shown?.input === input ? shown?.found : undefined, problem };
}
