// Where operators stand: each below the operators that it takes values from.
import {
  coordGreedy,
  decrossTwoLayer,
  graphConnect,
  layeringLongestPath,
  sugiyama,
  twolayerAgg,
} from 'd3-dag';

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** From the number of a box to that of another. */
export interface Wire {
  from: number;
  to: number;
  /** How many rows it goes down. */
  span: number;
  /** On which side of a straight line there are fewer boxes: -1 is the left. */
  side: -1 | 1;
}

/**
 * Wires over more rows do not count for places: they cross everything on any way, and each row of them takes time. Every box but
 * those at the bottom has a wire to the row below, so that rows stay the same without them.
 */
const longest = 4;
const gap = [26, 34] as const;

/**
 * How many wires lead from a box to the bottom at most: its row, counted from there. Boxes stand next to the boxes that need
 * them.
 */
function rowsOf(count: number, wires: readonly { from: number; to: number }[]): number[] {
  const rows = new Array<number>(count).fill(0);
  const waiting = new Array<number>(count).fill(0);
  const next = Array.from({ length: count }, () => [] as number[]);
  for (const { from, to } of wires) {
    next[to]?.push(from);
    waiting[from] = (waiting[from] ?? 0) + 1;
  }
  const ready = waiting.flatMap((left, id) => (left === 0 ? [id] : []));
  for (const id of ready) {
    for (const to of next[id] ?? []) {
      rows[to] = Math.max(rows[to] ?? 0, (rows[id] ?? 0) + 1);
      waiting[to] = (waiting[to] ?? 0) - 1;
      if (waiting[to] === 0) ready.push(to);
    }
  }
  return rows;
}

/** Boxes farther away are in no wire's way. */
const near = 240;

/** On which side of the line between two boxes fewer others stand. */
function freeSide(boxes: readonly Box[], from: Box, to: Box): -1 | 1 {
  const middle = (from.x + to.x) / 2;
  let right = 0;
  for (const { x, y } of boxes) {
    if (y > from.y && y < to.y && Math.abs(x - middle) < near) right += x >= middle ? 1 : -1;
  }
  return right >= 0 ? -1 : 1;
}

export function placed(
  sizes: readonly { width: number; height: number }[],
  links: readonly { from: number; to: number }[],
): { boxes: Box[]; wires: Wire[] } {
  const rows = rowsOf(sizes.length, links);
  const wires: Wire[] = links.map(({ from, to }) => ({
    from,
    to,
    span: (rows[from] ?? 0) - (rows[to] ?? 0),
    side: 1,
  }));
  const short = wires.filter(({ span }) => span <= longest);
  const wired = new Set(short.flatMap(({ from, to }) => [from, to]));
  const alone = sizes.flatMap((_, id) => (wired.has(id) ? [] : [id]));
  const boxes = sizes.map((size): Box => ({ ...size, x: 0, y: 0 }));
  if (sizes.length === 0) return { boxes, wires };
  const pairs: [string, string][] = [
    ...short.map(({ from, to }): [string, string] => [String(from), String(to)]),
    ...alone.map((id): [string, string] => [String(id), String(id)]),
  ];
  const graph = graphConnect().single(true)(pairs);
  const size = (data: string): [number, number] => {
    const { width = 0, height = 0 } = sizes[Number(data)] ?? {};
    return [width, height];
  };
  sugiyama()
    .layering(layeringLongestPath().topDown(true))
    .decross(decrossTwoLayer().order(twolayerAgg()).passes(4))
    .coord(coordGreedy())
    .nodeSize(({ data }: { data: string }) => size(data))
    .gap(gap)(graph);
  for (const { data, x, y } of graph.nodes()) Object.assign(boxes[Number(data)] ?? {}, { x, y });
  for (const wire of wires) {
    if (wire.span > 1) wire.side = freeSide(boxes, boxes[wire.from] as Box, boxes[wire.to] as Box);
  }
  return { boxes, wires };
}
