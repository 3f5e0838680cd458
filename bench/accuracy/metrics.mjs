// Measures of a model's outputs. A metric takes the outputs over all test samples (one Float32Array each, with dims) and
// the float model's, and gives plain numbers; summaries compare `main`. Where nobody knows the right answers, the float
// model's answers count as right.

const argmax = (x, from = 0, to = x.length) => {
  let best = from;
  for (let i = from + 1; i < to; i += 1) if (x[i] > x[best]) best = i;
  return best - from;
};

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function softmax(x) {
  const most = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const e = Array.from(x, (v) => Math.exp(v - most));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

function cosine(x, y) {
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i += 1) {
    xy += x[i] * y[i];
    xx += x[i] * x[i];
    yy += y[i] * y[i];
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/** Signal to noise in dB over all samples. */
export function sqnr(outputs, float) {
  let signal = 0;
  let noise = 0;
  outputs.forEach(({ data }, s) => {
    const x = float[s].data;
    for (let i = 0; i < x.length; i += 1) {
      signal += x[i] ** 2;
      noise += (x[i] - data[i]) ** 2;
    }
  });
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

/** Percent of pictures right, percent that agree with the float model, mean KL divergence from it. */
export function classification(outputs, float, truth) {
  const kl = outputs.map(({ data }, s) => {
    const p = softmax(float[s].data);
    const q = softmax(data);
    return p.reduce((sum, v, i) => sum + (v > 0 ? v * Math.log(v / Math.max(q[i], 1e-12)) : 0), 0);
  });
  return {
    main:
      100 *
      mean(outputs.map(({ data }, s) => Number(argmax(data) === (truth?.[s] ?? argmax(float[s].data))))),
    agreement: 100 * mean(outputs.map(({ data }, s) => Number(argmax(data) === argmax(float[s].data)))),
    kl: mean(kl),
  };
}

function editDistance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1])));
    }
    row = next;
  }
  return row[b.length];
}

/** Percent of characters read right, with a table of characters: repeated ones merge, the blank goes. */
export function recognition(keys) {
  const read = ({ data, dims }) => {
    const classes = dims.at(-1);
    let text = '';
    let before = 0;
    for (let at = 0; at < data.length; at += classes) {
      const k = argmax(data, at, at + classes);
      if (k !== 0 && k !== before) text += keys[k - 1] ?? ' ';
      before = k;
    }
    return text;
  };
  return (outputs, float, truth) => {
    let wrong = 0;
    let all = 0;
    let same = 0;
    outputs.forEach((output, s) => {
      const text = read(output);
      const right = truth?.[s] ?? read(float[s]);
      wrong += Math.min(editDistance(text, right), right.length);
      all += right.length;
      same += Number(text === read(float[s]));
    });
    return { main: 100 * (1 - wrong / all), agreement: (100 * same) / outputs.length };
  };
}

/** Percent of overlap of the areas that are text, with those of the float model. */
export function overlap(outputs, float) {
  const each = outputs.map(({ data }, s) => {
    let both = 0;
    let either = 0;
    for (let i = 0; i < data.length; i += 1) {
      const a = data[i] > 0.3;
      const b = float[s].data[i] > 0.3;
      both += Number(a && b);
      either += Number(a || b);
    }
    return either === 0 ? 1 : both / either;
  });
  return { main: 100 * mean(each) };
}

function ranks(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const rank = new Array(values.length);
  order.forEach((i, r) => {
    rank[i] = r;
  });
  return rank;
}

/** Cosine of mean-pooled sentence embeddings to the float ones, and rank correlation of all similarities. */
export function embeddings(outputs, float) {
  const pooled = (list) =>
    list.map(({ data, dims }) => {
      const width = dims.at(-1);
      const sum = new Float64Array(width);
      data.forEach((v, i) => {
        sum[i % width] += v;
      });
      return sum;
    });
  const a = pooled(outputs);
  const b = pooled(float);
  const pairs = (list) => list.flatMap((x, i) => list.slice(i + 1).map((y) => cosine(x, y)));
  const [x, y] = [ranks(pairs(a)), ranks(pairs(b))];
  const middle = (x.length - 1) / 2;
  const deviation = x.reduce((sum, v) => sum + (v - middle) ** 2, 0);
  return {
    main: mean(a.map((v, i) => cosine(v, b[i]))),
    rank: x.reduce((sum, v, i) => sum + (v - middle) * (y[i] - middle), 0) / deviation,
  };
}

/** Mean cosine to the float outputs. */
export function cosines(outputs, float) {
  return { main: mean(outputs.map(({ data }, s) => cosine(data, float[s].data))) };
}
