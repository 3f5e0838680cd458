import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { Model, Session } from 'zeropoint';
import { bytes, milliseconds } from '../../format.ts';
import { DropZone } from '../../parts/drop-zone.tsx';
import { asError } from '../../samples/sample-set.ts';
import type { DemoViewProps } from '../demo.ts';
import { useKept } from '../use-kept.ts';
import { useWork } from '../use-work.ts';
import everyday from './everyday.txt?raw';
import {
  differenceOf,
  type Hit,
  type Placed,
  placed,
  ranked,
  timeOf,
  type Vectors,
  vectorOf,
  vectorsOf,
} from './find.ts';
import { most, type Text } from './text.ts';
import { reader } from './thread.ts';

const everydayName = 'Everyday sentences';

const suggestions = [
  'my tooth hurts',
  'sea creatures',
  'spilled wine on the carpet',
  'How do I stop being stressed?',
  'Which animals are active in the dark?',
  'What should I do before a job interview?',
];

/** How far a model has read a text is shown anew this often, in milliseconds. */
const pace = 60;
/** A sentence that is being typed is searched for when nothing was typed for so long, in milliseconds. */
const rest = 250;
/** Below this likeness of the nearest sentence, the text hardly answers the question. */
const near = 0.5;

interface Reading {
  count: number;
  /** When all is read. */
  vectors?: Vectors;
  /** Of a sentence. */
  milliseconds?: number;
}

async function readAll(
  session: Session,
  text: Text | undefined,
  signal: AbortSignal,
  show: (reading: Reading) => void,
): Promise<void> {
  if (!text) return;
  let shownAt = performance.now();
  const vectors = await vectorsOf(session, text.ids, signal, (count) => {
    if (performance.now() - shownAt < pace) return;
    shownAt = performance.now();
    show({ count });
  });
  show({
    count: text.ids.length,
    vectors,
    milliseconds: await timeOf(session, text.ids, signal),
  });
}

/** The sentence to search for. */
interface Asked {
  query: string;
  ids: readonly number[];
}

async function ask(
  session: Session,
  asked: Asked | undefined,
  signal: AbortSignal,
  show: (vector: Float32Array) => void,
): Promise<void> {
  if (asked) show(await vectorOf(session, asked.ids, signal));
}

interface Answer {
  model: Model;
  text: Text;
  query: string;
  /** All sentences. */
  hits: readonly Hit[];
}

/** What a model finds. The last answer stays until the next one is there. */
function useAnswer(model: Model | undefined, text: Text | undefined, asked: Asked | undefined) {
  const reading = useWork(model, text, readAll);
  const asking = useWork(model, asked, ask);
  const vectors = reading.found?.vectors;
  const vector = asking.found;
  const fresh = useMemo(
    () =>
      model && text && asked && vectors && vector
        ? { model, text, query: asked.query, hits: ranked(vectors, vector) }
        : undefined,
    [model, text, asked, vectors, vector],
  );
  const last = useRef<Answer | undefined>(undefined);
  if (fresh) last.current = fresh;
  const answer = last.current?.model === model && last.current?.text === text ? last.current : undefined;
  return { answer, reading: reading.found, problem: reading.problem || asking.problem };
}

/** How the quantized model's answer differs from the original's. */
function agreementWords(original: readonly Hit[], quantized: readonly Hit[]): string {
  const { shown, same, kept, shift } = differenceOf(original, quantized);
  const apart = `Similarities are ${shift.toFixed(3)} apart at most.`;
  if (shown === 1) return `Both find the only sentence. ${apart}`;
  if (kept === shown) return `The ${shown} nearest are the same, in the same order. ${apart}`;
  const order = `${kept} of them in the same place`;
  return same === shown
    ? `The ${shown} nearest are the same, ${order}. ${apart}`
    : `${same} of the ${shown} nearest are the same, ${order}. ${apart}`;
}

