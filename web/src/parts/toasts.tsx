import { useEffect } from 'preact/hooks';

/** Something that was done, and can be undone. */
export interface Toast {
  id: string;
  text: string;
  undo?: { label: string; run: () => void };
}

const shownFor = 20_000; // milliseconds

export function Toasts({ toasts, onClose }: { toasts: readonly Toast[]; onClose: (id: string) => void }) {
  return (
    <div class="toasts" role="status">
      {toasts.map((toast) => (
        <ToastView key={toast.id} toast={toast} onClose={() => onClose(toast.id)} />
      ))}
    </div>
  );
}

function ToastView({ toast: { text, undo }, onClose }: { toast: Toast; onClose: () => void }) {
  useEffect(() => {
    const timer = setTimeout(onClose, shownFor);
    return () => clearTimeout(timer);
  }, []);
  return (
    <p class="toast">
      <span class="toast-text">{text}</span>
      {undo && (
        <button
          type="button"
          onClick={() => {
            undo.run();
            onClose();
          }}
        >
          {undo.label}
        </button>
      )}
      <button type="button" class="quiet" aria-label="Close" onClick={onClose}>
        ×
      </button>
    </p>
  );
}
