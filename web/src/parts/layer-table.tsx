import type { ComponentChildren } from 'preact';
import { ScrollRegion } from './scroll-region.tsx';

interface Named {
  node: string;
  op: string;
  output: string;
}

/** An operator without the name of the usual domain. */
export const shortOp = (op: string): string => op.replace(/^ai\.onnx\./, '');

/** Layers by name and operator, with more columns: a title, and its cell of a layer. */
export function LayerTable<Layer extends Named>({
  label,
  layers,
  columns,
}: {
  label: string;
  layers: readonly Layer[];
  columns: readonly (readonly [title: string, cell: (layer: Layer) => ComponentChildren])[];
}) {
  return (
    <ScrollRegion label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">Operator</th>
            {columns.map(([title]) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {layers.map((layer) => (
            <tr key={layer.output}>
              <td class="name">{layer.node}</td>
              <td>{shortOp(layer.op)}</td>
              {columns.map(([title, cell]) => (
                <td key={title}>{cell(layer)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
