import { render } from 'preact';
import { App } from './app.tsx';
import { OfflineNotice } from './offline/notice.tsx';
import { goOffline } from './offline/page.ts';
import { closeWaysOut } from './offline/ways-out.ts';
import './style.css';

closeWaysOut();
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
