import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';
import { milliseconds, percent } from '../../format.ts';
import { Microphone } from '../../parts/capture.tsx';
import { decodeSound, soundRate } from '../../samples/sound.ts';
import { wavOf } from '../../samples/wav.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { useWork } from '../use-work.ts';
import { heard, type Listened, listenedOf, type Stretch, stepSeconds, stepsOf } from './listen.ts';
import { useLive } from './live.ts';
import { first, play } from './sound.ts';

/** Of a longer sound, so many seconds are listened to. */
const longest = 60;

interface Sound {
  name: string;
  /** At `soundRate`. */
  values: Float32Array<ArrayBuffer>;
  isCut: boolean;
}

let made: Sound | undefined;
/** The sound that the demo begins with. */
const madeUp = (): Sound => {
  made ??= { name: 'Made-up speech, music and noise', values: play(first, 7), isCut: false };
  return made;
};

/** What a model hears in a sound. */
async function listen(
  session: Session,
  sound: Sound,
  signal: AbortSignal,
  show: (listened: Listened) => void,
): Promise<void> {
  const shares: number[] = [];
  const times: number[] = [];
  for await (const each of heard(session, stepsOf(sound.values), signal)) {
    shares.push(each.share);
    times.push(each.milliseconds);
  }
  const middle = times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
  show(listenedOf(shares, middle));
}

const secondsOf = (stretch: Stretch) => stretch.map((at) => at.toFixed(1)).join('–');

const spokenWords = ({ spoken }: Listened): string =>
  spoken.length ? `${spoken.map(secondsOf).join(', ')}\u00a0s` : 'no speech';

/** Whether somebody speaks at the end of it. */
const isSpeaking = ({ shares, spoken }: Listened): boolean =>
  (spoken.at(-1)?.[1] ?? 0) >= (shares.length - 5) * stepSeconds;

const [width, waveHeight, curveHeight, barHeight] = [1000, 70, 90, 12];

/** The sound, how sure the models are, and where they hear speech. */
function Track({
  sound,
  original,
  quantized,
}: {
  sound: Pick<Sound, 'name' | 'values'>;
  original: Listened | undefined;
  quantized: Listened | undefined;
}) {
  const { values } = sound;
  const seconds = values.length / soundRate;
  const wave = useMemo(() => {
    const columns = 500;
    const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    return Array.from({ length: columns }, (_, i) => {
      const [from, to] = [i, i + 1].map((at) => Math.floor((at * values.length) / columns)) as [
        number,
        number,
      ];
      let [low, high] = [0, 0];
      for (let k = from; k < to; ++k) {
        low = Math.min(low, values[k] as number);
        high = Math.max(high, values[k] as number);
      }
      const at = (value: number) => (waveHeight / 2) * (1 - (0.95 * value) / peak);
      return `M${(i * width) / columns} ${at(high).toFixed(1)}V${at(low).toFixed(1)}`;
    }).join('');
  }, [values]);
  const x = (at: number) => (at / Math.max(seconds, stepSeconds)) * width;
  const top = waveHeight + 8;
  const curve = ({ shares }: Listened) =>
    shares
      .map((share, i) =>
        Number.isNaN(share)
          ? ''
          : `${Number.isNaN(shares[i - 1] ?? Number.NaN) ? 'M' : 'L'}${x((i + 0.5) * stepSeconds).toFixed(1)} ${(top + curveHeight * (1 - share)).toFixed(1)}`,
      )
      .join('');
  const bars = ({ spoken }: Listened, row: number) =>
    spoken.map(([from, to]) => (
      <rect
        key={from}
        class={row ? 'quantized' : 'original'}
        x={x(from)}
        y={top + curveHeight + 8 + row * (barHeight + 4)}
        width={x(to) - x(from)}
        height={barHeight}
      />
    ));
  const said = [
    original && `the original hears ${spokenWords(original)}`,
    quantized && `the quantized model ${spokenWords(quantized)}`,
  ].filter(Boolean);
  const half = top + curveHeight / 2;
  return (
    <figure class="track">
      <svg
        viewBox={`0 0 ${width} ${top + curveHeight + 2 * barHeight + 16}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${sound.name}, ${seconds.toFixed(1)} s${said.length ? `: ${said.join(', ')}` : ''}`}
      >
        <path class="sound" d={wave} />
        <path class="half" d={`M0 ${half}H${width}`} />
        {original && <path class="curve original" d={curve(original)} />}
        {quantized && <path class="curve quantized" d={curve(quantized)} />}
        {original && bars(original, 0)}
        {quantized && bars(quantized, 1)}
      </svg>
      <figcaption class="note track-legend">
        <span class="keyed">
          <span class="swatch original" aria-hidden="true" /> original
        </span>
        {quantized && (
          <span class="keyed">
            <span class="swatch quantized" aria-hidden="true" /> quantized
          </span>
        )}
        <span>Lines: how sure the model is that somebody speaks; the dashed one is 50 %. Bars: speech.</span>
      </figcaption>
    </figure>
  );
}

