// The contestants behind one face: open(bytes) → { run(feeds) → outputs, close() }. Feeds and outputs are by name,
// { type, data, dims }. The modules are handed in, for Node and browsers find them in different places.

/** zeropoint, set up to use this many threads. */
export function zeropoint(module, { threads, worker }) {
  module.configure({ threads, worker });
  return {
    name: 'zeropoint',
    info: () => module.engineInfo(),
    async open(bytes) {
      const model = await module.Model.load(bytes);
      const session = await model.createSession({ threads });
      return {
        model,
        session,
        prepare: (feeds) => toTensors(feeds, module.Tensor),
        run: (tensors) => session.run(tensors),
        async close() {
          await session.dispose();
          await model.dispose();
        },
      };
    },
  };
}

/** ONNX Runtime Web, WebAssembly. It takes its number of threads when it starts: one number in one process or page. */
export function onnxRuntime(module, { threads, wasmPaths }) {
  module.env.wasm.numThreads = threads;
  if (wasmPaths) module.env.wasm.wasmPaths = wasmPaths;
  module.env.logLevel = 'error';
  return {
    name: 'ONNX Runtime Web',
    async open(bytes) {
      const session = await module.InferenceSession.create(bytes, {
        executionProviders: ['wasm'],
        graphOptimizationLevel: 'all',
      });
      return {
        session,
        prepare: (feeds) => toTensors(feeds, module.Tensor),
        run: (tensors) => session.run(tensors),
        close: () => session.release(),
      };
    },
  };
}

const toTensors = (feeds, Tensor) =>
  Object.fromEntries(
    Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new Tensor(type, data, dims)]),
  );

/** LiteRT.js, in pages only. It takes positions instead of names: its models here have one input and one output. */
export async function liteRt(module, { threads, wasmPath }) {
  await module.loadLiteRt(wasmPath, { threads: threads > 1 });
  return {
    name: 'LiteRT.js',
    async open(bytes) {
      const model = await module.loadAndCompile(bytes, {
        accelerator: 'wasm',
        cpuOptions: { numThreads: threads },
      });
      return {
        prepare: (feeds) => Object.values(feeds)[0],
        async run({ data, dims }) {
          const input = new module.Tensor(data, dims);
          const [output] = await model.run([input]);
          const numbers = output.toTypedArray().slice();
          input.delete();
          output.delete();
          return { y: { type: 'float32', data: numbers, dims } };
        },
        close: () => model.delete(),
      };
    },
  };
}
