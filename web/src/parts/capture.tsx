// Samples from the camera and the microphone: they become files like those that are dropped.
import { useEffect, useRef, useState } from 'preact/hooks';
import { asError } from '../samples/sample-set.ts';
import { decodeSound, soundRate } from '../samples/sound.ts';
import { wavOf } from '../samples/wav.ts';

const stop = (stream: MediaStream | undefined) => {
  for (const track of stream?.getTracks() ?? []) track.stop();
};

/** Why a camera or a microphone does not answer, in words. */
function refusal(error: unknown, what: string): string {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError') return `The browser does not let this page use the ${what}.`;
  if (name === 'NotFoundError') return `There is no ${what} here.`;
  return `The ${what} does not answer: ${asError(error).message}`;
}

/** Moments and numbers keep names apart. */
const nameOf = (what: string, count: number, ending: string) =>
  `${what}-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}-${count}.${ending}`;

/** A camera or a microphone. It is released when the visitor goes to another step. */
export function useStream(what: string, wanted: MediaStreamConstraints) {
  const [stream, setStream] = useState<MediaStream | undefined>();
  const [problem, setProblem] = useState('');
  const current = useRef<MediaStream | undefined>(undefined);
  const gone = useRef(false);
  const close = () => {
    stop(current.current);
    current.current = undefined;
    setStream(undefined);
  };
  useEffect(() => {
    gone.current = false;
    addEventListener('hashchange', close);
    return () => {
      removeEventListener('hashchange', close);
      gone.current = true;
      stop(current.current);
    };
  }, []);
  const open = async () => {
    setProblem('');
    try {
      const opened = await navigator.mediaDevices.getUserMedia(wanted);
      if (gone.current) return stop(opened);
      current.current = opened;
      setStream(opened);
    } catch (error) {
      setProblem(refusal(error, what));
    }
  };
  return { stream, problem, setProblem, open, close };
}

interface CaptureProps {
  disabled: boolean;
  onFiles: (files: File[]) => void;
}

export function Camera({ disabled, onFiles }: CaptureProps) {
  const { stream, problem, setProblem, open, close } = useStream('camera', {
    video: { facingMode: 'environment', width: { ideal: 1280 } },
  });
  const video = useRef<HTMLVideoElement>(null);
  const [taken, setTaken] = useState(0);
  useEffect(() => {
    if (video.current) video.current.srcObject = stream ?? null;
  }, [stream]);
  const take = async () => {
    const { current: from } = video;
    if (!from?.videoWidth) return;
    try {
      const canvas = new OffscreenCanvas(from.videoWidth, from.videoHeight);
      canvas.getContext('2d')?.drawImage(from, 0, 0);
      const blob = await canvas.convertToBlob({ type: 'image/png' });
      onFiles([new File([blob], nameOf('camera', taken + 1, 'png'), { type: blob.type })]);
      setTaken(taken + 1);
    } catch (error) {
      setProblem(refusal(error, 'camera'));
    }
  };
  return (
    <div class="capture">
      {stream ? (
        <>
          <video ref={video} autoPlay playsInline muted aria-label="What the camera sees" />
          <div class="actions">
            <button type="button" class="primary" disabled={disabled} onClick={take}>
              Take a picture
            </button>
            <button type="button" class="quiet" onClick={close}>
              Stop the camera
            </button>
            <span class="note" role="status">
              {taken > 0 && `${taken} taken`}
            </span>
          </div>
        </>
      ) : (
        <button type="button" disabled={disabled} onClick={open}>
          Use the camera
        </button>
      )}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

export function Microphone({ disabled, onFiles }: CaptureProps) {
  const { stream, problem, setProblem, open, close } = useStream('microphone', {
    audio: { channelCount: 1 },
  });
  const [taken, setTaken] = useState(0);
  const recorder = useRef<MediaRecorder | undefined>(undefined);
  useEffect(() => {
    if (!stream) return;
    const pieces: Blob[] = [];
    const recording = new MediaRecorder(stream);
    recording.ondataavailable = ({ data }) => pieces.push(data);
    recording.onstop = async () => {
      if (recorder.current !== recording) return; // nobody ended it: the step was left
      recorder.current = undefined;
      try {
        const bytes = wavOf(await decodeSound(await new Blob(pieces).arrayBuffer()), soundRate);
        onFiles([new File([bytes], nameOf('microphone', taken + 1, 'wav'), { type: 'audio/wav' })]);
        setTaken(taken + 1);
      } catch (error) {
        setProblem(`The sound cannot be read: ${asError(error).message}`);
      }
    };
    recording.start();
    recorder.current = recording;
    return () => {
      if (recording.state !== 'inactive') recorder.current = undefined;
    };
  }, [stream]);
  const end = () => {
    recorder.current?.stop();
    close();
  };
  return (
    <div class="capture">
      <div class="actions">
        {stream ? (
          <button type="button" class="primary" onClick={end}>
            Stop recording
          </button>
        ) : (
          <button type="button" disabled={disabled} onClick={open}>
            Record sound
          </button>
        )}
        <span class="note" role="status">
          {stream ? 'Recording…' : taken > 0 && `${taken} recorded, ${soundRate / 1000} kHz`}
        </span>
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}
