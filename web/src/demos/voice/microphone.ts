// Sound from the microphone while it is made: pieces of one length, at the rate that models of speech take.
import { soundRate } from '../../samples/sound.ts';
import workletUrl from './microphone-worklet.js?url';
import { Pieces } from './pieces.ts';

/** Begins to listen; `take` gets each piece. Returns a function that ends it. */
export async function listenTo(
  stream: MediaStream,
  length: number,
  take: (piece: Float32Array<ArrayBuffer>) => void,
): Promise<() => void> {
  // Firefox joins no stream to a context of another rate.
  let context = new AudioContext({ sampleRate: soundRate });
  const close = () => void context.close().catch(() => undefined);
  try {
    let source: MediaStreamAudioSourceNode;
    try {
      source = context.createMediaStreamSource(stream);
    } catch {
      close();
      context = new AudioContext();
      source = context.createMediaStreamSource(stream);
    }
    await context.audioWorklet.addModule(workletUrl);
    const node = new AudioWorkletNode(context, 'microphone', {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: 'explicit',
    });
    const pieces = new Pieces(context.sampleRate / soundRate, length);
    node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => {
      for (const piece of pieces.take(data)) take(piece);
    };
    source.connect(node);
    await context.resume();
    return close;
  } catch (error) {
    close();
    throw error;
  }
}