function Side({
  title,
  waiting,
  model,
  listened,
  problem,
  other,
  isLive,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  listened: Listened | undefined;
  problem: string;
  /** What it is compared with. */
  other?: Listened | undefined;
  /** It listens now: the page says what it hears at this moment. */
  isLive: boolean;
}) {
  const pairs = (listened?.shares ?? []).flatMap((share, i) => {
    const theirs = other?.shares[i] ?? Number.NaN;
    return Number.isNaN(share) || Number.isNaN(theirs) ? [] : [[share, theirs] as const];
  });
  const apart = pairs.map(([share, theirs]) => Math.abs(share - theirs));
  const same = pairs.filter(([share, theirs]) => share >= 0.5 === theirs >= 0.5).length;
  const now = listened?.shares.findLast((share) => !Number.isNaN(share)) ?? 0;
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : listened ? (
        <>
          <p class="read-text">
            {isLive
              ? `${now >= 0.5 ? 'Speech' : 'No speech'}, ${percent(now, 0)}`
              : listened.spoken.length === 0
                ? 'No speech'
                : 'Speech at '}
            {!isLive &&
              listened.spoken.map((stretch, i) => (
                <span key={stretch[0]}>
                  {i > 0 && ', '}
                  <span class="in-one-line">
                    {secondsOf(stretch)}
                    {i === listened.spoken.length - 1 && '\u00a0s'}
                  </span>
                </span>
              ))}
          </p>
          <p class="note">
            {milliseconds(listened.milliseconds)} for each {Math.round(1000 * stepSeconds)} ms of sound
          </p>
          {pairs.length > 0 && (
            <p class="note" data-testid="agreement">
              {same} of {pairs.length} answers are the original’s; the shares are{' '}
              {percent(Math.max(...apart))} apart at most.
            </p>
          )}
        </>
      ) : (
        <p class="note">{model ? 'Listening…' : waiting}</p>
      )}
    </div>
  );
}

export default function VoiceView({ original, quantized, memory }: DemoViewProps) {
  const [sound, setSound] = useKept<Sound>(memory, 'sound', madeUp());
  const [problem, setProblem] = useState('');
  const [address, setAddress] = useState<string | undefined>();
  const before = useWork(original, sound, listen);
  const after = useWork(quantized, sound, listen);
  const live = useLive(original, quantized, longest, (values) =>
    setSound({ name: 'Your microphone', values, isCut: false }),
  );
  const { now } = live;
  const track = now
    ? {
        sound: { name: 'The microphone', values: now.values },
        original: now.original,
        quantized: now.quantized,
      }
    : { sound, original: before.found, quantized: after.found };

  useEffect(() => {
    const url = URL.createObjectURL(new Blob([wavOf(sound.values, soundRate)], { type: 'audio/wav' }));
    setAddress(url);
    return () => URL.revokeObjectURL(url);
  }, [sound]);

  const take = async (file: File | undefined) => {
    if (!file) return;
    try {
      const values = await decodeSound(await file.arrayBuffer());
      const most = longest * soundRate;
      setSound({ name: file.name, values: values.slice(0, most), isCut: values.length > most });
      setProblem('');
    } catch {
      setProblem(`${file.name} is not a sound that this browser can read.`);
    }
  };

  return (
    <div class="voice">
      <p class="note" role="status">
        {live.isOn ? (
          'The microphone is on: the graph shows its last 10 seconds. The sound stays on this machine.'
        ) : (
          <>
            {sound.name}, {(sound.values.length / soundRate).toFixed(1)} s
            {sound.isCut && `: the first ${longest} seconds of it`}.
          </>
        )}
      </p>
      <Track {...track} />
      {!live.isOn && (
        // biome-ignore lint/a11y/useMediaCaption: what is said in it is not known, or means nothing
        <audio controls src={address} aria-label="The sound" />
      )}
      <div class="actions">
        {navigator.mediaDevices && (
          <button
            type="button"
            class={live.isOn ? 'primary' : ''}
            onClick={live.isOn ? live.stop : live.start}
          >
            {live.isOn ? 'Stop listening' : 'Listen live'}
          </button>
        )}
        {!live.isOn && (
          <>
            {navigator.mediaDevices && <Microphone disabled={false} onFiles={([file]) => void take(file)} />}
            <label class="file-button">
              Your sound file
              <input
                type="file"
                accept="audio/*,.wav"
                onChange={(event) => {
                  void take(event.currentTarget.files?.[0]);
                  event.currentTarget.value = '';
                }}
              />
            </label>
            {sound !== made && (
              <button type="button" class="quiet" onClick={() => setSound(madeUp())}>
                Made-up speech
              </button>
            )}
          </>
        )}
      </div>
      {(problem || live.problem) && (
        <p class="problem" role="alert">
          {problem || live.problem}
        </p>
      )}
      {live.isOn && (
        <p class="visually-hidden" role="status">
          {now?.original && (isSpeaking(now.original) ? 'Speech' : 'No speech')}
        </p>
      )}
      <div class="sides">
        <Side
          title="Original"
          waiting=""
          model={original}
          listened={track.original}
          problem={live.isOn ? '' : before.problem}
          isLive={live.isOn}
        />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one hears."
          model={quantized}
          other={track.original}
          listened={track.quantized}
          problem={live.isOn ? '' : after.problem}
          isLive={live.isOn}
        />
      </div>
    </div>
  );
}
