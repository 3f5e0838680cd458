import type { Choices, Target } from 'zeropoint';
import {
  goalOf,
  goals,
  isCalibrated,
  isOnlyForWeights,
  repairTitles,
  type Settings,
  targets,
} from '../settings.ts';

/** Goals, and behind them every option. */
export function SettingsPanel({
  settings,
  choices,
  disabled,
  onChange,
}: {
  settings: Settings;
  choices: Choices | undefined;
  disabled: boolean;
  onChange: (settings: Settings) => void;
}) {
  const goal = goalOf(settings);
  const set = (change: Partial<Settings>) => onChange({ ...settings, picked: undefined, ...change });
  const calibrated = isCalibrated(settings);
  const fourBit = settings.weights === 'int4' || settings.weights === 'uint4';
  return (
    <div class="settings">
      <fieldset class="goals" disabled={disabled}>
        <legend class="visually-hidden">What matters most</legend>
        {goals.map((each) => (
          <label key={each.id} class={`goal ${goal === each.id ? 'on' : ''}`}>
            <input type="radio" name="goal" checked={goal === each.id} onChange={() => set(each.settings)} />
            <strong>{each.title}</strong>
            <span>{each.summary}</span>
          </label>
        ))}
      </fieldset>
      <details>
        <summary>Options</summary>
        <fieldset class="fields" disabled={disabled}>
          <legend class="visually-hidden">Options</legend>
          <Choice
            label="Scheme"
            value={settings.mode}
            options={[
              ['static', 'static: calibrated integers'],
              ['auto', 'auto: the best of several'],
              ['dynamic', 'dynamic: ranges at run time'],
              ['weight-only', 'weights only'],
              ['float16', 'float16: half precision'],
            ]}
            onChange={(mode) =>
              set({
                mode: mode as Settings['mode'],
                ...(mode !== 'weight-only' && isOnlyForWeights(settings) ? { weights: 'int8' as const } : {}),
              })
            }
          />
          <Choice
            label="Weights"
            value={settings.weights}
            options={(settings.mode === 'weight-only'
              ? ['int8', 'uint8', 'int4', 'uint4', 'float16']
              : ['int8', 'uint8']
            ).map((w) => [w, w])}
            onChange={(weights) => set({ weights: weights as Settings['weights'] })}
          />
          {fourBit && (
            <Choice
              label="Values per 4-bit scale"
              value={String(settings.blockSize)}
              options={['16', '32', '64', '128', '256'].map((b) => [b, b])}
              onChange={(size) => set({ blockSize: Number(size) })}
            />
          )}
          {calibrated && (
            <>
              <Choice
                label="Activations"
                value={settings.activations}
                options={['uint8', 'int8', 'uint16', 'int16'].map((a) => [a, a])}
                onChange={(activations) => set({ activations: activations as Settings['activations'] })}
              />
              {settings.mode === 'static' && (
                <Choice
                  label="Ranges from samples by"
                  value={settings.observer}
                  options={(choices?.observers ?? ['min-max']).map((o) => [o, o])}
                  onChange={(observer) => set({ observer })}
                />
              )}
              <Choice
                label="Outputs"
                value={settings.outputs}
                options={[
                  ['float', 'float'],
                  ['quantized', 'integers'],
                ]}
                onChange={(outputs) => set({ outputs: outputs as Settings['outputs'] })}
              />
            </>
          )}
          {calibrated && <TargetChoice target={settings.target} onChange={(target) => set({ target })} />}
          <Choice
            label="Where it is to run"
            value={settings.runtime}
            options={(choices?.runtimes ?? [{ name: settings.runtime, title: settings.runtime }]).map(
              ({ name, title }) => [name, title],
            )}
            onChange={(runtime) => set({ runtime })}
          />
          <Choice
            label="File format"
            value={settings.format}
            options={[
              ['auto', 'what ONNX Runtime computes fastest'],
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
            A scale for each output channel
          </label>
          {calibrated && (
            <label class="check">
              <input
                type="checkbox"
                checked={settings.symmetric}
                onChange={(event) => set({ symmetric: event.currentTarget.checked })}
              />
              Symmetric activations
            </label>
          )}
          {settings.mode !== 'auto' && (choices?.repairs.length ?? 0) > 0 && (
            <fieldset class="wide repairs">
              <legend>Win accuracy back</legend>
              <label class="check">
                <input
                  type="checkbox"
                  checked={settings.repairs === undefined}
                  onChange={(event) => set({ repairs: event.currentTarget.checked ? undefined : [] })}
                />
                With what is worth its time for every model
              </label>
              {choices?.repairs.map((repair) => (
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
                  {repairTitles[repair] ?? repair}
                </label>
              ))}
            </fieldset>
          )}
          <label class="wide">
            Leave these as they are: node names or operators, separated by commas
            <textarea
              rows={2}
              value={settings.exclude}
              spellcheck={false}
              onInput={(event) => set({ exclude: event.currentTarget.value })}
            />
          </label>
        </fieldset>
      </details>
    </div>
  );
}

function TargetChoice({
  target,
  onChange,
}: {
  target: Target | undefined;
  onChange: (target: Target | undefined) => void;
}) {
  const [[kind = '', value = ''] = []] = Object.entries(target ?? {});
  const change = (to: string, at: string | number | undefined) =>
    onChange(at === undefined ? undefined : ({ [to]: at } as unknown as Target));
  return (
    <>
      <Choice
        label="More bits for the layers that are harmed, until"
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
