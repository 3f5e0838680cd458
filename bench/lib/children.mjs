import { fork } from 'node:child_process';

/**
 * Measures one item in a process of its own, which runs the same script with `--child ID`: what one leaves behind does not
 * slow the next, and what hangs is ended. Every step in it has its limit; `patience` (seconds without a message) is for one
 * that cannot be interrupted. Answers undefined, or why the process failed.
 */
export function measuredInChild(script, id, patience) {
  return new Promise((done) => {
    const child = fork(script, [...process.argv.slice(2), '--child', id], { execPath: process.execPath });
    let timer;
    let last = 'starting';
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        console.error(`  nothing for ${patience} s after: ${last}; the process is ended`);
        child.kill('SIGKILL');
      }, patience * 1000);
    };
    wait();
    child.on('message', (text) => {
      last = text;
      console.error(`  ${text}`);
      wait();
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      done(code === 0 ? undefined : `the process ended with ${signal ?? code} after: ${last}`);
    });
  });
}
