import './offline/ways-out.ts'; // before all else
import { render } from 'preact';
import { App } from './app.tsx';
import { OfflineNotice } from './offline/notice.tsx';
import { goOffline } from './offline/page.ts';
import './style.css';

const root = document.getElementById('app');
if (root)
  render(
    <>
      <App />
      <OfflineNotice />
    </>,
    root,
  );
void goOffline();
