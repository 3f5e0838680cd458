// Draws a model's graph. Loaded when a graph is looked at: the library is as large as the rest of the page.
import cytoscape from 'cytoscape';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { GraphPicture } from '../graph/picture.ts';
import { rgbOf, themeColour, useTheme } from '../theme.ts';

/** The library would add an element of style, which the page's policy forbids: it adds none where this is. */
const noStyle = '__________cytoscape_stylesheet';
/** Beyond so many operators, wires are left out while the picture moves, and shapes are plain: they are drawn in half the time. */
const many = 1500;

/** How long work may hold up a frame, in milliseconds, and how many items it does between two looks at the clock. */
const [slice, portion] = [7, 30];

/** What the library's types leave out. */
type Drawing = cytoscape.Core & {
  notifications(on: boolean): void;
  notify(event: 'add' | 'draw'): void;
  renderer(): Renderer;
};

type One = cytoscape.EdgeSingular | cytoscape.NodeSingular;
type Ordered = One[] & { interactive?: One[] };

interface Renderer {
  cachedZSortedEles?: Ordered | null;
  updateCachedGrabbedEles(): void;
  getCachedZSortedEles(anew?: boolean): Ordered;
}

/** The library's own notes of an element. */
interface Noted {
  _private: { bbCache?: cytoscape.BoundingBox12 & cytoscape.BoundingBoxWH; styleDirty?: boolean };
}

/**
 * Each picture asks each element for its box, several times. The library looks each time whether the element has moved, which
 * takes half of the time; here none ever moves.
 */
function keepBoxes(cy: cytoscape.Core): void {
  const every = Object.getPrototypeOf(cy.collection()) as cytoscape.Collection & { keepsBoxes?: boolean };
  if (every.keepsBoxes) return;
  const { boundingBox } = every;
  Object.assign(every, {
    keepsBoxes: true,
    boundingBox(this: cytoscape.Collection, options?: cytoscape.BoundingBoxOptions) {
      const noted = options === undefined && this.length === 1 && (this[0] as unknown as Noted)._private;
      return (noted && !noted.styleDirty && noted.bbCache) || boundingBox.call(this, options);
    },
  });
}

/**
 * In which order elements are drawn: wires below operators, the later above the earlier. The library finds that out by
 * comparing styles, which are the same for all here: for thousands of elements that takes longer than to draw them.
 */
function keepOrder(cy: cytoscape.Core): void {
  const renderer = (cy as Drawing).renderer();
  renderer.getCachedZSortedEles = (anew = false) => {
    if (renderer.cachedZSortedEles && !anew) return renderer.cachedZSortedEles;
    const all: Ordered = [...cy.edges().toArray(), ...cy.nodes().toArray()];
    all.interactive = all;
    renderer.cachedZSortedEles = all;
    renderer.updateCachedGrabbedEles();
    return all;
  };
}

/**
 * Adds or changes elements without drawing the picture again: to draw it, the library looks at all elements, which takes longer
 * than a slice. The styles and places of these elements, which it would compute for the next picture, are computed here: for all
 * elements together that would take longer still.
 */
function unseen(
  cy: cytoscape.Core,
  work: () => Iterable<cytoscape.SingularElementArgument & { numericStyle(property: string): unknown }>,
): void {
  const drawing = cy as Drawing;
  drawing.notifications(false);
  try {
    for (const each of work()) {
      each.numericStyle('opacity');
      each.boundingBox();
    }
  } finally {
    drawing.notifications(true);
  }
}

/**
 * Does a part of the work in each frame: thousands of operators at once would hold the page up. Returns a function that ends it.
 * Calls `draw` when the first part is done, and when all parts are.
 */
function inSlices<T>(
  items: readonly T[],
  work: (part: readonly T[]) => void,
  draw: (isAll: boolean) => void,
): () => void {
  let [at, frame] = [0, 0];
  const next = () => {
    const [start, first] = [performance.now(), at];
    do {
      work(items.slice(at, at + portion));
      at += portion;
    } while (at < items.length && performance.now() - start < slice);
    if (at < items.length) frame = requestAnimationFrame(next);
    if (first === 0 || at >= items.length) draw(at >= items.length);
  };
  // Not in the caller's frame: the caller takes its own time.
  frame = requestAnimationFrame(next);
  return () => cancelAnimationFrame(frame);
}

