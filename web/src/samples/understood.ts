// What somebody dropped, told apart: a model with its weights, samples, right answers; alone, together, or in a zip.
import { type ModelFiles, modelAmong, unpackedAll } from './model-files.ts';
import { isImage } from './picture.ts';
import { counted } from './sample-set.ts';

export interface Understood {
  model: ModelFiles | undefined;
  samples: readonly File[];
  labels: File | undefined;
  unknown: readonly File[];
  /** “1 model, 42 photographs, labels.” */
  sentence: string;
}

const isModel = ({ name }: File) => /\.onnx$/i.test(name);
const isTable = ({ name }: File) => /\.(csv|tsv|txt)$/i.test(name);
const isArray = ({ name }: File) => /\.np[yz]$/i.test(name);
const isSound = ({ name }: File) => /\.wav$/i.test(name);
const isSample = (file: File) => isImage(file) || isArray(file) || isSound(file);
const isHidden = ({ name }: File) => name.startsWith('.') || name === 'Thumbs.db';

/** `needsModel`: something among the files must be one, whatever it is called. */
export async function understand(chosen: readonly File[], needsModel: boolean): Promise<Understood> {
  const files = (await unpackedAll(chosen)).filter((file) => !isHidden(file));
  const samples = files.filter(isSample);
  const tables = files.filter((file) => !isSample(file) && isTable(file));
  const rest = files.filter((file) => !isSample(file) && !isTable(file));
  const hasModel = rest.some(isModel);
  const seemsModel = needsModel && (rest.length > 0 || (samples.length === 0 && tables.length === 0));
  const model = hasModel || seemsModel ? await modelAmong(rest.length ? rest : files) : undefined;
  const unknown = model ? [] : rest;
  const [labels] = tables;
  const parts = [
    ...(model
      ? [`1 model${model.others.length ? ` with ${counted(model.others.length, 'file')} of weights` : ''}`]
      : []),
    ...(
      [
        [isImage, 'photograph'],
        [isArray, 'array'],
        [isSound, 'sound'],
      ] as const
    ).flatMap(([is, what]) => {
      const count = samples.filter((file) => is(file)).length;
      return count ? [counted(count, what)] : [];
    }),
    ...(labels ? [`right answers in ${labels.name}`] : []),
    ...(unknown.length ? [`${counted(unknown.length, 'file')} that this page does not know`] : []),
  ];
  return {
    model,
    samples,
    labels,
    unknown,
    sentence: parts.length ? `${parts.join(', ')}.` : 'Nothing that this page knows.',
  };
}
