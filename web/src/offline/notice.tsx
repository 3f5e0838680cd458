import { useEffect, useState } from 'preact/hooks';
import { currentNotices, dismiss, isKept, onNotices } from './page.ts';
import './notice.css';

/** The result of `read`, now and after each change of the notices. */
function useChanging<T>(read: () => T): T {
  const [value, setValue] = useState(read);
  useEffect(() => {
    const update = () => setValue(read());
    update(); // for changes between the first picture and now
    return onNotices(update);
  }, []);
  return value;
}

/** Says that the page works with the network off, as soon as it does. */
export function OfflineMark() {
  return useChanging(isKept) ? (
    <span data-testid="works-offline">This page works with the network off. </span>
  ) : null;
}

/** What there is to say about a new version, threads, and use with the network off: at the window's edge. */
export function OfflineNotice() {
  const notices = useChanging(currentNotices);
  return (
    <div class="notices" role="status">
      {notices.map(([kind, { text, button, act }]) => (
        <div key={kind} class="notice" data-testid={`notice-${kind}`}>
          <p>{text}</p>
          <div class="notice-buttons">
            {button && (
              <button type="button" class="primary" onClick={act}>
                {button}
              </button>
            )}
            <button type="button" class="quiet" onClick={() => dismiss(kind)}>
              {button ? 'Later' : 'Dismiss'}
            </button>
          </div>
        </div>
      ))}
    </div>
  );
}
