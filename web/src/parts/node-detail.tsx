import { useEffect, useRef, useState } from 'preact/hooks';
import { bytes, decibels, milliseconds } from '../format.ts';
import type { PlannedLayer } from '../graph/layers.ts';
import type { GraphNode, GraphTensor } from '../graph/onnx.ts';
import type { GraphPicture } from '../graph/picture.ts';
import type { Spread } from '../graph/weights.ts';
import { layerChoiceOf, layerChoices, withLayerChoice } from '../layer-choice.ts';
import { asError, counted } from '../samples/sample-set.ts';
import type { Settings } from '../settings.ts';
import { HistogramPicture } from './histogram-picture.tsx';

/** What an operator is: its tensors and attributes, and what becomes of it. */
export function NodeDetail({
  node,
  picture,
  spread,
  layer,
  time,
  settings,
  disabled,
  onChange,
  onEnter,
  onClose,
}: {
  node: GraphNode;
  picture: GraphPicture;
  /** How the numbers of a tensor are distributed; undefined: that cannot be drawn. */
  spread: (tensor: GraphTensor) => Promise<Spread | undefined>;
  layer: PlannedLayer | undefined;
  /** Milliseconds of a run; undefined: not measured. */
  time: number | undefined;
  /** Undefined: there is nothing to set here. */
  settings: Settings | undefined;
  disabled: boolean;
  onChange: (settings: Settings) => void;
  /** Looks into a branch: an attribute that is a graph. */
  onEnter: (attribute: string) => void;
  onClose: () => void;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus({ preventScroll: true }), [node]);
  const title = node.name || node.outputs[0] || node.op;
  const chosen = settings && layer && layerChoiceOf(settings, layer.node);
  return (
    <section
      class="node-detail"
      aria-labelledby="node-heading"
      onKeyDown={(event) => {
        if (event.key === 'Escape') {
          event.stopPropagation();
          onClose();
        }
      }}
    >
      <div class="node-head">
        <h3 id="node-heading" ref={heading} tabIndex={-1}>
          <span class="chip">{node.op}</span> <span class="name">{title}</span>
        </h3>
        <button type="button" class="quiet" onClick={onClose}>
          Close<span class="visually-hidden"> {title}</span>
        </button>
      </div>
      {settings &&
        (layer ? (
          <fieldset class="layer-choice" disabled={disabled}>
            <legend class="label">This layer</legend>
            <div class="segments">
              {layerChoices(settings, layer.weight !== null || hasWeight(node, picture)).map(
                ({ id, title: words }) => (
                  <label key={id} class={chosen === id ? 'on' : ''}>
                    <input
                      type="radio"
                      name="layer"
                      checked={chosen === id}
                      onChange={() => onChange(withLayerChoice(settings, layer.node, id))}
                    />
                    {words}
                  </label>
                ),
              )}
            </div>
            <p class="note" role="status">
              {chosen === undefined && 'It has a precision of its own, set under “Advanced”. '}
              {layer.quantized ? 'Quantized: ' : 'Not quantized: '}
              {layer.why}.
            </p>
          </fieldset>
        ) : (
          <p class="note">
            It is not a layer of its own here: it becomes a part of a neighbour, or is computed beforehand.
          </p>
        ))}
      {!settings && layer && (
        <p class="note">
          {layer.quantized ? 'Quantized: ' : 'Not quantized: '}
          {layer.why}.
        </p>
      )}
      {layer?.error && (
        <>
          <p>
            Its output is off by {decibels(layer.error.sqnr)}
            {layer.error.quantized ? `, its own rounding alone by ${decibels(layer.error.ownSqnr)}` : ''}.
          </p>
          <HistogramPicture histogram={layer.error.histogram} covered={layer.error} />
        </>
      )}
      {time !== undefined && <p class="note">{milliseconds(time)} of a run here.</p>}
      <Values title="Takes" names={node.inputs} picture={picture} spread={spread} />
      <Values title="Gives" names={node.outputs} picture={picture} spread={spread} />
      {node.attributes.length > 0 && (
        <div>
          <h4 class="label">Attributes</h4>
          <dl class="attributes">
            {node.attributes.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>
                  {node.branches.includes(name) ? (
                    <button
                      type="button"
                      class="link tall"
                      aria-label={`${value}: look into ${name}`}
                      onClick={() => onEnter(name)}
                    >
                      {value}
                    </button>
                  ) : (
                    <code>{value}</code>
                  )}
                </dd>
              </div>
            ))}
          </dl>
        </div>
      )}
    </section>
  );
}

const hasWeight = ({ inputs }: GraphNode, { tensors }: GraphPicture) =>
  inputs.some((name) => (tensors.get(name)?.dims.length ?? 0) > 1);

function Values({
  title,
  names,
  picture: { tensors, values },
  spread,
}: {
  title: string;
  names: readonly string[];
  picture: GraphPicture;
  spread: (tensor: GraphTensor) => Promise<Spread | undefined>;
}) {
  const given = names.filter(Boolean);
  if (given.length === 0) return null;
  return (
    <div>
      <h4 class="label">{title}</h4>
      <ul class="values node-values">
        {given.map((name, i) => {
          const tensor = tensors.get(name);
          return (
            <li key={`${i} ${name}`}>
              <span class="name">{name}</span>{' '}
              <code>{tensor ? `${tensor.type} [${tensor.dims.join(', ')}]` : values.get(name)}</code>
              {tensor && <Weight tensor={tensor} spread={spread} />}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** A tensor of the file: its size, and once it is opened, how its numbers are distributed. */
function Weight({
  tensor,
  spread,
}: {
  tensor: GraphTensor;
  spread: (tensor: GraphTensor) => Promise<Spread | undefined>;
}) {
  const [found, setFound] = useState<{ of: Spread | undefined } | { problem: string } | undefined>();
  const look = (isOpen: boolean) => {
    if (!isOpen || found) return;
    spread(tensor).then(
      (of) => setFound({ of }),
      (error: unknown) => setFound({ problem: asError(error).message }),
    );
  };
  return (
    <details onToggle={(event) => look(event.currentTarget.open)}>
      <summary class="note">weight, {bytes(tensor.bytes)}</summary>
      {!found && <p class="note">Reading the numbers…</p>}
      {found && 'problem' in found && <p class="problem">The numbers cannot be read: {found.problem}</p>}
      {found && 'of' in found && <Numbers spread={found.of} />}
    </details>
  );
}

function Numbers({ spread }: { spread: Spread | undefined }) {
  if (!spread) return <p class="note">Its numbers are not in this file, or have a type that is not drawn.</p>;
  const { notFinite, counts, left } = spread;
  return (
    <>
      {counts.length > 0 ? (
        <HistogramPicture histogram={spread} />
      ) : (
        <p class="note">All its numbers are {Number(left.toPrecision(6))}.</p>
      )}
      {notFinite > 0 && <p class="problem">{counted(notFinite, 'number')} are NaN or infinite.</p>}
    </>
  );
}