/** Above the first row and below the last one. And: as small as this, labels are read without effort. */
const [margin, readable] = [44, 0.7];

const idOf = (shape: number) => `n${shape}`;
const shapeOf = (node: cytoscape.NodeSingular) => Number(node.id().slice(1));

/** Changes how nodes look, in slices. Visible nodes come first. */
function repaint(
  cy: cytoscape.Core,
  nodes: readonly cytoscape.NodeSingular[],
  change: (node: cytoscape.NodeSingular) => void,
): () => void {
  if (nodes.length === 0) return () => {};
  const { y1, y2 } = cy.extent();
  const isSeen = (node: cytoscape.NodeSingular) => node.position().y > y1 && node.position().y < y2;
  return inSlices(
    [...nodes.filter(isSeen), ...nodes.filter((node) => !isSeen(node))],
    (part) =>
      unseen(cy, () => {
        cy.batch(() => part.forEach(change));
        // A border that is wider moves the ends of wires.
        return part.flatMap((node) => [node, ...node.connectedEdges().toArray()]);
      }),
    () => (cy as Drawing).notify('draw'),
  );
}

function inkOn(fill: string): string {
  const [r, g, b] = rgbOf(fill);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? '#111815' : '#ffffff';
}

const filled = (fill: string | undefined) => (fill === undefined ? {} : { fill, ink: inkOn(fill) });

/** Colours of the theme, for elements without colours of their own. `isLarge`: there are many operators. */
const styleOf = (isLarge: boolean): cytoscape.StylesheetStyle[] => {
  const [card, line, muted, ink, accent] = ['--card', '--line', '--muted', '--ink', '--accent'].map(
    themeColour,
  ) as [string, string, string, string, string];
  return [
    {
      selector: 'node',
      style: {
        shape: isLarge ? 'rectangle' : 'round-rectangle',
        width: 'data(width)',
        height: 'data(height)',
        label: 'data(label)',
        'font-family': 'system-ui, sans-serif',
        'font-size': 13,
        'min-zoomed-font-size': 6,
        'text-valign': 'center',
        color: ink,
        'background-color': card,
        'border-width': 1,
        'border-color': muted,
        'border-opacity': 0.55,
      },
    },
    { selector: 'node[fill]', style: { 'background-color': 'data(fill)', color: 'data(ink)' } },
    {
      selector: 'node[kind != "operator"]',
      style: { shape: 'round-tag', 'background-color': line, 'font-style': 'italic' },
    },
    { selector: 'node.found', style: { 'border-width': 3, 'border-color': accent, 'border-opacity': 1 } },
    { selector: 'node.faint', style: { opacity: 0.3 } },
    {
      selector: 'node.here',
      style: {
        'border-width': 3,
        'border-color': ink,
        'border-opacity': 1,
        'underlay-color': accent,
        'underlay-opacity': 0.35,
        'underlay-padding': 6,
      },
    },
    {
      selector: 'edge',
      style: {
        width: 1.4,
        'line-color': muted,
        'line-opacity': 0.55,
        'curve-style': isLarge ? 'haystack' : 'straight',
        'haystack-radius': 0,
        'target-arrow-shape': 'triangle',
        'target-arrow-color': muted,
        'arrow-scale': 0.8,
      },
    },
    {
      selector: 'edge[bend]',
      style: {
        'curve-style': 'unbundled-bezier',
        'control-point-distances': 'data(bend)',
        'control-point-weights': 0.5,
      } as cytoscape.Css.Edge,
    },
  ];
};

