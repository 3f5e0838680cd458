import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Model } from 'zeropoint';
import { kindOf } from '../answers/index.ts';
import type { Names } from '../answers/kind.ts';
import { type Candidate, candidatesOf, type Prediction, predictions } from '../samples/candidates.ts';
import { asError } from '../samples/sample-set.ts';
import type { Samples } from '../use-samples.ts';
import { usePicture } from './picture.tsx';

interface Answered {
  kind: string;
  answers: readonly Prediction[];
}

/** “Which looks right?”: what the original answers to the same pictures, prepared in several ways. */
export function PreparationChoice({
  samples,
  model,
  kind,
  disabled,
}: {
  samples: Samples;
  model: Model;
  /** What the user said that the model answers with. */
  kind: string | undefined;
  disabled: boolean;
}) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Which looks right? Compare with other ways to prepare them</summary>
      {isOpen && <Comparison samples={samples} model={model} kind={kind} disabled={disabled} />}
    </details>
  );
}

function Comparison({
  samples: { image, files, setImage, labels },
  model,
  kind,
  disabled,
}: {
  samples: Samples;
  model: Model;
  kind: string | undefined;
  disabled: boolean;
}) {
  const [found, setFound] = useState<ReadonlyMap<string, Answered>>(new Map());
  const [problem, setProblem] = useState('');
  const candidates = useMemo(() => candidatesOf(image), [image]);
  useEffect(() => {
    const leaving = new AbortController();
    setFound(new Map());
    setProblem('');
    const run = async () => {
      for await (const { of, ...answered } of predictions(model, files, candidates, kind, leaving.signal)) {
        if (leaving.signal.aborted) return;
        setFound((before) => new Map(before).set(of.id, answered));
      }
    };
    run().catch((error: unknown) => {
      if (!leaving.signal.aborted) setProblem(asError(error).message);
    });
    return () => leaving.abort();
  }, [model, files, candidates, kind]);
  return (
    <>
      <p class="note">
        The original answers to your first pictures. If the numbers are wrong, its answers are unsure, or make
        no sense.
      </p>
      {problem && <p class="problem">The ways cannot be compared: {problem}</p>}
      <ul class="candidates" aria-label="Ways to prepare images">
        {candidates.map((candidate) => (
          <CandidateView
            key={candidate.id}
            candidate={candidate}
            answered={found.get(candidate.id)}
            names={labels?.names ?? {}}
            isOver={problem !== ''}
            disabled={disabled}
            onChoose={() => setImage(candidate.image)}
          />
        ))}
      </ul>
    </>
  );
}

function CandidateView({
  candidate: { title, isChosen },
  answered,
  names,
  isOver,
  disabled,
  onChoose,
}: {
  candidate: Candidate;
  answered: Answered | undefined;
  names: Names;
  /** There will be no answers. */
  isOver: boolean;
  disabled: boolean;
  onChoose: () => void;
}) {
  return (
    <li class={`candidate ${isChosen ? 'on' : ''}`}>
      <div class="candidate-head">
        <strong>Numbers: {title}</strong>
        {isChosen ? (
          <span class="chip">as chosen</span>
        ) : (
          <button type="button" disabled={disabled} onClick={onChoose}>
            Use this<span class="visually-hidden"> way: {title}</span>
          </button>
        )}
      </div>
      {answered ? (
        <ul class="candidate-answers">
          {answered.answers.map((each) => (
            <AnswerView key={each.name} prediction={each} kind={answered.kind} names={names} />
          ))}
        </ul>
      ) : (
        <p class="note">{isOver ? 'No answers.' : 'The original is asked…'}</p>
      )}
    </li>
  );
}

function AnswerView({ prediction, kind, names }: { prediction: Prediction; kind: string; names: Names }) {
  const picture = usePicture(prediction.picture);
  const { View, isSeen } = kindOf(kind);
  const answer =
    prediction.answer === undefined ? (
      <p class="note">No readable answer.</p>
    ) : (
      <View answer={prediction.answer} picture={isSeen ? picture : undefined} names={names} />
    );
  if (isSeen) return <li>{answer}</li>;
  return (
    <li class="candidate-answer">
      {picture && <img class="candidate-picture" src={picture} alt={prediction.name} />}
      <div>{answer}</div>
    </li>
  );
}
