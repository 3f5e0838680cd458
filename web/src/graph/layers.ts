// Which layer of the engine an operator of the file belongs to: the engine joins operators to layers, and knows the last value of
// each layer.
import type { ModelReport, QuantizeReport } from 'zeropoint';
import type { GraphNode } from './onnx.ts';

export type PlannedLayer = ModelReport['plan']['layers'][number] & {
  error?: QuantizeReport['layers'][number]['error'];
};

/** Finds the layer of an operator; undefined: it is a part of another one, or computed beforehand. */
export function layerOf(layers: readonly PlannedLayer[]): (node: GraphNode) => PlannedLayer | undefined {
  const byOutput = new Map(layers.map((layer) => [layer.output, layer]));
  const byName = new Map(layers.map((layer) => [layer.node, layer]));
  return ({ name, outputs }) =>
    (name ? byName.get(name) : undefined) ??
    outputs.map((output) => byOutput.get(output)).find((layer) => layer !== undefined);
}
