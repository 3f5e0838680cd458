import type { ComponentChildren } from 'preact';
import { useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { type Finding, type QuantizeReport, type Remedy, type Schema, wordsOf } from 'zeropoint';
import { decibels, percent, relativeError, sentence } from '../format.ts';
import { actionOf, named } from '../settings.ts';
import { Folded } from './folded.tsx';
import { HistogramPicture } from './histogram-picture.tsx';
import { LayerTable, shortOp } from './layer-table.tsx';
import { axis, useChart } from './use-chart.ts';

type Layer = QuantizeReport['layers'][number];
type Measured = Layer & { error: NonNullable<Layer['error']> };

/** A bar for each layer, the worst first: how far its output is from the float model's. */
export function LayerChart({
  report,
  schema,
  onRemedy,
}: {
  report: QuantizeReport;
  schema: Schema | undefined;
  onRemedy: (remedy: Remedy) => void;
}) {
  const layers = useMemo(
    () =>
      report.layers
        .filter((layer): layer is Measured => layer.error !== undefined && !Number.isNaN(layer.error.sqnr))
        .sort((a, b) => a.error.sqnr - b.error.sqnr),
    [report],
  );
  const [at, setAt] = useState(0);
  const host = useRef<HTMLDivElement>(null);

  const data = useMemo(
    () =>
      [layers.map((_, i) => i), layers.map(({ error }) => relativeError(error.sqnr))] as [number[], number[]],
    [layers],
  );
  useChart(
    host,
    (color) => ({
      legend: { show: false },
      scales: {
        x: { time: false, range: [-0.6, layers.length - 0.4] },
        y: { range: (_, __, max) => [0, max * 1.08 || 1] },
      },
      axes: [{ show: false }, { ...axis(color, (tick) => percent(tick, tick < 0.02 ? 1 : 0)), size: 56 }],
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      series: [
        {},
        {
          paths: uPlot.paths.bars?.({ size: [0.78, 40], radius: 0.12 }) as uPlot.Series.PathBuilder,
          fill: color('--accent'),
          width: 0,
          points: { show: false },
        },
      ],
      hooks: {
        setCursor: [
          (self) => {
            const index = self.cursor.idx;
            if (typeof index === 'number') setAt(index);
          },
        ],
      },
    }),
    data,
    layers,
  );

  if (layers.length === 0) {
    return <Weights layers={report.layers} />;
  }
  const layer = layers[Math.min(at, layers.length - 1)] as Measured;
  return (
    <div class="layer-chart">
      <p class="note">
        Error of each layer's output relative to the float model, with everything before it quantized too.
        Worst first. Point at a bar, or use the arrow keys.
      </p>
      <div
        ref={host}
        class="chart"
        role="slider"
        aria-label="Layers by error, worst first"
        aria-valuemin={1}
        aria-valuemax={layers.length}
        aria-valuenow={at + 1}
        aria-valuetext={`${layer.node}, ${shortOp(layer.op)}: ${decibels(layer.error.sqnr)}`}
        tabIndex={0}
        onKeyDown={(event) => {
          const step = {
            ArrowRight: 1,
            ArrowLeft: -1,
            ArrowUp: 1,
            ArrowDown: -1,
            Home: -Infinity,
            End: Infinity,
          }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          setAt((now) => Math.max(0, Math.min(layers.length - 1, now + step)));
        }}
      />
      <LayerDetail layer={layer} rank={Math.min(at, layers.length - 1) + 1} of={layers.length}>
        <Findings
          findings={report.findings.filter(({ output }) => output === layer.output)}
          here
          schema={schema}
          onRemedy={onRemedy}
        />
      </LayerDetail>
      <Folded summary={`All ${layers.length} layers as a table`}>
        {() => (
          <LayerTable
            label="Errors of all layers"
            layers={layers}
            columns={[
              ['SQNR', ({ error }) => decibels(error.sqnr)],
              ['Own rounding', ({ error }) => (error.quantized ? decibels(error.ownSqnr) : 'float')],
              ['Weights', ({ weight }) => (weight ? decibels(weight.sqnr) : '–')],
              ['Out of range', ({ error }) => (error.quantized ? percent(error.saturated, 2) : '–')],
            ]}
          />
        )}
      </Folded>
    </div>
  );
}

/** The layers of a model that was not run: the error of each weight is known. */
function Weights({ layers }: { layers: readonly Layer[] }) {
  return (
    <>
      <p class="note">
        No layer's error was measured, because the model was not run. The errors of its weights are known.
      </p>
      <Folded summary={`All ${layers.length} layers as a table`}>
        {() => (
          <LayerTable
            label="All layers"
            layers={layers}
            columns={[
              ['Weights', ({ weight }) => (weight ? `${weight.type}, ${decibels(weight.sqnr)}` : '–')],
              ['Reason', ({ why }) => sentence(why)],
            ]}
          />
        )}
      </Folded>
    </>
  );
}

function LayerDetail({
  layer,
  rank,
  of,
  children,
}: {
  layer: Measured;
  rank: number;
  of: number;
  children: ComponentChildren;
}) {
  const { error, weight } = layer;
  return (
    <div class="layer-detail">
      <p>
        <strong class="name">{layer.node}</strong> <span class="chip">{shortOp(layer.op)}</span>{' '}
        <span class="note">
          {rank} of {of}
        </span>
      </p>
      <p>
        Output off by {percent(relativeError(error.sqnr))} ({decibels(error.sqnr)}
        {error.quantized &&
          error.ownSqnr !== Number.POSITIVE_INFINITY &&
          `; its own rounding alone: ${decibels(error.ownSqnr)}`}
        ).
        {weight &&
          ` Weights: ${weight.type}, ${weight.scales} ${weight.scales === 1 ? 'scale' : 'scales'}, ${decibels(weight.sqnr)}.`}
        {error.saturated > 0 &&
          ` ${percent(error.saturated, 2)} of the values are outside the range that calibration saw.`}
        {layer.macsShare > 0.005 && ` ${percent(layer.macsShare)} of the model's work.`}
      </p>
      {children}
      <HistogramPicture histogram={error.histogram} covered={error} />
      <p class="note">{sentence(layer.why)}</p>
    </div>
  );
}

/** Sentences about layers, with buttons that set what helps. `here`: they stand at the layer, and need not name it. */
export function Findings({
  findings,
  here = false,
  schema,
  onRemedy,
}: {
  findings: readonly Finding[];
  here?: boolean;
  schema: Schema | undefined;
  onRemedy: (remedy: Remedy) => void;
}) {
  if (findings.length === 0) return null;
  return (
    <ul class="findings">
      {findings.map((finding) => (
        <li key={`${finding.output} ${finding.text}`}>
          {!here && <strong class="name">{finding.node}: </strong>}
          {schema ? wordsOf(finding, named(schema)) : finding.text}
          {schema && (
            <span class="remedies">
              {finding.remedies.map((remedy) => (
                <button
                  key={`${remedy.option} ${remedy.value}`}
                  type="button"
                  class="quiet"
                  onClick={() => onRemedy(remedy)}
                >
                  {actionOf(schema, remedy)}
                </button>
              ))}
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}
