// How long quantizing takes, and how soon it stops when it is told to: the same in Node and in a page.

/** Where in the work it is told to stop, as shares of the whole. */
const stops = [0.05, 0.3, 0.6, 0.9];

/** { seconds, cancel: milliseconds from abort() to its answer, the longest, phases: seconds by phase } */
export async function timeQuantizing(zeropoint, bytes, calibration, options) {
  const float = await zeropoint.Model.load(bytes);
  const quantize = (more) => float.quantize({ ...options, calibration, layerErrors: 0, ...more });

  const phases = {};
  const start = performance.now();
  let at = start;
  const { model } = await quantize({
    onProgress: ({ phase }) => {
      const now = performance.now();
      phases[phase] = (phases[phase] ?? 0) + (now - at) / 1000;
      at = now;
    },
  });
  const seconds = (performance.now() - start) / 1000;
  await model.dispose();

  let cancel = 0;
  for (const share of stops) {
    const controller = new AbortController();
    let told = 0;
    const timer = setTimeout(
      () => {
        told = performance.now();
        controller.abort();
      },
      share * seconds * 1000,
    );
    try {
      const { model: early } = await quantize({ signal: controller.signal });
      clearTimeout(timer);
      await early.dispose();
    } catch (error) {
      if (error.code !== 'cancelled') throw error;
      cancel = Math.max(cancel, performance.now() - told);
    }
  }
  await float.dispose();
  return { seconds, cancel, phases };
}
