import { useEffect, useState } from 'preact/hooks';
import { currentNotices, dismiss, onNotices } from './page.ts';
import './notice.css';

/** What there is to say about a new version, threads, and use with the network off: at the window's edge. */
export function OfflineNotice() {
  const [notices, setNotices] = useState(currentNotices);
  useEffect(() => {
    const update = () => setNotices(currentNotices());
    update(); // for what came between the first picture and now
    return onNotices(update);
  }, []);
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