function Hits({
  nearest,
  sentences,
  otherName,
}: {
  nearest: readonly Placed[];
  sentences: readonly string[];
  /** The other model, whose ranks are shown where they differ; undefined: there is none. */
  otherName: string | undefined;
}) {
  return (
    <ol class="hits">
      {nearest.map(({ at, likeness, other }, i) => {
        const moved = otherName !== undefined && other !== i + 1;
        return (
          <li key={at} class={moved ? 'moved' : ''}>
            <span class="hit-rank" aria-hidden="true">
              {i + 1}
            </span>
            <span class="hit-text">{sentences[at]}</span>
            <span class="hit-likeness">
              <span class="visually-hidden">Similarity </span>
              {likeness.toFixed(2)}
            </span>
            <span class="hit-bar" aria-hidden="true">
              <span style={{ width: `${100 * Math.max(0, likeness)}%` }} />
            </span>
            {moved && (
              <span class="hit-moved">
                No. {other} in the {otherName}
              </span>
            )}
          </li>
        );
      })}
    </ol>
  );
}

function Side({
  title,
  waiting,
  model,
  text,
  found: { answer, reading, problem },
  other,
  otherName,
}: {
  title: string;
  waiting: string;
  model: Model | undefined;
  text: Text | undefined;
  found: ReturnType<typeof useAnswer>;
  /** What it is compared with: an answer to the same question. */
  other: Answer | undefined;
  otherName: string;
}) {
  const compared = answer && other?.query === answer.query ? other : undefined;
  return (
    <div class="reading" data-testid={`reading-${title.toLowerCase()}`}>
      <h3 class="label">{title}</h3>
      {problem ? (
        <p class="problem">{problem}</p>
      ) : !model ? (
        <p class="note">{waiting}</p>
      ) : (
        <>
          {answer && (
            <Hits
              nearest={placed(answer.hits, compared?.hits ?? answer.hits)}
              sentences={answer.text.sentences}
              otherName={compared && otherName}
            />
          )}
          <p class="note">
            {reading?.milliseconds !== undefined
              ? `${milliseconds(reading.milliseconds)} a sentence, a file of ${bytes(model.size)}`
              : `Reading${text && reading ? ` ${reading.count} of ${text.sentences.length} sentences` : ''}…`}
          </p>
        </>
      )}
    </div>
  );
}

const counted = (count: number) => `${count} ${count === 1 ? 'sentence' : 'sentences'}`;

/** The parts of a text that are not searched, or not as a whole. */
const limitWords = ({ cut, left }: Text): string =>
  [
    left > 0 && ` Only the first ${most.sentences} are searched: ${left} more are left out.`,
    cut > 0 && ` Of ${counted(cut)} only the beginning is read.`,
  ]
    .filter(Boolean)
    .join('');

