import { useEffect, useRef, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';
import { accuracyOf } from '../../accuracy.ts';
import { percent } from '../../format.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { type Digit, digitsTensor, testDigits } from './data.ts';
import { canvasSide, clear, digitOf, draw, show } from './draw.ts';

const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** The network's answer to each digit: ten probabilities. */
function useAnswer(model: Model | undefined, digit: Digit | undefined) {
  const [session, setSession] = useState<Session | undefined>();
  const [answer, setAnswer] = useState<{ digit: Digit; shares: number[] } | undefined>();
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let current = true;
    const opening = model?.createSession();
    opening?.then(
      (made) => current && setSession(made),
      (error) => current && setProblem(sentence(error)),
    );
    return () => {
      current = false;
      setSession(undefined);
      opening?.then((made) => made.dispose()).catch(() => undefined);
    };
  }, [model]);
  useEffect(() => {
    const [input] = session?.inputNames ?? [];
    if (!session || !digit || input === undefined) return;
    let current = true;
    session.run({ [input]: digitsTensor([digit]) }).then(
      (outputs) => {
        const [logits] = Object.values(outputs);
        if (current && logits) setAnswer({ digit, shares: softmax(Array.from(logits.data as Float32Array)) });
      },
      (error) => current && setProblem(sentence(error)),
    );
    return () => {
      current = false;
    };
  }, [session, digit]);
  return { answer: answer?.digit === digit ? answer?.shares : undefined, problem };
}

/** What share of the test digits a network gets right, in words. */
function useAccuracy(model: Model | undefined, test: DemoViewProps['test']) {
  const [counted, setCounted] = useState<{ of: Model; says: string } | undefined>();
  useEffect(() => {
    if (!model || !test) return;
    const leaving = new AbortController();
    accuracyOf(model, test, leaving.signal)
      .then((accuracy) => `${percent(accuracy)} right of ${test.what}.`, sentence)
      .then((says) => !leaving.signal.aborted && setCounted({ of: model, says }));
    return () => leaving.abort();
  }, [model, test]);
  return counted?.of === model ? counted?.says : 'Counting right answers…';
}

function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function Side({
  title,
  waiting,
  model,
  digit,
  test,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  digit: Digit | undefined;
  test: DemoViewProps['test'];
}) {
  const { answer, problem } = useAnswer(model, digit);
  const accuracy = useAccuracy(model, test);
  const best = answer?.indexOf(Math.max(...answer));
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem && <p class="problem">{problem}</p>}
      {!model && <p class="note">{waiting}</p>}
      {model && !problem && (
        <>
          <p class="read-text">
            {answer && best !== undefined ? (
              <>
                {best} <span class="note">{percent(answer[best] ?? 0)} sure</span>
              </>
            ) : (
              <span class="note">Draw a digit.</span>
            )}
          </p>
          <ol class="probabilities" aria-label={`${title}: probability of each digit`}>
            {Array.from({ length: 10 }, (_, each) => (
              <li key={each} class={each === best ? 'on' : ''}>
                <span aria-hidden="true" class="bar-of">
                  <span style={{ height: `${100 * (answer?.[each] ?? 0)}%` }} />
                </span>
                <span>
                  {each}
                  <span class="visually-hidden">: {percent(answer?.[each] ?? 0)}</span>
                </span>
              </li>
            ))}
          </ol>
          <p class="note" data-testid="accuracy">
            {accuracy}
          </p>
        </>
      )}
    </div>
  );
}

export default function DigitsView({ original, quantized, test, memory }: DemoViewProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const context = useRef<CanvasRenderingContext2D | null>(null);
  const pen = useRef<[number, number] | undefined>(undefined);
  const frame = useRef(0);
  const [digit, setDigit] = useKept<Digit | undefined>(memory, 'digit', undefined);
  const [shown, setShown] = useKept(memory, 'shown', -1); // which test digit is on the canvas; -1: the visitor's
  const [next, setNext] = useKept(memory, 'next', 0);
  const [problem, setProblem] = useState('');

  const showNext = async () => {
    try {
      const digits = await testDigits();
      const found = digits[next % digits.length];
      if (!found || !context.current) return;
      show(context.current, found);
      setDigit(found);
      setShown(next);
      setNext((next + 1) % digits.length);
      setProblem('');
    } catch (error) {
      setProblem(sentence(error));
    }
  };

  useEffect(() => {
    const board = canvas.current?.getContext('2d', { willReadFrequently: true }) ?? null;
    context.current = board;
    const before = memory.get('board') as ImageData | undefined;
    if (board && before) board.putImageData(before, 0, 0);
    else {
      if (board) clear(board);
      void showNext();
    }
    return () => {
      cancelAnimationFrame(frame.current);
      if (board) memory.set('board', board.getImageData(0, 0, canvasSide, canvasSide));
    };
  }, []);

  const wipe = () => {
    if (context.current) clear(context.current);
    setDigit(undefined);
    setShown(-1);
  };

  const at = (event: PointerEvent): [number, number] => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const scale = canvasSide / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };

  const stroke = (event: PointerEvent) => {
    const [surface, board] = [canvas.current, context.current];
    if (!pen.current || !surface || !board) return;
    const to = at(event);
    draw(board, pen.current, to);
    pen.current = to;
    // Told anew once a frame, however many points there are.
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => setDigit(digitOf(surface, board)));
  };

  return (
    <div class="digits">
      <div class="board">
        <canvas
          ref={canvas}
          width={canvasSide}
          height={canvasSide}
          role="img"
          aria-label={
            shown >= 0 && digit
              ? `Test digit ${shown + 1}, which is a ${digit.label}`
              : digit
                ? 'The digit that you drew'
                : 'An empty board to draw a digit on'
          }
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            if (shown >= 0) wipe();
            pen.current = at(event);
            stroke(event);
          }}
          onPointerMove={stroke}
          onPointerUp={() => {
            pen.current = undefined;
          }}
          onPointerCancel={() => {
            pen.current = undefined;
          }}
        />
        <div class="actions">
          <button type="button" onClick={() => void showNext()}>
            Next test digit
          </button>
          <button type="button" onClick={wipe}>
            Clear
          </button>
        </div>
        <p class="note" role="status">
          {problem ||
            (shown >= 0 && digit
              ? `Test digit ${shown + 1} is a ${digit.label}. Draw on the board, or take the next one.`
              : 'Draw a digit on the board, large and alone.')}
        </p>
      </div>
      <div class="sides">
        <Side title="Original" waiting="" model={original} digit={digit} test={test} />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one answers."
          model={quantized}
          digit={digit}
          test={test}
        />
      </div>
    </div>
  );
}
