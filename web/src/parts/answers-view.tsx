import { useState } from 'preact/hooks';
import { type Judgement, kindOf, kinds, type SampleAnswers } from '../answers/index.ts';
import { kindWords } from '../verdict.ts';
import type { Run, Shown } from '../work.ts';
import { Divided } from './divided.tsx';
import { usePicture } from './picture.tsx';

const atOnce = 6;

/** The user's samples with what both models answer, the worst first. */
export function AnswersView({
  run,
  judgement,
  disabled,
  onKind,
}: {
  run: Run;
  judgement: Judgement;
  disabled: boolean;
  /** The answers are another kind. */
  onKind: (kind: string) => void;
}) {
  const [count, setCount] = useState(atOnce);
  const order = judgement.samples
    .map((sample, index) => ({ sample, shown: run.shown[index] }))
    .sort((a, b) => b.sample.change.size - a.sample.change.size);
  const changed = judgement.samples.filter(({ change }) => !change.same).length;
  return (
    <div class="answers">
      <p class="note">
        {changed === 0
          ? 'No answer changed on these samples. The least alike come first.'
          : `The worst first: ${changed} of ${judgement.samples.length} samples changed.`}
      </p>
      <ul class={`pairs ${kindOf(judgement.kind).isSeen ? 'seen' : ''}`}>
        {order.slice(0, count).map(({ sample, shown }, index) => (
          <PairView key={index} judgement={judgement} sample={sample} shown={shown} />
        ))}
      </ul>
      <div class="actions">
        {order.length > count && (
          <button type="button" onClick={() => setCount(count + 4 * atOnce)}>
            Show {Math.min(order.length - count, 4 * atOnce)} more
          </button>
        )}
        <label class="kind">
          <span class="note">{kindWords(run)}</span>
          <span class="kind-choice">
            Read them as{' '}
            <select
              value={judgement.kind}
              disabled={disabled}
              onChange={(event) => onKind(event.currentTarget.value)}
            >
              {kinds.map(({ id, title }) => (
                <option key={id} value={id}>
                  {title}
                </option>
              ))}
            </select>
          </span>
        </label>
      </div>
    </div>
  );
}

function PairView({
  judgement,
  sample,
  shown,
}: {
  judgement: Judgement;
  sample: SampleAnswers;
  shown: Shown | undefined;
}) {
  const picture = usePicture(shown?.picture);
  const { View, isSeen } = kindOf(judgement.kind);
  const side = (answer: unknown) => (
    <View answer={answer} picture={isSeen ? picture : undefined} names={judgement.names} />
  );
  return (
    <li class={`answer-pair ${sample.change.same ? '' : 'changed'}`}>
      {picture && !isSeen && <img src={picture} alt="" loading="lazy" />}
      <div class="answer-words">
        <span class="name">{shown?.name}</span>
        <span class={sample.change.same ? 'note' : 'problem'}>{sample.change.words}</span>
      </div>
      {isSeen ? (
        <Divided
          name={shown?.name ?? 'the sample'}
          left={side(sample.float)}
          right={side(sample.quantized)}
        />
      ) : (
        <div class="answer-sides">
          <div>
            <span class="fact-label">Original</span>
            {side(sample.float)}
          </div>
          <div>
            <span class="fact-label">Quantized</span>
            {side(sample.quantized)}
          </div>
        </div>
      )}
    </li>
  );
}
