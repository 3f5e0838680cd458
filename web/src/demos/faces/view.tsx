import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';
import type { Box } from '../../answers/boxes.tsx';
import { Painting } from '../../answers/painting.tsx';
import { bytes, milliseconds, percent } from '../../format.ts';
import { Divided } from '../../parts/divided.tsx';
import { DropZone } from '../../parts/drop-zone.tsx';
import { asError } from '../../samples/sample-set.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { useWork } from '../use-work.ts';
import { differenceOf, look, type Picture, type Seen } from './find.ts';
import { useLive } from './live.ts';
import { pictures } from './thread.ts';

const drawnName = 'Drawn people';

/** How often a model runs on a still picture: the page shows the median of the times. */
const looks = 5;

async function lookAt(
  session: Session,
  picture: Picture | undefined,
  signal: AbortSignal,
  show: (seen: Seen) => void,
): Promise<void> {
  if (!picture) return;
  // The first run plans and the browser still compiles: its time would say nothing.
  await look(session, picture, signal);
  const times: number[] = [];
  let faces: readonly Box[] = [];
  for (let i = 0; i < looks; ++i) {
    const seen = await look(session, picture, signal);
    times.push(seen.milliseconds);
    faces = seen.faces;
  }
  show({ faces, milliseconds: times.sort((a, b) => a - b)[looks >> 1] ?? 0 });
}

const counted = (count: number) => (count === 0 ? 'no face' : `${count} ${count === 1 ? 'face' : 'faces'}`);

/** A picture with boxes around what a model found in it. */
function Framed({ picture, seen, whose }: { picture: Picture; seen: Seen | undefined; whose: string }) {
  const found = seen?.faces ?? [];
  return (
    <span class="overlay">
      <Painting pixels={picture} painted={undefined} words={picture.name} />
      <svg
        class="over"
        viewBox="0 0 100 100"
        preserveAspectRatio="none"
        role="img"
        aria-label={seen ? `${whose} finds ${counted(found.length)}` : `${whose} is looking`}
      >
        {found.map((box, i) => {
          const place = {
            x: 100 * box.left,
            y: 100 * box.top,
            width: 100 * (box.right - box.left),
            height: 100 * (box.bottom - box.top),
          };
          return (
            <g key={i}>
              <rect class="halo" {...place} />
              <rect class="face" {...place}>
                <title>{percent(box.score, 0)}</title>
              </rect>
            </g>
          );
        })}
      </svg>
    </span>
  );
}

/** What became of the faces of the original, in words. */
function agreementWords(original: Seen, quantized: Seen): string {
  const { both, lost, added, overlap, shift } = differenceOf(original.faces, quantized.faces);
  const all = both + lost + added;
  if (all === 0) return 'Neither model finds a face.';
  if (all === 1 && both === 1) {
    return `Both find the face. Its boxes overlap by ${percent(overlap)} (IoU), and its scores are ${percent(shift)} apart.`;
  }
  const parts = [
    `${both} of ${all} ${all === 1 ? 'face is' : 'faces are'} found by both`,
    ...(lost ? [`${lost} only by the original`] : []),
    ...(added ? [`${added} only by the quantized model`] : []),
  ];
  const apart = both
    ? ` Their boxes overlap by ${percent(overlap)} at least (IoU), and their scores are ${percent(shift)} apart at most.`
    : '';
  return `${parts.join(', ')}.${apart}`;
}

function Side({
  title,
  waiting,
  model,
  seen,
  problem,
  other,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  seen: Seen | undefined;
  problem: string;
  /** What it is compared with. */
  other?: Seen | undefined;
}) {
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : seen && model ? (
        <>
          <p class="read-text">{counted(seen.faces.length).replace(/^n/, 'N')}</p>
          <p class="note">
            {milliseconds(seen.milliseconds)} for a picture, a file of {bytes(model.size)}
          </p>
          {other && (
            <p class="note" data-testid="agreement">
              {agreementWords(other, seen)}
            </p>
          )}
        </>
      ) : (
        <p class="note">{model ? 'Looking…' : waiting}</p>
      )}
    </div>
  );
}

export default function FacesView({ original, quantized, memory }: DemoViewProps) {
  const [picture, setPicture] = useKept<Picture | undefined>(memory, 'picture', undefined);
  const [problem, setProblem] = useState('');
  const before = useWork(original, picture, lookAt);
  const after = useWork(quantized, picture, lookAt);
  const live = useLive(original, quantized, (last) =>
    setPicture({ ...last, name: 'The camera’s last picture' }),
  );
  const { now } = live;
  const shown = now
    ? now
    : live.isOn
      ? undefined
      : picture && { picture, original: before.found, quantized: after.found };

  const take = async (reading: Promise<Picture | undefined>, name: string) => {
    try {
      const found = await reading;
      if (found) setPicture(found);
      setProblem(found ? '' : `${name} is not a picture that this browser can read.`);
    } catch (error) {
      setProblem(asError(error).message);
    }
  };
  useEffect(() => {
    if (!picture) void take(pictures().group(drawnName), drawnName);
  }, []);

  const frame = useMemo(
    () =>
      shown && {
        // As wide as there is room, and no higher than the window.
        maxWidth: `min(100%, calc(70vh * ${(shown.picture.width / shown.picture.height).toFixed(3)}))`,
      },
    [shown?.picture.width, shown?.picture.height],
  );

  return (
    <div class="faces">
      {shown && (
        <div class="faces-stage" style={frame}>
          {quantized ? (
            <Divided
              name={shown.picture.name}
              left={<Framed picture={shown.picture} seen={shown.original} whose="The original" />}
              right={<Framed picture={shown.picture} seen={shown.quantized} whose="The quantized model" />}
            />
          ) : (
            <Framed picture={shown.picture} seen={shown.original} whose="The original" />
          )}
        </div>
      )}
      <p class="note" role="status">
        {live.isOn
          ? 'The camera is on. Its pictures stay on this machine.'
          : picture
            ? `${picture.name}, ${picture.whole.width} × ${picture.whole.height}.${
                picture.name === drawnName ? ' None of them exists.' : ''
              }`
            : !problem && 'Drawing people…'}
      </p>
      <div class="actions">
        {!live.isOn && (
          <DropZone
            label="Choose a photograph"
            accept="image/*"
            onFiles={([file]) => file && void take(pictures().open(file), file.name)}
          >
            <span class="note">Drop a photograph here. It stays on this machine.</span>
          </DropZone>
        )}
        {navigator.mediaDevices && (
          <button
            type="button"
            class={live.isOn ? 'primary' : ''}
            onClick={live.isOn ? live.stop : live.start}
          >
            {live.isOn ? 'Stop the camera' : 'Use the camera'}
          </button>
        )}
        {!live.isOn && picture && picture.name !== drawnName && (
          <button
            type="button"
            class="quiet"
            onClick={() => void take(pictures().group(drawnName), drawnName)}
          >
            {drawnName}
          </button>
        )}
      </div>
      {(problem || live.problem) && (
        <p class="problem" role="alert">
          {problem || live.problem}
        </p>
      )}
      <div class="sides">
        <Side
          title="Original"
          waiting=""
          model={original}
          seen={shown?.original}
          problem={live.isOn ? '' : before.problem}
        />
        <Side
          title="Quantized"
          waiting="Quantize the model to see which faces this one finds."
          model={quantized}
          other={shown?.original}
          seen={shown?.quantized}
          problem={live.isOn ? '' : after.problem}
        />
      </div>
    </div>
  );
}