export default function SearchView({ original, quantized, memory }: DemoViewProps) {
  const [text, setText] = useKept<Text | undefined>(memory, 'text', undefined);
  const [query, setQuery] = useKept(memory, 'query', suggestions[0] as string);
  const [pasted, setPasted] = useKept(memory, 'pasted', '');
  const [asked, setAsked] = useState<Asked | undefined>();
  const [problem, setProblem] = useState('');
  const [failure, setFailure] = useState(''); // of the last search
  const before = useAnswer(original, text, asked);
  const after = useAnswer(quantized, text, asked);

  const take = async (reading: Promise<Text | undefined>, name: string) => {
    try {
      const found = await reading;
      setFailure('');
      if (found?.sentences.length) setText(found);
      setProblem(
        found?.sentences.length
          ? ''
          : found
            ? `There is no sentence in ${name}.`
            : `${name} is not a text, or has more than ${bytes(most.bytes)}.`,
      );
    } catch (error) {
      setProblem(asError(error).message);
    }
  };
  const takeEveryday = () => take(reader().read(everydayName, everyday), everydayName);
  useEffect(() => {
    if (!text) void takeEveryday();
  }, []);

  const words = query.trim();
  const wanted = useRef(words);
  wanted.current = words;
  const find = async (searched: string) => {
    try {
      const [ids = []] = searched ? await reader().encode([searched]) : [];
      setFailure('');
      // Something else may have been typed by now.
      if (wanted.current === searched) setAsked(searched ? { query: searched, ids } : undefined);
    } catch (error) {
      setFailure(asError(error).message);
    }
  };
  useEffect(() => {
    const timer = setTimeout(() => void find(words), asked ? rest : 0);
    return () => clearTimeout(timer);
  }, [words]);

  const { answer } = before;
  const hasBoth = answer && after.answer?.query === answer.query;
  const best = answer?.hits[0];
  return (
    <div class="search">
      <search>
        <form
          class="fields"
          onSubmit={(event) => {
            event.preventDefault();
            void find(words);
          }}
        >
          <label class="words">
            A question, a sentence, or a few words
            <input
              type="search"
              maxLength={300}
              autocomplete="off"
              value={query}
              onInput={(event) => setQuery(event.currentTarget.value)}
            />
          </label>
          <button type="submit">Search</button>
        </form>
        <ul class="chips" aria-label="Examples">
          {suggestions.map((each) => (
            <li key={each}>
              <button type="button" class="quiet example" onClick={() => setQuery(each)}>
                {each}
              </button>
            </li>
          ))}
        </ul>
      </search>
      <p class="note" role="status">
        {!text
          ? !problem && 'Reading the text…'
          : `${text.name}: ${counted(text.sentences.length)}.${limitWords(text)}${
              !words
                ? ' Type something to search for.'
                : best && best.likeness < near
                  ? ' None of them is near.'
                  : ''
            }`}
      </p>
      {quantized && (
        <p class="search-agreement" role="status" data-testid="agreement">
          {words && hasBoth && agreementWords(answer.hits, after.answer?.hits ?? [])}
        </p>
      )}
      <div class="sides">
        <Side
          title="Original"
          waiting=""
          model={original}
          text={text}
          found={words ? before : { ...before, answer: undefined }}
          other={after.answer}
          otherName="quantized model"
        />
        <Side
          title="Quantized"
          waiting="Quantize the model to see what this one finds."
          model={quantized}
          text={text}
          found={words ? after : { ...after, answer: undefined }}
          other={answer}
          otherName="original"
        />
      </div>
      <p class="note">
        The network is small. Its teacher, all-MiniLM-L6-v2, has 90 MB. Of the ten sentences that the teacher
        finds in this demo’s text, the original finds five on average. For 52 of 60 questions that it had
        never seen, the teacher’s first is among its ten.
      </p>
      <details class="own-text">
        <summary>Search a text of your own</summary>
        <form
          class="own-text-form"
          onSubmit={(event) => {
            event.preventDefault();
            void take(reader().read('Your text', pasted), 'what you pasted');
          }}
        >
          <label class="words">
            Paste a text in English
            <textarea rows={5} value={pasted} onInput={(event) => setPasted(event.currentTarget.value)} />
          </label>
          <div class="actions">
            <button type="submit" disabled={!pasted.trim()}>
              Search this text
            </button>
            {(text ? text.name !== everydayName : problem) && (
              <button type="button" class="quiet" onClick={() => void takeEveryday()}>
                {everydayName}
              </button>
            )}
          </div>
        </form>
        <DropZone
          label="Choose a text file"
          accept=".txt,.md,text/plain"
          onFiles={([file]) => file && void take(reader().open(file), file.name)}
        >
          <span class="note">
            Or drop a text file here. It stays on this machine. {most.sentences} sentences at most are
            searched.
          </span>
        </DropZone>
      </details>
      {(problem || failure) && (
        <p class="problem" role="alert">
          {problem || failure}
        </p>
      )}
    </div>
  );
}
