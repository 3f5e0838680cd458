// .npz: a zip of .npy files, one for each array.
import { messageOf, ZeropointError } from '../errors.ts';
import type { Tensor, TensorLike } from '../tensor.ts';
import { readNpy, writeNpy } from './npy.ts';

/** Beyond this a file is taken for one that means harm. */
const mostBytes = 2 ** 31;

export const isZip = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5);

/** Reads a .npz file, as its bytes are in the call: its arrays by name. */
export async function readNpz(bytes: Uint8Array, name = '.npz'): Promise<Record<string, Tensor>> {
  const own = new Uint8Array(bytes);
  const { unzipSync } = await import('fflate');
  let total = 0;
  let others = 0;
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(own, {
      filter: (file) => {
        total += file.originalSize;
        if (total > mostBytes) throw new Error('it holds more than 2 GiB');
        const isArray = file.name.endsWith('.npy');
        if (!isArray) others++;
        return isArray;
      },
    });
  } catch (error) {
    throw new ZeropointError(
      'invalid-sample',
      `${name}: not a readable .npz file: ${messageOf(error)}`,
      { file: name },
      { cause: error },
    );
  }
  const arrays = Object.entries(entries).map(([entry, data]): [string, Tensor] => [
    entry.replace(/\.npy$/, ''),
    readNpy(data, `${name}: ${entry}`),
  ]);
  // numpy.savez without arrays writes an archive without entries: that is nothing wrong. Other files only are.
  if (arrays.length === 0 && others > 0) {
    throw new ZeropointError('invalid-sample', `${name}: there are no arrays in it, only other files`, {
      file: name,
    });
  }
  return Object.fromEntries(arrays);
}

/** Tensors, as they are in the call, as a .npz file. */
export async function writeNpz(
  tensors: Readonly<Record<string, TensorLike>>,
): Promise<Uint8Array<ArrayBuffer>> {
  const files = Object.entries(tensors).map(([name, tensor]) => [`${name}.npy`, writeNpy(tensor)]);
  const { zipSync } = await import('fflate');
  // The same tensors give the same bytes: no time of day in it.
  return zipSync(Object.fromEntries(files), { mtime: new Date(1980, 0, 1) }) as Uint8Array<ArrayBuffer>;
}
