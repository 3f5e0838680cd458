import { useEffect, useState } from 'preact/hooks';
import type { ImageOptions, ImagePreset, Model, ZeropointError } from 'zeropoint';
import type { Demo } from '../demos/demo.ts';
import type { Source } from '../kept.ts';
import { isImage, pictureOf } from '../samples/picture.ts';
import type { Entry } from '../samples/prepare.ts';
import {
  presets,
  presetTitles,
  rangeOf,
  ranges,
  takesImages,
  takesSound,
  titleOf,
  whole,
} from '../samples/preprocessing.ts';
import { counted } from '../samples/sample-set.ts';
import type { Samples } from '../use-samples.ts';
import { Camera, Microphone } from './capture.tsx';
import { DropZone } from './drop-zone.tsx';
import { usePicture } from './picture.tsx';
import { PreparationChoice } from './preparation-choice.tsx';
import { Term } from './term.tsx';

/** Pictures beyond this are not shown at once. */
const mostShown = 60;
/** The same of a demo. */
const demoShown = 24;

/** Where samples come from: the demo, the user's files, or nowhere. */
export function SamplesPanel({
  samples,
  model,
  demo,
  kind,
  disabled,
  onFiles,
  onClear,
}: {
  samples: Samples;
  model: Model;
  demo: Demo | undefined;
  /** What the user said that the model answers with. */
  kind: string | undefined;
  disabled: boolean;
  onFiles: (files: File[]) => void;
  onClear: () => void;
}) {
  const kinds: [Source, string][] = [
    ...(demo ? ([['demo', demo.samplesLabel]] as [Source, string][]) : []),
    ['files', 'Your files'],
    ['synthetic', 'Made-up samples'],
  ];
  return (
    <div class="samples">
      <fieldset class="segments" disabled={disabled}>
        <legend class="visually-hidden">Where samples come from</legend>
        {kinds.map(([value, label]) => (
          <label key={value} class={samples.source === value ? 'on' : ''}>
            <input
              type="radio"
              name="samples"
              checked={samples.source === value}
              onChange={() => samples.setSource(value)}
            />
            {label}
          </label>
        ))}
      </fieldset>
      {samples.source === 'demo' && demo && (
        <>
          <p class="note">{demo.samplesNote}</p>
          <DemoGrid demo={demo} model={model} />
        </>
      )}
      {samples.source === 'files' && (
        <Files
          samples={samples}
          model={model}
          kind={kind}
          disabled={disabled}
          onFiles={onFiles}
          onClear={onClear}
        />
      )}
      {samples.source === 'synthetic' && <MadeUp samples={samples} disabled={disabled} />}
    </div>
  );
}

