import { useEffect, useState } from 'preact/hooks';
import { type ImageOptions, type ImagePreset, imagePresets, type Model } from 'zeropoint';
import type { Demo } from '../demos/demo.ts';
import {
  asError,
  checkFiles,
  type FileCheck,
  fileSet,
  isImage,
  isLabels,
  labelsFor,
  openDims,
  type SampleSet,
  syntheticSet,
} from '../sample-set.ts';
import { DropZone } from './drop-zone.tsx';

type Kind = 'demo' | 'files' | 'synthetic';

/** A preset that goes with an input: what most models with such an input were trained with. */
function guess(model: Model): ImageOptions {
  const dims = model.inputs[0]?.dims;
  if (dims?.length !== 4) return { preset: 'unit' };
  if (dims[2] === 48) return { preset: 'ppocr-rec' };
  return { preset: dims[1] === 3 ? 'imagenet' : dims[3] === 3 ? 'imagenet-tf' : 'unit' };
}

/** Where samples come from: the demo, the user's files, or nowhere. Tells the page through onChange. */
export function SamplesPanel({
  model,
  demo,
  disabled,
  onChange,
}: {
  model: Model;
  demo: Demo | undefined;
  disabled: boolean;
  onChange: (samples: SampleSet | undefined) => void;
}) {
  const [kind, setKind] = useState<Kind>(demo ? 'demo' : 'files');
  const [files, setFiles] = useState<File[]>([]);
  const [checks, setChecks] = useState<FileCheck[]>([]);
  const [image, setImage] = useState<ImageOptions>(() => guess(model));
  const [size, setSize] = useState('');
  const [dims, setDims] = useState(() => openDims(model.inputs));
  const [labelFile, setLabelFile] = useState<File | undefined>();
  const [told, setTold] = useState<{ of: FileCheck[]; labels?: readonly number[]; problem?: string }>();
  const labels = told?.of === checks ? told.labels : undefined;
  const [busy, setBusy] = useState(false);

  const options: ImageOptions = { ...image, ...parseSize(size) };
  const key = JSON.stringify(options);

  useEffect(() => {
    if (kind === 'demo' && demo) {
      onChange({
        label: demo.samplesLabel,
        synthetic: false,
        count: demo.sampleCount,
        identity: JSON.stringify(['demo', demo.id]),
        labels: demo.labels,
        test: demo.test?.(model),
        feeds: (limit = demo.sampleCount) => demo.samples(model, Math.min(limit, demo.sampleCount)),
      });
    } else if (kind === 'synthetic') {
      onChange(syntheticSet(model, dims));
    } else {
      onChange(fileSet(checks, model, options, labels));
    }
  }, [kind, checks, labels, dims, model, demo]);

  useEffect(() => {
    if (files.length === 0) return;
    let current = true;
    setBusy(true);
    checkFiles(files, model, options).then((found) => {
      if (!current) return;
      setBusy(false);
      setChecks((before) => {
        for (const { preview } of before) if (preview) URL.revokeObjectURL(preview);
        return found;
      });
    });
    return () => {
      current = false;
    };
  }, [files, key, model]);

  // Labels are those of the samples that there are.
  useEffect(() => {
    setTold(undefined);
    if (!labelFile || checks.length === 0) return;
    let current = true;
    labelsFor(labelFile, checks).then(
      (labels) => current && setTold({ of: checks, labels }),
      (error) => current && setTold({ of: checks, problem: asError(error).message }),
    );
    return () => {
      current = false;
    };
  }, [labelFile, checks]);

  const add = (added: readonly File[]) => {
    const classes = added.find(isLabels);
    if (classes) setLabelFile(classes);
    setFiles((before) => [...before, ...added.filter((file) => !isLabels(file))]);
  };

  const bad = checks.filter(({ error }) => error);
  const good = checks.reduce((sum, { samples }) => sum + samples, 0);
  const kinds: [Kind, string][] = [
    ...(demo ? ([['demo', demo.samplesLabel]] as [Kind, string][]) : []),
    ['files', 'Your files'],
    ['synthetic', 'Made-up samples'],
  ];
  return (
    <div class="samples">
      <fieldset class="segments" disabled={disabled}>
        <legend class="visually-hidden">Where samples come from</legend>
        {kinds.map(([value, label]) => (
          <label key={value} class={kind === value ? 'on' : ''}>
            <input type="radio" name="samples" checked={kind === value} onChange={() => setKind(value)} />
            {label}
          </label>
        ))}
      </fieldset>
      {kind === 'demo' && <p class="note">{demo?.samplesNote}</p>}
      {kind === 'files' && (
        <>
          <DropZone
            label="Choose sample files"
            accept="image/*,.npy,.npz,.wav,.csv,.tsv,.txt"
            multiple
            disabled={disabled}
            onFiles={add}
          >
            <p>
              Drop images, .npy, .npz or .wav files, or a folder of them: 16 to 64 that look like real use. A
              .csv or .txt file among them says which answers are right.
            </p>
          </DropZone>
          {(files.some(isImage) || files.length === 0) && (
            <div class="fields">
              <label>
                Images are prepared as
                <select
                  value={image.preset ?? 'unit'}
                  disabled={disabled}
                  onChange={(event) => setImage({ preset: event.currentTarget.value as ImagePreset })}
                >
                  {Object.keys(imagePresets).map((name) => (
                    <option key={name} value={name}>
                      {presetNames[name] ?? name}
                    </option>
                  ))}
                </select>
              </label>
              <label>
                Height × width
                <input
                  type="text"
                  placeholder="from the model"
                  value={size}
                  disabled={disabled}
                  onInput={(event) => setSize(event.currentTarget.value)}
                />
              </label>
              <label>
                Channels
                <select
                  value={image.channels ?? ''}
                  disabled={disabled}
                  onChange={(event) => {
                    const { channels: _, ...rest } = image;
                    const value = event.currentTarget.value as '' | 'rgb' | 'bgr' | 'gray';
                    setImage(value ? { ...rest, channels: value } : rest);
                  }}
                >
                  <option value="">as the preset says</option>
                  <option value="rgb">RGB</option>
                  <option value="bgr">BGR</option>
                  <option value="gray">grey</option>
                </select>
              </label>
            </div>
          )}
          {files.length > 0 && (
            <div class="file-list" aria-live="polite">
              <p>
                {busy
                  ? 'Reading the files…'
                  : `${counted(good, 'sample')} from ${counted(checks.length - bad.length, 'file')}.`}{' '}
                <button
                  type="button"
                  class="link"
                  disabled={disabled}
                  onClick={() => {
                    setFiles([]);
                    setChecks([]);
                    setLabelFile(undefined);
                  }}
                >
                  Remove all
                </button>
              </p>
              {good > 0 && (
                <div class="actions">
                  <label class="file-button">
                    {labelFile ? 'Other right answers' : 'Add right answers'}
                    <input
                      type="file"
                      accept=".txt,.csv,.tsv,.npy"
                      disabled={disabled}
                      onChange={(event) => {
                        setLabelFile(event.currentTarget.files?.[0] ?? labelFile);
                        event.currentTarget.value = '';
                      }}
                    />
                  </label>
                  {told?.problem ? (
                    <span class="problem">{told.problem}.</span>
                  ) : (
                    <span class="note" data-testid="labels">
                      {labels
                        ? `${counted(labels.length, 'right answer')} from ${labelFile?.name}.`
                        : 'Optional: the class of each sample, a number a line, or NAME,CLASS. Then right answers are counted.'}
                    </span>
                  )}
                </div>
              )}
              <div class="previews">
                {checks
                  .filter(({ preview }) => preview)
                  .map(({ file, preview }) => (
                    <img key={file.name} src={preview} alt={file.name} title={file.name} />
                  ))}
              </div>
              {bad.length > 0 && (
                <div class="error" role="alert">
                  <p>
                    <strong>
                      {bad.length} {bad.length === 1 ? 'file does' : 'files do'} not fit the model and{' '}
                      {bad.length === 1 ? 'is' : 'are'} left out:
                    </strong>
                  </p>
                  <ul>
                    {bad.slice(0, 6).map(({ file, error }) => (
                      <li key={file.name}>{error?.message}</li>
                    ))}
                    {bad.length > 6 && <li>and {bad.length - 6} more</li>}
                  </ul>
                </div>
              )}
            </div>
          )}
        </>
      )}
      {kind === 'synthetic' && (
        <>
          <p class="note">
            Random numbers show how fast and small the model gets, not how accurate: ranges found on noise are
            not those of your data. Good for weight-only quantization and for a first try.
          </p>
          {Object.keys(dims).length > 0 && (
            <div class="fields">
              {Object.entries(dims).map(([name, value]) => (
                <label key={name}>
                  <span>
                    Size of <code>{name}</code>
                  </span>
                  <input
                    type="number"
                    min="1"
                    max="4096"
                    value={value}
                    disabled={disabled}
                    onInput={(event) => {
                      const next = Number(event.currentTarget.value);
                      if (Number.isInteger(next) && next > 0) setDims({ ...dims, [name]: next });
                    }}
                  />
                </label>
              ))}
            </div>
          )}
        </>
      )}
    </div>
  );
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

const presetNames: Record<string, string> = {
  unit: '0 to 1',
  imagenet: 'ImageNet (torchvision)',
  'imagenet-tf': 'ImageNet, -1 to 1 (TensorFlow)',
  'ppocr-det': 'PP-OCR detection',
  'ppocr-rec': 'PP-OCR recognition',
  'ppocr-cls': 'PP-OCR angle',
};

function parseSize(text: string): { size?: [number, number] } {
  const found = /^\s*(\d+)\s*(?:[x×,]\s*(\d+))?\s*$/.exec(text);
  if (!found) return {};
  return { size: [Number(found[1]), Number(found[2] ?? found[1])] };
}
