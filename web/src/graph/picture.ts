// A model's graph with places for its operators, as the page draws it.

import { type Box, placed, type Wire } from './layout.ts';
import type { GraphNode, GraphTensor, ModelGraph } from './onnx.ts';

/** An operator, or a value that goes into the model or comes out of it. */
export interface Shape extends Box {
  kind: 'operator' | 'input' | 'output';
  label: string;
  /** Of an operator: its place among the nodes. */
  node: number | undefined;
}

export interface GraphPicture {
  nodes: readonly GraphNode[];
  tensors: ReadonlyMap<string, GraphTensor>;
  values: ReadonlyMap<string, string>;
  /** Those of the nodes come first, in their order. */
  shapes: readonly Shape[];
  wires: readonly Wire[];
}

const height = 34;
const widthOf = (label: string) => Math.max(64, 22 + 8 * label.length);
const longestLabel = 24;

const shortened = (label: string) =>
  label.length > longestLabel ? `${label.slice(0, longestLabel - 1)}…` : label;

export function pictureOf({ nodes, inputs, outputs, tensors, values }: ModelGraph): GraphPicture {
  const shapes: Omit<Shape, 'x' | 'y' | 'width' | 'height'>[] = [
    ...nodes.map(({ op, id }) => ({
      kind: 'operator' as const,
      label: shortened(op.replace(/^.*\./, '')),
      node: id,
    })),
    ...inputs.map((name) => ({ kind: 'input' as const, label: shortened(name), node: undefined })),
    ...outputs.map((name) => ({ kind: 'output' as const, label: shortened(name), node: undefined })),
  ];
  const makers = new Map<string, number>(inputs.map((name, i) => [name, nodes.length + i]));
  for (const { id, outputs } of nodes) for (const name of outputs) if (name) makers.set(name, id);
  const links = new Map<string, { from: number; to: number }>();
  const link = (value: string, to: number) => {
    const from = makers.get(value);
    if (from !== undefined && from !== to) links.set(`${from} ${to}`, { from, to });
  };
  for (const { id, inputs } of nodes) for (const name of inputs) link(name, id);
  outputs.forEach((name, i) => {
    link(name, nodes.length + inputs.length + i);
  });
  const { boxes, wires } = placed(
    shapes.map(({ label }) => ({ width: widthOf(label), height })),
    [...links.values()],
  );
  return {
    nodes,
    tensors,
    values,
    shapes: shapes.map((shape, i) => ({ ...shape, ...(boxes[i] as Box) })),
    wires,
  };
}

/** Bytes of the tensors that only the file gives to an operator. */
export const weightBytes = (node: GraphNode, tensors: GraphPicture['tensors']): number =>
  node.inputs.reduce((sum, name) => sum + (tensors.get(name)?.bytes ?? 0), 0);