function Files({
  samples,
  model,
  kind,
  disabled,
  onFiles,
  onClear,
}: {
  samples: Samples;
  model: Model;
  kind: string | undefined;
  disabled: boolean;
  onFiles: (files: File[]) => void;
  onClear: () => void;
}) {
  const { files, entries, done, isPreparing } = samples;
  const bad = entries.filter(
    (entry): entry is Entry & { error: ZeropointError } => entry?.error !== undefined,
  );
  const good = entries.reduce((sum, entry) => sum + (entry?.count ?? 0), 0);
  const hasImages = files.some(isImage) || (files.length === 0 && takesImages(model.inputs));
  return (
    <>
      <DropZone
        label="Choose sample files"
        accept="image/*,.npy,.npz,.wav,.csv,.tsv,.txt,.zip"
        multiple
        disabled={disabled}
        folderLabel="Choose a folder of samples"
        onFiles={onFiles}
      >
        <p>
          Drop images, .npy, .npz or .wav files, a folder or a zip of them: 16 to 64 that look like real use.
          A .csv or .txt file among them says which answers are right.
        </p>
      </DropZone>
      {navigator.mediaDevices &&
        (hasImages ? (
          <Camera disabled={disabled} onFiles={onFiles} />
        ) : (
          takesSound(model.inputs) && <Microphone disabled={disabled} onFiles={onFiles} />
        ))}
      {hasImages && <Preparing samples={samples} disabled={disabled} />}
      {hasImages && files.some(isImage) && (
        <PreparationChoice samples={samples} model={model} kind={kind} disabled={disabled} />
      )}
      {files.length > 0 && (
        <div class="file-list">
          <div class="actions">
            <p aria-live="polite">
              {isPreparing
                ? `Preparing the files: ${done} of ${files.length}…`
                : `${counted(good, 'sample')} from ${counted(entries.length - bad.length, 'file')}.`}
            </p>
            <button type="button" class="quiet" disabled={disabled} onClick={onClear}>
              Remove all
            </button>
          </div>
          {bad.length > 0 && !isPreparing && (
            <div class="error" role="alert">
              <p>
                <strong>
                  {bad.length} {bad.length === 1 ? 'file does' : 'files do'} not fit the model and{' '}
                  {bad.length === 1 ? 'is' : 'are'} left out:
                </strong>
              </p>
              <ul>
                {bad.slice(0, 6).map(({ file, error }) => (
                  <li key={file.name}>{error.message}</li>
                ))}
                {bad.length > 6 && <li>and {bad.length - 6} more</li>}
              </ul>
            </div>
          )}
          {good > 0 && <LabelsRow samples={samples} disabled={disabled} />}
          <Grid samples={samples} />
        </div>
      )}
    </>
  );
}

/** The samples as the network sees them. */
function Grid({ samples }: { samples: Samples }) {
  const { entries, labels } = samples;
  const shown = entries.slice(0, mostShown).filter((entry) => entry?.picture);
  if (shown.length === 0) return null;
  let index = 0;
  const firsts = new Map<Entry, number>();
  for (const entry of entries) {
    if (!entry) continue;
    firsts.set(entry, index);
    index += entry.count;
  }
  return (
    <>
      <p class="note">As the network sees them:</p>
      <ul class="grid">
        {shown.map((entry) => {
          if (!entry) return null;
          const label = labels?.of[firsts.get(entry) ?? -1];
          return (
            <li key={`${entry.file.name} ${firsts.get(entry)}`}>
              <Picture blob={entry.picture} />
              <span class="name">{entry.file.name}</span>
              {label !== undefined && <span class="chip">{labels?.names[label] ?? `class ${label}`}</span>}
            </li>
          );
        })}
      </ul>
      {entries.length > mostShown && <p class="note">and {entries.length - mostShown} more.</p>}
    </>
  );
}

/** The first samples of a demo as the network sees them, where they are pictures. */
function DemoGrid({ demo, model }: { demo: Demo; model: Model }) {
  const [pictures, setPictures] = useState<readonly Blob[]>([]);
  const { image } = demo;
  useEffect(() => {
    if (!image) return;
    let isCurrent = true;
    const draw = async () => {
      for await (const feeds of demo.samples(model, Math.min(demoShown, demo.sampleCount))) {
        const [tensor] = Object.values(feeds);
        const picture = await pictureOf(tensor as Parameters<typeof pictureOf>[0], image);
        if (!isCurrent) return;
        if (picture) setPictures((before) => [...before, picture]);
      }
    };
    draw().catch(() => undefined); // code that uses the samples reports a failure
    return () => {
      isCurrent = false;
      setPictures([]);
    };
  }, [demo, model]);
  if (pictures.length === 0) return null;
  return (
    <>
      <p class="note">As the network sees them:</p>
      <ul class="grid">
        {pictures.map((blob, index) => (
          <li key={index}>
            <Picture blob={blob} />
            <span class="name">sample {index + 1}</span>
          </li>
        ))}
      </ul>
      {demo.sampleCount > demoShown && <p class="note">and {demo.sampleCount - demoShown} more.</p>}
    </>
  );
}

/** Its name stands beside it. */
function Picture({ blob }: { blob: Blob | undefined }) {
  const url = usePicture(blob);
  return url ? <img src={url} alt="" loading="lazy" decoding="async" /> : null;
}

