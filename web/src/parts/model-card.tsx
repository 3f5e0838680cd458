import { useMemo, useState } from 'preact/hooks';
import type { ModelReport } from 'zeropoint';
import { bytes, count, dims } from '../format.ts';
import { Folded, mostRows } from './folded.tsx';
import { LayerTable, shortOp } from './layer-table.tsx';

/** What the model is, and what quantization would do to each layer. */
export function ModelCard({ report }: { report: ModelReport }) {
  const [filter, setFilter] = useState('');
  const layers = report.plan.layers;
  const quantized = layers.filter((layer) => layer.quantized).length;
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    return wanted
      ? layers.filter(({ node, op, why }) => `${node} ${op} ${why}`.toLowerCase().includes(wanted))
      : layers;
  }, [layers, filter]);
  return (
    <div class="model-card">
      {report.problem && (
        <div class="error" role="alert">
          <p class="error-title">
            <strong>This model cannot run here: {report.problem.message}</strong>
          </p>
          {report.problem.hint && <p>What to do: {report.problem.hint}.</p>}
        </div>
      )}
      <div class="facts">
        <Fact label="Size" value={bytes(report.size)} />
        <Fact label="Parameters" value={count(report.parameters)} />
        <Fact label="Operators" value={`${report.nodes}`} />
        {report.macs > 0 && <Fact label="Multiply-adds" value={count(report.macs)} />}
        <Fact label="Opset" value={report.opsets.map(({ version }) => version).join(', ')} />
      </div>
      <div class="two">
        <Values title="Inputs" values={report.inputs} />
        <Values title="Outputs" values={report.outputs} />
      </div>
      <p class="chips">
        {report.operators.slice(0, 24).map(({ op, count }) => (
          <span class="chip" key={op}>
            {shortOp(op)} <b>{count}</b>
          </span>
        ))}
        {report.operators.length > 24 && <span class="chip">and {report.operators.length - 24} more</span>}
      </p>
      {[...new Set([...report.warnings, ...report.plan.warnings])]
        .filter((warning) => warning !== report.problem?.message)
        .map((warning) => (
          <p class="warning" key={warning}>
            {warning}
          </p>
        ))}
      {layers.length > 0 && (
        <Folded
          summary={`With the chosen settings, ${quantized} of ${layers.length} layers would be quantized: which, and why`}
        >
          {() => (
            <>
              {layers.length > 12 && (
                <label class="filter">
                  Find a layer
                  <input
                    type="search"
                    value={filter}
                    onInput={(event) => setFilter(event.currentTarget.value)}
                  />
                </label>
              )}
              <LayerTable
                label="Layers of the model"
                layers={shown.slice(0, mostRows)}
                columns={[
                  ['Quantized', ({ quantized }) => (quantized ? 'yes' : 'no')],
                  ['Why', ({ why }) => why],
                ]}
              />
              {shown.length > mostRows && (
                <p class="note">The first {mostRows} are shown. Search for a name to see others.</p>
              )}
            </>
          )}
        </Folded>
      )}
    </div>
  );
}

export function Fact({ label, value, note }: { label: string; value: string; note?: string }) {
  return (
    <div class="fact">
      <span class="fact-label">{label}</span>
      <span class="fact-value">{value}</span>
      {note && <span class="fact-note">{note}</span>}
    </div>
  );
}

function Values({ title, values }: { title: string; values: ModelReport['inputs'] }) {
  return (
    <div>
      <h2 class="label">{title}</h2>
      <ul class="values">
        {values.map((value) => (
          <li key={value.name}>
            <span class="name">{value.name}</span>{' '}
            <code>
              {value.type} {dims(value.dims)}
            </code>
          </li>
        ))}
      </ul>
    </div>
  );
}
