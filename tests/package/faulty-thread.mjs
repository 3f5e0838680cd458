// Runs in each thread that faults.test.ts has started: does to it what it is told.
import { parentPort } from 'node:worker_threads';

let traps = false;

// A trap of WebAssembly's own, at the next call into the engine.
const trap = new WebAssembly.Instance(
  new WebAssembly.Module(
    new Uint8Array([
      0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 116, 0, 0, 10, 5, 1, 3, 0, 0,
      11,
    ]),
  ),
).exports.t;
const { get } = WebAssembly.Table.prototype;
WebAssembly.Table.prototype.get = function (index) {
  const entry = get.call(this, index);
  if (typeof entry !== 'function') return entry;
  return (...args) => {
    if (traps) trap();
    return entry(...args);
  };
};

const faults = {
  exit: () => process.exit(3),
  throw: () =>
    setImmediate(() => {
      throw new Error('nobody catches this');
    }),
  memory: () => {
    const all = [];
    for (;;) all.push(new Array(1e5).fill(all.length));
  },
  messageerror: () => parentPort.emit('messageerror', new Error('unreadable')),
  trap: () => {
    traps = true;
  },
  hang: ({ milliseconds }) => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
  },
};

// Listening before the thread's own script does would take its messages away.
const { on } = parentPort;
parentPort.on = function (...args) {
  parentPort.on = on;
  on.call(this, 'message', (message) => faults[message?.fault]?.(message));
  return on.apply(this, args);
};