/** How images become tensors: a guess, in chips that can be changed. */
function Preparing({ samples, disabled }: { samples: Samples; disabled: boolean }) {
  const { image, guess, setImage } = samples;
  const isGuess = JSON.stringify(image) === JSON.stringify(guess.image);
  const { resize = 'stretch', channels = 'rgb', mean = 0, std = 1 } = whole(image);
  const range = rangeOf(image) ?? 'own';
  const set = (change: ImageOptions) => setImage({ ...image, ...change });
  const numbers = (value: number | readonly number[]) =>
    [value]
      .flat()
      .map((n) => Number(n.toPrecision(4)))
      .join(', ');
  return (
    <fieldset class="preparing" disabled={disabled}>
      <legend class="label">How images are prepared</legend>
      <p class="note" data-testid="guess">
        {isGuess ? (
          <>
            Guessed: <strong>{titleOf(guess.image)}</strong>, because {guess.because}.{' '}
            {!guess.sure && 'Check this first: wrong numbers make every answer wrong.'}
          </>
        ) : (
          <>
            As you chose.{' '}
            <button type="button" class="link" onClick={() => setImage(guess.image)}>
              Back to the guess
            </button>
          </>
        )}
      </p>
      <div class="chip-fields">
        <label>
          Images are prepared as
          <select
            value={image.preset ?? 'unit'}
            onChange={(event) => setImage({ preset: event.currentTarget.value as ImagePreset })}
          >
            {presets.map((name) => (
              <option key={name} value={name}>
                {presetTitles[name]}
              </option>
            ))}
          </select>
        </label>
        <TextField
          label="Height × width"
          value={image.size === undefined ? '' : [image.size].flat().join(' × ')}
          placeholder="from the model"
          read={parseSize}
          onChange={(size) => set({ size })}
        />
        <label>
          Fit
          <select
            value={resize}
            onChange={(event) => set({ resize: event.currentTarget.value as ImageOptions['resize'] })}
          >
            <option value="stretch">stretched</option>
            <option value="cover">cut out of the middle</option>
            <option value="contain">whole, with borders</option>
            <option value="fit-height">to the height</option>
          </select>
        </label>
        <label>
          Numbers
          <select
            value={range}
            onChange={(event) => {
              const found = ranges.find(({ id }) => id === event.currentTarget.value);
              if (found) set(found.image);
            }}
          >
            {ranges.map(({ id, title }) => (
              <option key={id} value={id}>
                {title}
              </option>
            ))}
            {range === 'own' && <option value="own">of your own</option>}
          </select>
        </label>
        <TextField
          label="Mean"
          value={numbers(mean)}
          read={parseNumbers}
          onChange={(mean) => set({ mean: mean ?? 0 })}
        />
        <TextField
          label="Deviation"
          value={numbers(std)}
          read={(text) => {
            const found = parseNumbers(text);
            if (found && [found].flat().includes(0)) throw new Error('the deviation cannot be 0');
            return found;
          }}
          onChange={(std) => set({ std: std ?? 1 })}
        />
        <label>
          Channels
          <select
            value={channels}
            onChange={(event) => set({ channels: event.currentTarget.value as ImageOptions['channels'] })}
          >
            <option value="rgb">RGB</option>
            <option value="bgr">BGR</option>
            <option value="gray">grey</option>
          </select>
        </label>
      </div>
    </fieldset>
  );
}

function parseSize(text: string): readonly [number, number] | undefined {
  if (text.trim() === '') return undefined;
  const found = /^\s*(\d{1,5})\s*(?:[x×,]\s*(\d{1,5}))?\s*$/.exec(text);
  const [height, width] = [Number(found?.[1]), Number(found?.[2] ?? found?.[1])];
  if (!found || height < 1 || width < 1) throw new Error('as in 224, or 48 × 192');
  return [height, width];
}

