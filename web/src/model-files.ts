// A model out of the files that somebody chose together: its own, and those with its weights.
import { ZeropointError } from 'zeropoint';

export interface ModelFiles {
  name: string;
  file: File;
  /** What lay with it. */
  others: File[];
}

/** What a zip may hold, unpacked: it is in memory whole. */
const mostUnpacked = 2 ** 31;

const isZip = async (file: File): Promise<boolean> => {
  const [a, b, c] = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  return a === 0x50 && b === 0x4b && c === 3;
};

async function unpacked(file: File): Promise<File[]> {
  const { unzip } = await import('fflate');
  const bytes = new Uint8Array(await file.arrayBuffer());
  let total = 0;
  const entries = await new Promise<Record<string, Uint8Array>>((resolve, reject) => {
    const refuse = (error: unknown) =>
      reject(
        new ZeropointError(
          'io',
          `${file.name} is no zip that can be read: ${error instanceof Error ? error.message : error}`,
          { file: file.name, hint: 'unpack it, and drop the folder' },
        ),
      );
    try {
      unzip(
        bytes,
        {
          filter: ({ originalSize }) => {
            total += originalSize;
            if (total > mostUnpacked) throw new Error('it holds more than 2 GiB');
            return originalSize > 0;
          },
        },
        (error, found) => (error ? refuse(error) : resolve(found)),
      );
    } catch (error) {
      refuse(error);
    }
  });
  return Object.entries(entries).map(
    ([name, data]) => new File([data as Uint8Array<ArrayBuffer>], name.slice(name.lastIndexOf('/') + 1)),
  );
}

/** The model among files: the only .onnx, or of several the one that is called model.onnx. */
export async function modelAmong(chosen: readonly File[]): Promise<ModelFiles> {
  const [first, ...rest] = chosen;
  if (!first) throw new ZeropointError('invalid-argument', 'no file was chosen');
  const isPacked = rest.length === 0 && !/\.onnx$/i.test(first.name) && (await isZip(first));
  const files = isPacked ? await unpacked(first) : [...chosen];
  const models = files.filter(({ name }) => /\.onnx$/i.test(name));
  const file =
    models.length > 1
      ? models.find(({ name }) => name === 'model.onnx')
      : (models[0] ?? (isPacked ? undefined : first));
  if (!file) {
    const names = models.map(({ name }) => name).join(', ');
    throw new ZeropointError(
      'invalid-argument',
      models.length > 1 ? `these are several models: ${names}` : `${first.name} holds no .onnx file`,
      {
        hint:
          models.length > 1
            ? 'choose one, with the files of its weights'
            : 'choose the .onnx file of the model',
      },
    );
  }
  return { name: file.name, file, others: files.filter((other) => other !== file) };
}
