import { useLayoutEffect, useRef } from 'preact/hooks';
import type { ZeropointError } from 'zeropoint';

/** An error, brought to where it is seen. `remedy`: settings that help, in words, in place of its hint. */
export function ErrorBox({
  error,
  remedy,
  onClose,
}: {
  error: ZeropointError;
  remedy?: { words: string; button: string; set: () => void } | undefined;
  onClose?: () => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    box.current?.focus({ preventScroll: true });
    box.current?.scrollIntoView({ block: 'nearest' });
  }, [error]);
  const { node, op, tensor, file, hint } = error.details;
  const where = [
    ['Node', node],
    ['Operator', op],
    ['Tensor', tensor],
    ['File', file],
  ].filter((row): row is [string, string] => Boolean(row[1]));
  return (
    <div class="error" role="alert" ref={box} tabIndex={-1}>
      <p class="error-title">
        <strong>{error.message}</strong> <code>{error.code}</code>
      </p>
      {where.length > 0 && (
        <dl>
          {where.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
      {remedy ? (
        <p>
          {remedy.words}{' '}
          <button type="button" onClick={remedy.set}>
            {remedy.button}
          </button>
        </p>
      ) : (
        hint && <p>What to do: {hint}.</p>
      )}
      {onClose && (
        <button type="button" class="quiet" onClick={onClose}>
          Dismiss
        </button>
      )}
    </div>
  );
}
