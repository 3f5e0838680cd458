import { useId, useState } from 'preact/hooks';
import { defaultOf, exampleOf, formOf, fromText, type OptionRow } from 'zeropoint';

/** Controls for options that have no place of their own, as the engine's table of options describes them. */
export function Advanced({
  options,
  values,
  disabled,
  onChange,
}: {
  options: readonly OptionRow[];
  /** By name; those of observers and repairs are in `parameters`. */
  values: Readonly<Record<string, unknown>>;
  disabled: boolean;
  onChange: (values: Record<string, unknown>) => void;
}) {
  if (options.length === 0) return null;
  const parameters = (values.parameters ?? {}) as Readonly<Record<string, unknown>>;
  const change = (option: OptionRow, value: unknown) => {
    if (option.group !== 'parameters') return onChange(having(values, option.name, value));
    const next = having(parameters, option.name, value);
    onChange(having(values, 'parameters', Object.keys(next).length > 0 ? next : undefined));
  };
  return (
    <details class="advanced">
      <summary>Advanced</summary>
      <fieldset class="fields" disabled={disabled}>
        <legend class="visually-hidden">Advanced</legend>
        {options.map((option) => (
          <OptionField
            key={`${option.group} ${option.name}`}
            option={option}
            value={(option.group === 'parameters' ? parameters : values)[option.name]}
            onChange={(value) => change(option, value)}
          />
        ))}
      </fieldset>
    </details>
  );
}

/** The record with this entry; without it, if it is undefined. */
function having(record: Readonly<Record<string, unknown>>, name: string, value: unknown) {
  const { [name]: _, ...rest } = record;
  return value === undefined ? rest : { ...rest, [name]: value };
}

/** One option. The value of an option that is left at its default is undefined. */
function OptionField({
  option,
  value,
  onChange,
}: {
  option: OptionRow;
  value: unknown;
  onChange: (value: unknown) => void;
}) {
  const id = useId();
  const [wrong, setWrong] = useState('');
  const { kind, title, sentence, owner } = option;
  const about = `${owner ? `${owner}: ` : ''}${sentence.replaceAll('`', '')}`;
  const read = (text: string) => {
    try {
      onChange(text.trim() === '' ? undefined : fromText(option, text));
      setWrong('');
    } catch (error) {
      setWrong((error as Error).message);
    }
  };
  const described = { 'aria-describedby': id };
  const byItself = `${defaultOf(option) ?? 'none'}`;
  const choices = kind === 'flag' && option.fallback !== undefined ? ['true', 'false'] : option.choices;
  return (
    <div class="option">
      {kind === 'flag' && option.fallback === undefined ? (
        <label class="check">
          <input
            type="checkbox"
            {...described}
            checked={Boolean(value ?? option.default)}
            onChange={({ currentTarget: { checked } }) =>
              onChange(checked === option.default ? undefined : checked)
            }
          />
          {title}
        </label>
      ) : choices && kind !== 'names' ? (
        <label>
          {title}
          <select
            {...described}
            value={value === undefined ? '' : String(value)}
            onChange={({ currentTarget }) => read(currentTarget.value)}
          >
            <option value="">default: {byItself}</option>
            {choices.map((choice) => (
              <option key={choice} value={choice}>
                {choice === 'true' ? 'yes' : choice === 'false' ? 'no' : choice}
              </option>
            ))}
          </select>
        </label>
      ) : (
        <label>
          {title}
          <input
            {...described}
            {...(kind === 'integer' || kind === 'number'
              ? { type: 'number', min: option.min, max: option.max, step: kind === 'integer' ? 1 : 'any' }
              : { type: 'text', spellcheck: false })}
            placeholder={
              kind === 'integer' || kind === 'number' ? byItself : (exampleOf(option) ?? formOf(option))
            }
            defaultValue={textOf(value)}
            onChange={({ currentTarget }) => read(currentTarget.value)}
          />
        </label>
      )}
      <span class="note" id={id}>
        {wrong || about}
      </span>
    </div>
  );
}

/** As fromText() reads it. */
function textOf(value: unknown): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, of]) =>
      'min' in of ? `${name}=${of.min}:${of.max}` : `${name}=${of.activations}/${of.weights}`,
    )
    .join(', ');
}