export default function GraphCanvas({
  picture,
  fills,
  here,
  found,
  label,
  onOpen,
  onMove,
}: {
  picture: GraphPicture;
  /** Of each operator. */
  fills: readonly (string | undefined)[];
  /** The shape that is looked at. */
  here: number | undefined;
  /** Shapes that a search found; undefined: nothing is looked for. */
  found: ReadonlySet<number> | undefined;
  label: string;
  onOpen: (shape: number) => void;
  /** Another shape is looked at, and not opened. */
  onMove: (shape: number) => void;
}) {
  const host = useRef<HTMLDivElement>(null);
  const drawn = useRef<cytoscape.Core | undefined>(undefined);
  const theme = useTheme();
  /** The colours of the last drawing: to draw thousands of operators again takes a moment. */
  const painted = useRef<[typeof fills, number]>([fills, theme]);
  /** The picture of which everything is drawn. */
  const [whole, setWhole] = useState<GraphPicture | undefined>();
  const isWhole = whole === picture;
  const open = useRef(onOpen);
  open.current = onOpen;

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const { shapes, wires } = picture;
    const top = ({ y }: { y: number } = { y: 0 }) => y;
    // From top to bottom, so that the first slice has the operators that are seen first; a wire after both of its ends.
    const elements: cytoscape.ElementDefinition[] = [
      ...shapes.map(({ x, y, width, height, label, kind }, i) => ({
        at: y,
        element: {
          group: 'nodes' as const,
          data: { id: idOf(i), width, height, label, kind, ...filled(fills[i]) },
          position: { x, y },
        },
      })),
      ...wires.map(({ from, to, span, side }) => ({
        at: Math.max(top(shapes[from]), top(shapes[to])),
        element: {
          group: 'edges' as const,
          data: {
            source: idOf(from),
            target: idOf(to),
            // Wires that pass rows by go around them.
            ...(span > 1 && { bend: Math.min(40 + 14 * span, 240) * -side }),
          },
        },
      })),
    ]
      .sort((a, b) => a.at - b.at)
      .map(({ element }) => element);
    const cy = cytoscape({
      container: element,
      style: styleOf(shapes.length > many),
      layout: { name: 'preset', fit: false },
      minZoom: 0.02,
      maxZoom: 2.5,
      autoungrabify: true,
      boxSelectionEnabled: false,
      hideEdgesOnViewport: shapes.length > many,
      textureOnViewport: shapes.length > many,
    });
    keepBoxes(cy);
    keepOrder(cy);
    drawn.current = cy;
    painted.current = [fills, theme];
    // A network is far longer than it is wide: its beginning is shown, so large that people can read it. A short one is shown
    // whole.
    const first = shapes.reduce((top, shape) => (shape.y < top.y ? shape : top), { x: 0, y: Infinity });
    const [above, bottom] = [first.y - margin, Math.max(...shapes.map(({ y }) => y)) + margin];
    const whole = element.clientHeight / (bottom - above);
    const zoom = whole < 1 && whole > readable ? whole : 1;
    cy.viewport({ zoom, pan: { x: element.clientWidth / 2 - zoom * first.x, y: -zoom * above } });
    const stop = inSlices(
      elements,
      (part) => unseen(cy, () => cy.add([...part])),
      (isAll) => {
        (cy as Drawing).notify('add');
        if (isAll) setWhole(picture);
      },
    );
    let width = element.clientWidth;
    // A wheel goes along the graph, and on along the page at its end; with Ctrl, or two fingers, it zooms.
    const roll = (event: WheelEvent) => {
      if (event.ctrlKey || event.metaKey) return;
      event.stopPropagation();
      const { y1, y2 } = cy.extent();
      const isAtEnd = event.deltaY > 0 ? y2 > bottom : y1 < above;
      if (isAtEnd && event.deltaX === 0) return;
      event.preventDefault();
      const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      cy.panBy({ x: -event.deltaX * step, y: -event.deltaY * step });
    };
    element.addEventListener('wheel', roll, { capture: true, passive: false });
    cy.on('tap', 'node', ({ target }) => open.current(shapeOf(target)));
    cy.on('mouseover', 'node', () => {
      element.style.cursor = 'pointer';
    });
    cy.on('mouseout', 'node', () => {
      element.style.cursor = '';
    });
    const resized = new ResizeObserver(() => {
      cy.resize();
      cy.panBy({ x: (element.clientWidth - width) / 2, y: 0 });
      width = element.clientWidth;
    });
    resized.observe(element);
    return () => {
      stop();
      drawn.current = undefined;
      resized.disconnect();
      element.removeEventListener('wheel', roll, { capture: true });
      cy.destroy();
    };
  }, [picture]);

  useEffect(() => {
    const cy = drawn.current;
    const [before, shown] = painted.current;
    if (!cy || !isWhole || (before === fills && shown === theme)) return;
    painted.current = [fills, theme];
    if (shown !== theme) cy.style(styleOf(picture.shapes.length > many));
    const nodes = cy.nodes('[kind = "operator"]').toArray() as cytoscape.NodeSingular[];
    return repaint(cy, nodes, (node) => {
      const fill = fills[shapeOf(node)];
      if (fill === undefined) node.removeData('fill ink');
      else node.data(filled(fill));
    });
  }, [isWhole, fills, theme]);

  useEffect(() => {
    const cy = drawn.current;
    if (!cy || !isWhole) return;
    const wanted = (node: cytoscape.NodeSingular) =>
      !found ? '' : found.has(shapeOf(node)) ? 'found' : 'faint';
    const changed = cy.nodes().filter((node) => {
      const kind = wanted(node);
      return node.hasClass('found') !== (kind === 'found') || node.hasClass('faint') !== (kind === 'faint');
    });
    return repaint(cy, changed.toArray() as cytoscape.NodeSingular[], (node) =>
      node.removeClass('found faint').addClass(wanted(node)),
    );
  }, [isWhole, found]);

  useEffect(() => {
    const cy = drawn.current;
    if (!cy || !isWhole) return;
    cy.nodes('.here').removeClass('here');
    if (here === undefined) return;
    const node = cy.getElementById(idOf(here)).addClass('here');
    const { x1, y1, x2, y2 } = cy.extent();
    const { x, y } = node.position();
    if (x > x1 && x < x2 && y > y1 && y < y2 && cy.zoom() > 0.3) return;
    if (cy.zoom() < 0.6) cy.zoom(0.8);
    cy.center(node);
  }, [isWhole, here]);

  /** The shape that a key leads to: along wires up and down, and to the sides in the same row. */
  const beside = (key: string): number | undefined => {
    const { shapes, wires } = picture;
    const from = here ?? 0;
    if (here === undefined) return 0;
    if (key === 'ArrowDown') return wires.find((wire) => wire.from === from)?.to;
    if (key === 'ArrowUp') return wires.find((wire) => wire.to === from)?.from;
    const at = shapes[from];
    if (!at) return undefined;
    const side = key === 'ArrowRight' ? 1 : -1;
    return shapes
      .flatMap((shape, i) => (shape.y === at.y && side * (shape.x - at.x) > 0 ? [i] : []))
      .sort((a, b) => side * ((shapes[a]?.x ?? 0) - (shapes[b]?.x ?? 0)))[0];
  };

  const zoomBy = (factor: number) => {
    const cy = drawn.current;
    if (!cy) return;
    cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
  };

  return (
    <div class="graph-frame">
      <i id={noStyle} hidden />
      <div
        class="graph-canvas __________cytoscape_container"
        ref={host}
        role="application"
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: keys move in it, as its label says
        tabIndex={0}
        onKeyDown={(event) => {
          if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            if (here !== undefined) onOpen(here);
          } else if (event.key.startsWith('Arrow')) {
            event.preventDefault();
            const next = beside(event.key);
            if (next !== undefined) onMove(next);
          } else if (event.key === '+' || event.key === '-') zoomBy(event.key === '+' ? 1.3 : 1 / 1.3);
        }}
      />
      <div class="graph-zoom">
        <button type="button" onClick={() => zoomBy(1.5)} aria-label="Larger">
          +
        </button>
        <button type="button" onClick={() => zoomBy(1 / 1.5)} aria-label="Smaller">
          −
        </button>
        <button type="button" onClick={() => drawn.current?.fit(undefined, 16)}>
          All
        </button>
      </div>
    </div>
  );
}
