import type { Model, Session } from 'zeropoint';
import { milliseconds } from '../../format.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { useWork } from '../use-work.ts';
import { unknownIn } from './characters.ts';
import { type Wanted, written } from './write.ts';

const length = 280;
/** The text is shown anew this often, in milliseconds. */
const pace = 60;

interface Writing {
  text: string;
  isDone: boolean;
  /** Of a character, on average. */
  milliseconds: number;
}

/** The text that a model writes, as far as it is. */
async function write(
  session: Session,
  wanted: Wanted,
  signal: AbortSignal,
  show: (writing: Writing) => void,
): Promise<void> {
  let [text, spent, count, shownAt] = ['', 0, 0, 0];
  const tell = (isDone: boolean) => {
    shownAt = performance.now();
    show({ text, isDone, milliseconds: spent / Math.max(1, count - 1) });
  };
  for await (const { character, milliseconds: time } of written(session, wanted, signal)) {
    text += character;
    // The first run reads the prompt, and plans.
    if (count++ > 0) spent += time;
    if (performance.now() - shownAt >= pace) tell(false);
  }
  tell(true);
}

/** How many characters two texts have in common before they part. */
function commonLength(a: string, b: string): number {
  let at = 0;
  while (at < Math.min(a.length, b.length) && a[at] === b[at]) at += 1;
  return at;
}

function Side({
  title,
  waiting,
  model,
  prompt,
  writing,
  problem,
  other,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  prompt: string;
  writing: Writing | undefined;
  problem: string;
  /** What it is compared with. */
  other?: Writing | undefined;
}) {
  const text = writing?.text ?? '';
  const common = other ? commonLength(text, other.text) : text.length;
  const parted = other !== undefined && common < Math.min(text.length, other.text.length);
  const isDone = writing?.isDone && (other?.isDone ?? true);
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : model ? (
        <>
          <p class="written">
            <span class="prompt">{prompt}</span>
            <span data-testid="written">
              {parted ? text.slice(0, common) : text}
              {parted && <mark>{text.slice(common)}</mark>}
            </span>
          </p>
          <p class="note" role="status">
            {!writing?.isDone ? 'Writing…' : `${milliseconds(writing.milliseconds)} a character. `}
            {other &&
              isDone &&
              (parted
                ? `The same as the original for ${common} characters; what differs is marked.`
                : 'Every character is the original’s.')}
          </p>
        </>
      ) : (
        <p class="note">{waiting}</p>
      )}
    </div>
  );
}

export default function GptView({ original, quantized, memory }: DemoViewProps) {
  const [wanted, setWanted] = useKept<Wanted>(memory, 'wanted', start);
  const [prompt, setPrompt] = useKept(memory, 'prompt', start.prompt);
  const [temperature, setTemperature] = useKept(memory, 'temperature', start.temperature);
  const before = useWork(original, wanted, write);
  const after = useWork(quantized, wanted, write);
  const unknown = unknownIn(prompt);
  return (
    <div class="gpt">
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          setWanted({ prompt, length, temperature, seed: wanted.seed + 1 });
        }}
      >
        <label class="words">
          Your words
          <textarea
            rows={2}
            maxLength={200}
            value={prompt}
            onInput={(event) => setPrompt(event.currentTarget.value)}
          />
        </label>
        <label>
          Boldness
          <input
            type="range"
            min="0.2"
            max="1.2"
            step="0.1"
            value={temperature}
            onInput={(event) => setTemperature(Number(event.currentTarget.value))}
          />
        </label>
        <button type="submit">Write</button>
      </form>
      <p class="note">
        Both throw the same dice, so that they differ only where their odds differ.
        {unknown.length > 0 && ` It knows no ${unknown.slice(0, 6).join(' ')}: left out.`}
      </p>
      <div class="sides">
        <Side
          title="Original"
          waiting=""
          model={original}
          prompt={wanted.prompt}
          writing={before.found}
          problem={before.problem}
        />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one writes."
          model={quantized}
          prompt={wanted.prompt}
          other={before.found}
          writing={after.found}
          problem={after.problem}
        />
      </div>
    </div>
  );
}

const start: Wanted = { prompt: 'ROMEO:\nO, ', length, temperature: 0.7, seed: 1 };
