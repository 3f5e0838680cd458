// What the camera sees, picture after picture, with the faces that both models find in it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { imageToTensor, type Model, type Session } from 'zeropoint';
import { useStream } from '../../parts/capture.tsx';
import { asError } from '../../samples/sample-set.ts';
import { look, type Picture, type Seen } from './find.ts';
import { networkHeight, networkWidth, preparation } from './preparation.ts';

const longestSide = 640;

function canvasOf(width: number, height: number) {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no canvas to draw on');
  return context;
}

/** Takes pictures of a video. */
function eyeOf(video: HTMLVideoElement): () => Picture {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, longestSide / Math.max(videoWidth, videoHeight));
  const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
  const shown = canvasOf(width, height);
  // The browser resizes it, in the middle of grey: this takes a fraction of the time.
  const small = canvasOf(networkWidth, networkHeight);
  small.fillStyle = 'rgb(127 127 127)';
  small.fillRect(0, 0, networkWidth, networkHeight);
  const fit = Math.min(networkWidth / width, networkHeight / height);
  const [w, h] = [width * fit, height * fit];
  return () => {
    shown.drawImage(video, 0, 0, width, height);
    small.drawImage(video, (networkWidth - w) / 2, (networkHeight - h) / 2, w, h);
    const seen = small.getImageData(0, 0, networkWidth, networkHeight);
    return {
      name: 'Your camera',
      data: shown.getImageData(0, 0, width, height).data,
      width,
      height,
      whole: { width: videoWidth, height: videoHeight },
      values: imageToTensor(seen, { ...preparation, layout: 'nchw' }).data as Float32Array<ArrayBuffer>,
    };
  };
}

/** A moment: the camera's picture, and the faces in it. */
export interface Moment {
  picture: Picture;
  original: Seen;
  quantized: Seen | undefined;
}

export interface Live {
  /** Undefined: the camera is off, or gave nothing yet. */
  now: Moment | undefined;
  isOn: boolean;
  /** Why there is no picture, in words; empty: nothing is wrong. */
  problem: string;
  start: () => void;
  stop: () => void;
}

/** `onEnd` gets the last picture. */
export function useLive(original: Model, quantized: Model | undefined, onEnd: (last: Picture) => void): Live {
  const { stream, problem, setProblem, open, close } = useStream('camera', {
    video: { facingMode: 'user', width: { ideal: longestSide } },
  });
  const [now, setNow] = useState<Moment | undefined>();
  const last = useRef<Picture | undefined>(undefined);

  useEffect(() => {
    if (!stream) return;
    const leaving = new AbortController();
    const { signal } = leaving;
    const sessions: Session[] = [];
    const run = async () => {
      const video = Object.assign(document.createElement('video'), {
        srcObject: stream,
        muted: true,
        playsInline: true,
      });
      for (const model of [original, quantized]) if (model) sessions.push(await model.createSession());
      const [before, after] = sessions as [Session, Session?];
      await video.play();
      const take = eyeOf(video);
      const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
      while (!signal.aborted) {
        const picture = take();
        const moment: Moment = {
          picture,
          original: await look(before, picture, signal),
          quantized: after && (await look(after, picture, signal)),
        };
        if (signal.aborted) return;
        last.current = picture;
        setNow(moment);
        await new Promise((resolve) =>
          isCalm ? setTimeout(resolve, 1000) : requestAnimationFrame(() => resolve(undefined)),
        );
      }
    };
    const [track] = stream.getVideoTracks();
    const lost = () => {
      setProblem('The camera is gone.');
      close();
    };
    track?.addEventListener('ended', lost);
    run()
      .catch((error: unknown) => {
        if (signal.aborted) return;
        setProblem(`The camera's pictures cannot be read: ${asError(error).message}`);
        close();
      })
      .finally(() => Promise.all(sessions.map((session) => session.dispose())));
    return () => {
      leaving.abort();
      track?.removeEventListener('ended', lost);
      setNow(undefined);
    };
  }, [stream, original, quantized]);

  // The last picture stays when the camera goes.
  useEffect(() => {
    if (!stream) return;
    return () => {
      const { current } = last;
      last.current = undefined;
      if (current) onEnd(current);
    };
  }, [stream]);

  return { now, isOn: stream !== undefined, problem, start: () => void open(), stop: close };
}
