import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';
import { milliseconds, percent } from '../../format.ts';
import { Microphone } from '../../parts/capture.tsx';
import { decodeSound, soundRate } from '../../samples/sound.ts';
import { wavOf } from '../../samples/wav.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { useWork } from '../use-work.ts';
import { heard, type Stretch, stepSeconds, stretches } from './listen.ts';
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

interface Listened {
  /** Of every step: how sure the model is that somebody speaks. */
  shares: readonly number[];
  spoken: readonly Stretch[];
  /** Of a run: the median. */
  milliseconds: number;
}

/** What a model hears in a sound. */
async function listen(
  session: Session,
  sound: Sound,
  signal: AbortSignal,
  show: (listened: Listened) => void,
): Promise<void> {
  const shares: number[] = [];
  const times: number[] = [];
  for await (const each of heard(session, sound.values, signal)) {
    shares.push(each.share);
    times.push(each.milliseconds);
  }
  const middle = times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
  show({ shares, spoken: stretches(shares), milliseconds: middle });
}

const secondsOf = (stretch: Stretch) => stretch.map((at) => at.toFixed(1)).join('–');

const spokenWords = ({ spoken }: Listened): string =>
  spoken.length ? `${spoken.map(secondsOf).join(', ')}\u00a0s` : 'no speech';

const [width, waveHeight, curveHeight, barHeight] = [1000, 70, 90, 12];

/** The sound, how sure the models are, and where they hear speech. */
function Track({
  sound,
  original,
  quantized,
}: {
  sound: Sound;
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
      .map(
        (share, i) =>
          `${i ? 'L' : 'M'}${x((i + 0.5) * stepSeconds).toFixed(1)} ${top + curveHeight * (1 - share)}`,
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
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  listened: Listened | undefined;
  problem: string;
  /** What it is compared with. */
  other?: Listened | undefined;
}) {
  const steps = Math.min(listened?.shares.length ?? 0, other?.shares.length ?? 0);
  const apart = Array.from({ length: steps }, (_, i) =>
    Math.abs((listened?.shares[i] as number) - (other?.shares[i] as number)),
  );
  const same = apart.filter(
    (_, i) => (listened?.shares[i] as number) >= 0.5 === (other?.shares[i] as number) >= 0.5,
  ).length;
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : listened ? (
        <>
          <p class="read-text">
            {listened.spoken.length ? `Speech at ${spokenWords(listened)}` : 'No speech'}
          </p>
          <p class="note">
            {milliseconds(listened.milliseconds)} for each {Math.round(1000 * stepSeconds)} ms of sound
          </p>
          {steps > 0 && (
            <p class="note" data-testid="agreement">
              {same} of {steps} answers are the original’s; the shares are {percent(Math.max(...apart))} apart
              at most.
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
      setProblem(`${file.name} is no sound that this browser can read.`);
    }
  };

  return (
    <div class="voice">
      <p class="note" role="status">
        {sound.name}, {(sound.values.length / soundRate).toFixed(1)} s
        {sound.isCut && `: the first ${longest} seconds of it`}.
      </p>
      <Track sound={sound} original={before.found} quantized={after.found} />
      {/* biome-ignore lint/a11y/useMediaCaption: what is said in it is not known, or means nothing */}
      <audio controls src={address} aria-label="The sound" />
      <div class="actions">
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
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <div class="sides">
        <Side title="Original" waiting="" model={original} listened={before.found} problem={before.problem} />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one hears."
          model={quantized}
          other={before.found}
          listened={after.found}
          problem={after.problem}
        />
      </div>
    </div>
  );
}
