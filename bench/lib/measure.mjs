// Timing and arithmetic that Node and browsers share.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

/** The geometric mean of the numbers among the values; null if there are none. */
export function geometricMean(values) {
  const numbers = values.filter((value) => Number.isFinite(value) && value > 0);
  if (numbers.length === 0) return null;
  return Math.exp(numbers.reduce((sum, value) => sum + Math.log(value), 0) / numbers.length);
}

async function timeOf(call, times) {
  const start = performance.now();
  for (let i = 0; i < times; ++i) await call();
  return (performance.now() - start) / times;
}

/**
 * Medians in milliseconds of calls by name. The contestants take turns, so that what else the machine does hits all
 * alike. Each first runs for `warmUp` milliseconds (WebAssembly is compiled twice, first quickly and badly); calls too
 * short for the clock are timed several at once. `rest`: milliseconds before each turn, followed by 40 ms of calls that do
 * not count; for contestants whose threads go on waiting busily after a call (those of ONNX Runtime Web: 34 ms), where
 * they would take the next one's processors. Processors that have rested are slow for some milliseconds.
 */
export async function race(contestants, { warmUp = 300, budget = 1000, rounds = [5, 60], rest = 0 } = {}) {
  const entries = Object.entries(contestants).map(([name, call]) => ({ name, call, times: 1, samples: [] }));
  for (const entry of entries) {
    const end = performance.now() + warmUp;
    let runs = 0;
    while (runs < 3 || performance.now() < end) {
      await entry.call();
      ++runs;
    }
    const estimate = await timeOf(entry.call, 2);
    entry.times = Math.max(1, Math.ceil(2 / estimate));
  }
  const [least, most] = rounds;
  let end = performance.now() + budget * entries.length;
  for (let round = 0; round < least || (round < most && performance.now() < end); ++round) {
    // Who is first changes, so that nobody always follows the same neighbour.
    for (let i = 0; i < entries.length; ++i) {
      const entry = entries[(i + round) % entries.length];
      if (rest > 0) {
        const start = performance.now();
        await new Promise((resolve) => setTimeout(resolve, rest));
        const awake = performance.now() + 40;
        do await entry.call();
        while (performance.now() < awake);
        end += performance.now() - start;
      }
      entry.samples.push(await timeOf(entry.call, entry.times));
    }
  }
  return Object.fromEntries(entries.map(({ name, samples }) => [name, median(samples)]));
}

/**
 * GB/s at which so many bytes of an engine's memory are copied into a new array, as outputs are, and into one that has
 * been written before. What lies between is the system, which hands out pages as they are first touched.
 */
export function copyRates(bytes = 800_000) {
  const memory = typeof SharedArrayBuffer === 'undefined' ? ArrayBuffer : SharedArrayBuffer;
  const outputs = new Uint8Array(new memory(bytes)).fill(3);
  const used = new Uint8Array(bytes);
  const rate = (copy) => {
    const times = [];
    for (let round = 0; round < 60; ++round) {
      const start = performance.now();
      for (let i = 0; i < 10; ++i) copy();
      times.push((performance.now() - start) / 10);
    }
    return bytes / median(times) / 1e6;
  };
  return { fresh: rate(() => new Uint8Array(outputs)), used: rate(() => used.set(outputs)) };
}

/** How two lists of numbers agree; `range` is that of the reference. */
export function agreement(reference, candidate) {
  if (reference.length !== candidate.length) {
    throw new Error(`${candidate.length} numbers where there should be ${reference.length}`);
  }
  let signal = 0;
  let noise = 0;
  let other = 0;
  let product = 0;
  let maxAbs = 0;
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < reference.length; ++i) {
    const a = Number(reference[i]);
    const b = Number(candidate[i]);
    signal += a * a;
    other += b * b;
    product += a * b;
    noise += (a - b) ** 2;
    maxAbs = Math.max(maxAbs, Number.isNaN(b - a) ? Infinity : Math.abs(a - b));
    min = Math.min(min, a);
    max = Math.max(max, a);
  }
  let near = 0;
  for (let i = 0; i < reference.length; ++i) {
    if (Math.abs(Number(reference[i]) - Number(candidate[i])) <= (max - min) / 255) ++near;
  }
  return {
    sqnr: noise === 0 ? Infinity : 10 * Math.log10(signal / noise),
    cosine: product / Math.sqrt(signal * other),
    maxAbs,
    withinStep: near / reference.length,
    magnitude: Math.max(Math.abs(min), Math.abs(max)),
  };
}

/** Numbers in -1 … 1 that are the same in every run, more or less normal as weights and activations are. */
export function noise(length, seed = 1) {
  const numbers = new Float32Array(length);
  let state = Math.imul(seed, 0x9e3779b9) | 1;
  for (let i = 0; i < length; ++i) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    numbers[i] = ((state & 1023) + ((state >>> 10) & 1023) + ((state >>> 20) & 1023)) / 1534.5 - 1;
  }
  return numbers;
}
