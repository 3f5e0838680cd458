import type { Choices, Target } from 'zeropoint';
import {
  advancedOf,
  goalOf,
  goals,
  isCalibrated,
  isOnlyForWeights,
  modesOf,
  type Settings,
  targets,
  titleOf,
} from '../settings.ts';
import { Advanced } from './option-field.tsx';

/** Goals, and behind them every option. */
export function SettingsPanel({
  settings,
  choices,
  disabled,
  estimates,
  onChange,
}: {
  settings: Settings;
  choices: Choices | undefined;
  disabled: boolean;
  /** What each goal would make of the model, by its id, in words. */
  estimates: Readonly<Record<string, readonly string[]>>;
  onChange: (settings: Settings) => void;
}) {
  const goal = goalOf(settings);
  const set = (change: Partial<Settings>) => onChange({ ...settings, picked: undefined, ...change });
  const calibrated = isCalibrated(settings);
  const fourBit = settings.weights === 'int4' || settings.weights === 'uint4';
  const schema = choices?.schema;
  const title = (option: string) => titleOf(schema, option);
  return (
    <div class="settings">
      <fieldset class="goals" disabled={disabled}>
        <legend class="visually-hidden">What becomes of the numbers</legend>
        {goals.map((each) => (
          <label key={each.id} class={`goal ${goal === each.id ? 'on' : ''}`}>
            <input type="radio" name="goal" checked={goal === each.id} onChange={() => set(each.settings)} />
            <strong>{each.title}</strong>
            <span class="summary">{each.summary}</span>
            {estimates[each.id]?.length ? (
              <span class="estimate">
                {estimates[each.id]?.map((words) => (
                  <span key={words}>{words}</span>
                ))}
              </span>
            ) : null}
          </label>
        ))}
      </fieldset>
      {schema && (
        <details>
          <summary>Options</summary>
          <fieldset class="fields" disabled={disabled}>
            <legend class="visually-hidden">Options</legend>
            <Choice
              label={title('mode')}
              value={settings.mode}
              options={modesOf(schema).map(({ name, title }) => [name, `${name}: ${title}`])}
              onChange={(mode) =>
                set({
                  mode,
                  ...(mode !== 'weight-only' && isOnlyForWeights(settings)
                    ? { weights: 'int8' as const }
                    : {}),
                })
              }
            />
            <Choice
              label={title('weights')}
              value={settings.weights}
              options={(settings.mode === 'weight-only'
                ? ['int8', 'uint8', 'int4', 'uint4', 'float16']
                : ['int8', 'uint8']
              ).map((w) => [w, w])}
              onChange={(weights) => set({ weights: weights as Settings['weights'] })}
            />
            {fourBit && (
              <Choice
                label={title('blockSize')}
                value={String(settings.blockSize)}
                options={['16', '32', '64', '128', '256'].map((b) => [b, b])}
                onChange={(size) => set({ blockSize: Number(size) })}
              />
            )}
            {calibrated && (
              <>
                <Choice
                  label={title('activations')}
                  value={settings.activations}
                  options={['uint8', 'int8', 'uint16', 'int16'].map((a) => [a, a])}
                  onChange={(activations) => set({ activations: activations as Settings['activations'] })}
                />
                {settings.mode === 'static' && (
                  <Choice
                    label={title('observer')}
                    value={settings.observer}
                    options={schema.observers.map(({ name, title }) => [name, `${name}: ${title}`])}
                    onChange={(observer) => set({ observer })}
                  />
                )}
                <Choice
                  label={title('outputs')}
                  value={settings.outputs}
                  options={[
                    ['float', 'float'],
                    ['quantized', 'integers'],
                  ]}
                  onChange={(outputs) => set({ outputs: outputs as Settings['outputs'] })}
                />
              </>
            )}
            {calibrated && (
              <TargetChoice
                label={title('target')}
                target={settings.target}
                onChange={(target) => set({ target })}
              />
            )}
            <Choice
              label={title('runtime')}
              value={settings.runtime}
              options={schema.runtimes.map(({ name, title }) => [name, title])}
              onChange={(runtime) => set({ runtime })}
            />
            <Choice
              label={title('format')}
              value={settings.format}
              options={[
                ['auto', 'the form that ONNX Runtime computes fastest'],
                ['qdq', 'QDQ: opens everywhere'],
                ['qoperator', 'integer operators'],
              ]}
              onChange={(format) => set({ format: format as Settings['format'] })}
            />
            <label class="check">
              <input
                type="checkbox"
                checked={settings.perChannel}
                onChange={(event) => set({ perChannel: event.currentTarget.checked })}
              />
              {title('perChannel')}
            </label>
            {calibrated && (
              <label class="check">
                <input
                  type="checkbox"
                  checked={settings.symmetric}
                  onChange={(event) => set({ symmetric: event.currentTarget.checked })}
                />
                {title('symmetric')}
              </label>
            )}
            {settings.mode !== 'auto' && schema.repairs.length > 0 && (
              <fieldset class="wide repairs">
                <legend>{title('repairs')}</legend>
                <label class="check">
                  <input
                    type="checkbox"
                    checked={settings.repairs === undefined}
                    onChange={(event) => set({ repairs: event.currentTarget.checked ? undefined : [] })}
                  />
                  With the repairs that are worth their time for every model
                </label>
                {schema.repairs.map(({ name: repair, title }) => (
                  <label class="check" key={repair}>
                    <input
                      type="checkbox"
                      checked={settings.repairs?.includes(repair) ?? false}
                      onChange={(event) =>
                        set({
                          repairs: event.currentTarget.checked
                            ? [...(settings.repairs ?? []), repair]
                            : settings.repairs?.filter((each) => each !== repair),
                        })
                      }
                    />
                    {title}
                  </label>
                ))}
              </fieldset>
            )}
            <label class="wide">
              {title('exclude')}: node names or operators, separated by commas
              <textarea
                rows={2}
                value={settings.exclude}
                spellcheck={false}
                onInput={(event) => set({ exclude: event.currentTarget.value })}
              />
            </label>
          </fieldset>
          <Advanced
            options={advancedOf(schema, settings)}
            values={settings.more}
            disabled={disabled}
            onChange={(more) => set({ more })}
          />
        </details>
      )}
    </div>
  );
}

function TargetChoice({
  label,
  target,
  onChange,
}: {
  label: string;
  target: Target | undefined;
  onChange: (target: Target | undefined) => void;
}) {
  const [[kind = '', value = ''] = []] = Object.entries(target ?? {});
  const change = (to: string, at: string | number | undefined) =>
    onChange(at === undefined ? undefined : ({ [to]: at } as unknown as Target));
  return (
    <>
      <Choice
        label={label}
        value={kind}
        options={[['', 'never'], ...Object.entries(targets).map(([id, { title }]) => [id, title])]}
        onChange={(to) => change(to, targets[to]?.start)}
      />
      {kind && (
        <label>
          Target ({targets[kind]?.unit})
          <input
            value={value}
            onChange={(event) => {
              const text = event.currentTarget.value.trim();
              change(kind, kind === 'size' ? text : Number(text.replace(',', '.')));
            }}
          />
        </label>
      )}
    </>
  );
}

function Choice({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: string;
  options: string[][];
  onChange: (value: string) => void;
}) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([id, title]) => (
          <option key={id} value={id}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}
