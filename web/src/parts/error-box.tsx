import type { ZeropointError } from 'zeropoint';

/** What went wrong, where, and what to do. Everything out of a model is shown as text. */
export function ErrorBox({ error, onClose }: { error: ZeropointError; onClose?: () => void }) {
  const { node, op, tensor, file, hint } = error.details;
  const where = [
    ['Node', node],
    ['Operator', op],
    ['Tensor', tensor],
    ['File', file],
  ].filter((row): row is [string, string] => Boolean(row[1]));
  return (
    <div class="error" role="alert">
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
      {hint && <p>What to do: {hint}.</p>}
      {onClose && (
        <button type="button" class="quiet" onClick={onClose}>
          Dismiss
        </button>
      )}
    </div>
  );
}
