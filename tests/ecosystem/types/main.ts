// Compiles with everything that is strict, and with the package's types looked at too.
import { configure, createEngine, type Feeds, Model, type Outputs, Tensor, ZeropointError } from 'zeropoint';
import { Model as InlineModel } from 'zeropoint/inline';
import { Model as RunModel, type Tensor as RunTensor } from 'zeropoint/run';

export async function use(path: string): Promise<Float32Array | undefined> {
  configure({ threads: 2, stepTimeout: 60_000 });
  const engine = await createEngine({ worker: false });
  const model = await Model.load(path, { engine });
  const session = await model.createSession();
  const feeds: Feeds = { x: new Tensor('float32', [1, 2], [1, 2]) };
  const outputs: Outputs = await session.run(feeds, ['y'], { signal: AbortSignal.timeout(1000) });
  const { y } = outputs;
  if (y?.type === 'float32') return y.data; // the type says what the data is
  // @ts-expect-error: of another type the data may be anything else
  return y?.data satisfies Float32Array | undefined;
}

export async function say(error: unknown): Promise<string> {
  return error instanceof ZeropointError && error.code === 'engine-lost' ? (error.details.hint ?? '') : '';
}

export const inline: typeof InlineModel = InlineModel;

export async function run(path: string, x: Tensor<'float32'>): Promise<RunTensor | undefined> {
  const model = await RunModel.load(path);
  // @ts-expect-error: this entry only runs models
  const quantize: unknown = model.quantize;
  // @ts-expect-error: and writes none
  const toBytes: unknown = model.toBytes;
  if (quantize || toBytes) throw new Error('it does more than it says');
  const session = await model.createSession({ threads: 2 });
  const { y } = await session.run({ x }); // tensors of all entries are of one type
  return y;
}
