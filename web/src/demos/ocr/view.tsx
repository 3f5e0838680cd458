import { useEffect, useRef, useState } from 'preact/hooks';
import { decodeImage, type Model, type RgbaImage } from 'zeropoint';
import { milliseconds, percent } from '../../format.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { drawLine, plain } from './draw.ts';
import { type Reading, readLine } from './read.ts';

/** Reads `image` with `model` whenever either changes. */
function useReading(model: Model | undefined, image: RgbaImage | undefined) {
  const [reading, setReading] = useState<Reading | undefined>();
  const [problem, setProblem] = useState('');
  useEffect(() => {
    setReading(undefined);
    if (!model || !image) return;
    let current = true;
    const run = async () => {
      const session = await model.createSession();
      try {
        // The first run plans and the browser still compiles: its time would say nothing.
        await readLine(session, image);
        const found = await readLine(session, image);
        if (current) {
          setReading(found);
          setProblem('');
        }
      } finally {
        await session.dispose();
      }
    };
    run().catch((error: unknown) => {
      if (current) setProblem(error instanceof Error ? error.message : String(error));
    });
    return () => {
      current = false;
    };
  }, [model, image]);
  return { reading, problem };
}

function Side({
  title,
  waiting,
  model,
  image,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  image: RgbaImage | undefined;
}) {
  const { reading, problem } = useReading(model, image);
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : reading ? (
        <>
          <p class="read-text">{reading.text || '(no text found)'}</p>
          <p class="note">
            {milliseconds(reading.milliseconds)}, {percent(reading.confidence)} sure
          </p>
        </>
      ) : (
        <p class="note">{model ? 'Reading…' : waiting}</p>
      )}
    </div>
  );
}

export default function OcrView({ original, quantized, memory }: DemoViewProps) {
  const [text, setText] = useKept(memory, 'text', 'The quick brown fox 1234');
  const [noise, setNoise] = useKept(memory, 'noise', 4);
  const [image, setImage] = useKept<RgbaImage | undefined>(memory, 'image', undefined);
  const [own, setOwn] = useKept(memory, 'own', '');
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    if (own) return;
    const timer = setTimeout(() => setImage(drawLine(text || ' ', { ...plain, noise })), 150);
    return () => clearTimeout(timer);
  }, [text, noise, own]);

  useEffect(() => {
    const target = canvas.current;
    if (!target || !image) return;
    target.width = image.width;
    target.height = image.height;
    const pixels = new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);
    target.getContext('2d')?.putImageData(pixels, 0, 0);
  }, [image]);

  const takeFile = async (file: File | undefined) => {
    if (!file) return;
    try {
      setImage(await decodeImage(new Uint8Array(await file.arrayBuffer()), file.name));
      setOwn(file.name);
    } catch (error) {
      setOwn(error instanceof Error ? error.message : String(error));
    }
  };

  return (
    <div class="ocr">
      <canvas
        ref={canvas}
        class="line-image"
        role="img"
        aria-label={own ? `Image: ${own}` : `Image of the text: ${text}`}
      />
      <div class="fields">
        <label class="grow">
          Text on the image
          <input
            type="text"
            value={text}
            maxLength={60}
            onInput={(event) => {
              setOwn('');
              setText(event.currentTarget.value);
            }}
          />
        </label>
        <label>
          Noise
          <input
            type="range"
            min="0"
            max="40"
            value={noise}
            onInput={(event) => {
              setOwn('');
              setNoise(Number(event.currentTarget.value));
            }}
          />
        </label>
        <label class="file-button">
          Your image of one line
          <input
            type="file"
            accept="image/*"
            onChange={(event) => void takeFile(event.currentTarget.files?.[0])}
          />
        </label>
      </div>
      <div class="sides">
        <Side title="Original" waiting="" model={original} image={image} />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one reads."
          model={quantized}
          image={image}
        />
      </div>
    </div>
  );
}