function parseNumbers(text: string): number | number[] | undefined {
  if (text.trim() === '') return undefined;
  const found = text
    .split(/[,;\s]+/)
    .filter(Boolean)
    .map(Number);
  if (found.some(Number.isNaN) || (found.length !== 1 && found.length !== 3)) {
    throw new Error('one number, or three');
  }
  return found.length === 1 ? (found[0] as number) : found;
}

/** A text field: its text counts when the field is left, if it can be read. */
function TextField<T>({
  label,
  value,
  placeholder,
  read,
  onChange,
}: {
  label: string;
  value: string;
  placeholder?: string;
  read: (text: string) => T | undefined;
  onChange: (value: T | undefined) => void;
}) {
  const [problem, setProblem] = useState('');
  return (
    <label>
      {label}
      <input
        type="text"
        key={value}
        defaultValue={value}
        placeholder={placeholder}
        aria-invalid={problem !== ''}
        onChange={(event) => {
          try {
            const found = read(event.currentTarget.value);
            setProblem('');
            onChange(found);
          } catch (error) {
            setProblem((error as Error).message);
          }
        }}
      />
      {problem && <span class="problem">{problem}</span>}
    </label>
  );
}

/** Right answers: the file, and which of its columns says what. */
function LabelsRow({ samples, disabled }: { samples: Samples; disabled: boolean }) {
  const { labelFile, labels, labelProblem, table, columns, setColumns } = samples;
  const known = labels?.of.filter((label) => label !== undefined).length ?? 0;
  return (
    <div class="labels-row">
      <div class="actions">
        <label class="file-button">
          {labelFile ? 'Other right answers' : 'Add right answers'}
          <input
            type="file"
            accept=".txt,.csv,.tsv"
            disabled={disabled}
            onChange={(event) => {
              samples.setLabelFile(event.currentTarget.files?.[0] ?? labelFile);
              event.currentTarget.value = '';
            }}
          />
        </label>
        {labelProblem ? (
          <span class="problem" role="alert">
            {labelFile?.name}: {labelProblem}.
          </span>
        ) : (
          <span class="note" data-testid="labels">
            {labels
              ? `${counted(known, 'right answer')} from ${labelFile?.name}${
                  known < labels.of.length ? `, for ${known} of ${labels.of.length} samples` : ''
                }.`
              : 'Optional: a table with the class of each sample, as in file,label,name. Then right answers are counted.'}
          </span>
        )}
      </div>
      {table && columns && table.columns.length > 1 && (
        <fieldset class="chip-fields" disabled={disabled}>
          <legend class="visually-hidden">Columns of the right answers</legend>
          <Column
            label="Files are in"
            columns={table.columns}
            value={columns.file}
            none="no column: in their order"
            onChange={(file) => setColumns({ ...columns, file })}
          />
          <Column
            label="Classes are in"
            columns={table.columns}
            value={columns.label}
            onChange={(label) => setColumns({ ...columns, label: label ?? 0 })}
          />
          <Column
            label="Their names are in"
            columns={table.columns}
            value={columns.name}
            none="no column"
            onChange={(name) => setColumns({ ...columns, name })}
          />
        </fieldset>
      )}
    </div>
  );
}

function Column({
  label,
  columns,
  value,
  none,
  onChange,
}: {
  label: string;
  columns: readonly string[];
  value: number | undefined;
  none?: string;
  onChange: (column: number | undefined) => void;
}) {
  return (
    <label>
      {label}
      <select
        value={value ?? ''}
        onChange={({ currentTarget: { value: chosen } }) =>
          onChange(chosen === '' ? undefined : Number(chosen))
        }
      >
        {none && <option value="">{none}</option>}
        {columns.map((name, index) => (
          <option key={index} value={index}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function MadeUp({ samples, disabled }: { samples: Samples; disabled: boolean }) {
  const { dims, setDims } = samples;
  return (
    <>
      <p class="warning">
        Random numbers show how small and how fast the model gets. They do not show its answers to real
        inputs: <Term of="range">ranges</Term> found on noise do not fit your data.
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
  );
}
