// A model out of the files that somebody chose together: its own, and those with its weights.
import { ZeropointError } from 'zeropoint';

export interface ModelFiles {
  name: string;
  file: File;
  /** The files that lay with it. */
  others: File[];
}

/** What a zip may hold, unpacked: it is in memory whole. */
const mostUnpacked = 2 ** 31;

const isZip = async (file: File): Promise<boolean> => {
  const [a, b, c] = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  return a === 0x50 && b === 0x4b && c === 3;
};

/** Files out of a zip have no type of their own. */
function typeOf(name: string): string {
  const [, extension = ''] = /\.(\w+)$/.exec(name.toLowerCase()) ?? [];
  const type = extension === 'jpg' ? 'jpeg' : extension;
  return ['jpeg', 'png', 'webp', 'avif', 'gif', 'bmp'].includes(type) ? `image/${type}` : '';
}

async function unpacked(file: File): Promise<File[]> {
  const { unzip } = await import('fflate');
  const bytes = new Uint8Array(await file.arrayBuffer());
  let total = 0;
  const entries = await new Promise<Record<string, Uint8Array>>((resolve, reject) => {
    const refuse = (error: unknown) =>
      reject(
        new ZeropointError(
          'io',
          `${file.name} cannot be read as a zip: ${error instanceof Error ? error.message : error}`,
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
  return Object.entries(entries).map(([path, data]) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    return new File([data as Uint8Array<ArrayBuffer>], name, { type: typeOf(name) });
  });
}

/** The files, with those in zips in place of these. Arrays of numpy are zips too (.npz), and stay as they are. */
export async function unpackedAll(chosen: readonly File[]): Promise<File[]> {
  const files: File[] = [];
  for (const file of chosen) {
    const isPacked = !/\.(onnx|npz)$/i.test(file.name) && (await isZip(file));
    if (!isPacked) {
      files.push(file);
      continue;
    }
    const inside = await unpacked(file);
    if (inside.length === 0)
      throw new ZeropointError('io', `${file.name} holds no file`, { file: file.name });
    files.push(...inside);
  }
  return files;
}

/** The model among files: the only .onnx, or of several the one that is called model.onnx. */
export async function modelAmong(files: readonly File[]): Promise<ModelFiles> {
  const [first] = files;
  if (!first) throw new ZeropointError('invalid-argument', 'no file was chosen');
  const models = files.filter(({ name }) => /\.onnx$/i.test(name));
  const file =
    models.length > 1
      ? models.find(({ name }) => name === 'model.onnx')
      : (models[0] ?? (files.length === 1 ? first : undefined));
  if (!file) {
    const names = models.map(({ name }) => name).join(', ');
    throw new ZeropointError(
      'invalid-argument',
      models.length > 1
        ? `these are several models: ${names}`
        : `there is no .onnx file among these ${files.length}`,
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
