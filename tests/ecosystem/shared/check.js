// What each project does with the package: the same work, with the same result everywhere.

/** `of`: what an entry of the package gives; of one that only runs models, nothing is quantized. `source`: the model, as Model.load() takes it. */
export async function check({ Model, Tensor, engineInfo }, source) {
  const started = Date.now();
  const model = await Model.load(source);
  const [{ name }] = model.inputs;
  const x = new Tensor(
    'float32',
    Float32Array.from({ length: 16 * 96 }, (_, i) => Math.sin(i)),
    [1, 16, 96],
  );
  const { maxThreads, worker, build } = await engineInfo();
  const session = await model.createSession({ threads: Math.min(2, maxThreads) });
  const outputs = await session.run({ [name]: x });
  const milliseconds = Date.now() - started;
  const [y] = Object.values(outputs);
  const found = { y: y.data[0].toFixed(5), threads: maxThreads > 1, worker, build, milliseconds };
  if (model.quantize) {
    const { model: small, report } = await model.quantize({
      calibration: [{ [name]: x }],
      threads: Math.min(2, maxThreads),
    });
    found.layers = report.layersQuantized;
    found.bytes = (await small.toBytes()).length;
    await small.dispose();
  }
  await session.dispose();
  await model.dispose();
  return found;
}

/** Tells who opened the page. */
export function tell(work) {
  work.then(
    (result) => {
      globalThis.result = result;
    },
    (error) => {
      globalThis.result = {
        error: `${error.code ?? error.name}: ${error.message} ${error.details?.hint ?? ''}`,
      };
    },
  );
}
