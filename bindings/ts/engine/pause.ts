// Gives the event loop a turn, so that timers, progress, drawing and aborts happen between slices of work.

/** How long a slice of work is, in milliseconds: long enough for V8 to move on, short enough not to be felt. */
export const sliceMilliseconds = 24;

type Immediate = (callback: () => void) => void;

function makeTurn(): Immediate {
  const { setImmediate } = globalThis as { setImmediate?: Immediate };
  if (setImmediate) return setImmediate;
  // Timers are held back to 4 ms when nested; messages are not.
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.onmessage = () => waiting.shift()?.();
  return (callback) => {
    waiting.push(callback);
    port2.postMessage(null);
  };
}

let turn: Immediate | undefined;
let last = 0;

/** Resolves in a later turn of the event loop if a slice's time is over since the last one; at once otherwise. */
export async function pauseIfDue(): Promise<void> {
  if (performance.now() - last < sliceMilliseconds) return;
  turn ??= makeTurn();
  const next = turn;
  await new Promise<void>((resolve) => next(resolve));
  last = performance.now();
}
