// The graph of a model: coloured, searched, opened operator by operator, and as a table.
import type * as Comlink from 'comlink';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { StepInfo } from 'zeropoint';
import { bytes, milliseconds } from '../format.ts';
import { colourings, type Known } from '../graph/colours.ts';
import { layerOf, type PlannedLayer } from '../graph/layers.ts';
import { branchKey, type GraphTensor } from '../graph/onnx.ts';
import { type GraphPicture, weightBytes } from '../graph/picture.ts';
import type { Spread } from '../graph/weights.ts';
import type { GraphFace } from '../graph/worker.ts';
import { asError, counted } from '../samples/sample-set.ts';
import type { Settings } from '../settings.ts';
import { useTheme } from '../theme.ts';
import { faceOf } from '../threads.ts';
import { Folded, mostRows } from './folded.tsx';
import GraphCanvas from './graph-canvas.tsx';
import { NodeDetail } from './node-detail.tsx';
import { ScrollRegion } from './scroll-region.tsx';

export interface GraphViewProps {
  /** The model's file. */
  file: () => Promise<Blob>;
  layers: readonly PlannedLayer[];
  /** The colours that it begins with: an id of a colouring. */
  colour: string;
  /** Runs the model once, and says how long each step took; undefined: that cannot be measured here. */
  measure?: (() => Promise<StepInfo[]>) | undefined;
  /** The settings that hold choices for single layers; undefined: layers are only shown. */
  settings?: Settings | undefined;
  disabled: boolean;
  onChange?: (settings: Settings) => void;
}

/** A branch that is looked into. */
interface Step {
  key: string;
  words: string;
}

interface Opened {
  picture: GraphPicture;
  /** The branches from the whole graph to the one that is shown; undefined: nobody has gone into a branch yet. */
  path: readonly Step[] | undefined;
  spread: (tensor: GraphTensor) => Promise<Spread | undefined>;
}

function usePicture(file: GraphViewProps['file']) {
  const [reader, setReader] = useState<Comlink.Remote<GraphFace>>();
  const [found, setFound] = useState<Partial<Opened> & { problem?: string }>({});
  const show = (
    remote: Comlink.Remote<GraphFace>,
    path: readonly Step[] | undefined,
    picture: Promise<GraphPicture>,
  ) =>
    picture.then(
      (picture) => setFound({ picture, path, spread: (tensor) => remote.spread(tensor) }),
      (error) => setFound({ problem: asError(error).message }),
    );
  useEffect(() => {
    const worker = new Worker(new URL('../graph/worker.ts', import.meta.url), { type: 'module' });
    const remote = faceOf<GraphFace>(worker);
    setReader(() => remote);
    void show(
      remote,
      undefined,
      file().then((blob) => remote.open(blob)),
    );
    return () => worker.terminate();
  }, [file]);
  const enter = (path: readonly Step[]) => {
    if (reader) void show(reader, path, reader.branch(path.map(({ key }) => key)));
  };
  return { ...found, enter };
}

export default function GraphView(props: GraphViewProps) {
  const { picture, path: gone, spread, problem, enter } = usePicture(props.file);
  if (problem) return <p class="problem">The graph cannot be drawn: {problem}</p>;
  if (!picture || !spread) return <p class="note">Drawing the graph…</p>;
  const path = gone ?? [];
  return (
    <>
      {path.length > 0 && (
        <nav class="trail" aria-label="Where the graph is">
          <button type="button" class="link tall" onClick={() => enter([])}>
            The whole graph
          </button>
          {path.map(({ key, words }, i) =>
            i === path.length - 1 ? (
              <span key={key} aria-current="location">
                {words}
              </span>
            ) : (
              <button key={key} type="button" class="link tall" onClick={() => enter(path.slice(0, i + 1))}>
                {words}
              </button>
            ),
          )}
        </nav>
      )}
      <Drawn
        key={path.map(({ key }) => key).join('/')}
        {...props}
        picture={picture}
        spread={spread}
        takesFocus={gone !== undefined}
        onEnter={(step) => enter([...path, step])}
      />
    </>
  );
}

function Drawn({
  picture,
  spread,
  layers,
  colour,
  measure,
  settings,
  disabled,
  onChange,
  takesFocus,
  onEnter,
}: GraphViewProps &
  Pick<Opened, 'picture' | 'spread'> & { takesFocus: boolean; onEnter: (step: Step) => void }) {
  const { nodes, tensors, shapes } = picture;
  const [chosen, setColour] = useState(colour);
  const [wanted, setWanted] = useState('');
  const search = wanted.trim().toLowerCase();
  const [here, setHere] = useState<number | undefined>();
  const [opened, setOpened] = useState<number | undefined>();
  const [times, setTimes] = useState<readonly StepInfo[] | undefined>();
  const [remark, setRemark] = useState('');
  const frame = useRef<HTMLDivElement>(null);
  const theme = useTheme();

  const known = useMemo((): Known => ({ layers: layerOf(layers), times }), [layers, times]);
  const isPossible: Record<string, boolean> = {
    time: measure !== undefined,
    error: layers.some(({ error }) => error !== undefined),
  };
  const paint = useMemo(
    () => colourings.find(({ id }) => id === chosen)?.paint(picture, known),
    [picture, known, chosen, theme],
  );
  const matching = useMemo(
    () =>
      search
        ? nodes.filter(({ name, op, inputs, outputs }) =>
            [name, op, ...inputs, ...outputs].some((each) => each.toLowerCase().includes(search)),
          )
        : undefined,
    [nodes, search],
  );
  const found = useMemo(() => matching && new Set(matching.map(({ id }) => id)), [matching]);

  const choose = async (id: string) => {
    setColour(id);
    if (id !== 'time' || times || !measure) return;
    setRemark('Measuring: the model runs…');
    try {
      setTimes(await measure());
      setRemark('');
    } catch (error) {
      setRemark(`The time cannot be measured: ${asError(error).message}`);
    }
  };
  const open = (shape: number | undefined) => {
    setHere(shape);
    setOpened(shape === undefined ? undefined : shapes[shape]?.node);
  };
  const focusCanvas = () => frame.current?.querySelector<HTMLElement>('[role="application"]')?.focus();
  useEffect(() => {
    if (takesFocus) focusCanvas();
  }, []);
  const close = () => {
    setOpened(undefined);
    focusCanvas();
  };
  const next = () => {
    if (!matching?.length) return;
    const at = matching.findIndex(({ id }) => id === here);
    setHere(matching[(at + 1) % matching.length]?.id);
  };
  const timeOf = (index: number) => {
    const node = nodes[index];
    if (!node || !times) return undefined;
    const name = known.layers(node)?.node ?? node.name;
    return times.find((step) => step.node === name)?.milliseconds;
  };
  const node = opened === undefined ? undefined : nodes[opened];
  const at = here === undefined ? undefined : shapes[here];
  const atNode = at?.node === undefined ? undefined : nodes[at.node];
  const rows = matching ?? nodes;
  return (
    <div class="graph">
      <div class="graph-tools">
        <fieldset class="segments">
          <legend class="visually-hidden">Colours show</legend>
          {colourings
            .filter(({ id }) => isPossible[id] ?? true)
            .map(({ id, title }) => (
              <label key={id} class={chosen === id ? 'on' : ''}>
                <input
                  type="radio"
                  name="graph-colour"
                  checked={chosen === id}
                  onChange={() => void choose(id)}
                />
                {title}
              </label>
            ))}
        </fieldset>
        <label class="graph-search">
          <span class="visually-hidden">Find operators or tensors</span>
          <input
            type="search"
            placeholder="Find operators or tensors"
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
            onKeyDown={(event) => event.key === 'Enter' && next()}
          />
        </label>
        {matching && (
          <>
            <span class="note" role="status">
              {counted(matching.length, 'operator')} found
            </span>
            {matching.length > 0 && (
              <button type="button" class="quiet" onClick={next}>
                Next
              </button>
            )}
          </>
        )}
      </div>
      <p class="note" role="status">
        {remark}
      </p>
      <ul class="chips legend" aria-label="What the colours mean">
        {paint?.legend.map(({ fill, words }) => (
          <li key={words}>
            <span class="swatch" style={fill ? { background: fill } : {}} aria-hidden="true" />
            {words}
          </li>
        ))}
      </ul>
      <div class={`graph-stage ${node ? 'opened' : ''}`} ref={frame}>
        <GraphCanvas
          picture={picture}
          fills={paint?.fills ?? []}
          here={here}
          found={found}
          label={`Graph of ${counted(nodes.length, 'operator')}. Arrow keys go from one to the next, Enter opens it. The table below has the same.`}
          onOpen={open}
          onMove={setHere}
        />
        {node && (
          <NodeDetail
            node={node}
            picture={picture}
            spread={spread}
            layer={known.layers(node)}
            time={timeOf(node.id)}
            settings={settings}
            disabled={disabled}
            onChange={(changed) => onChange?.(changed)}
            onEnter={(attribute) =>
              onEnter({
                key: branchKey(node.id, attribute),
                words: `${attribute} of ${node.name || node.outputs[0] || node.op}`,
              })
            }
            onClose={close}
          />
        )}
      </div>
      <p class="visually-hidden" role="status">
        {at && `${atNode ? `${atNode.op} ${atNode.name}` : `${at.kind} ${at.label}`}`}
        {atNode && paint?.says[atNode.id] ? `, ${paint.says[atNode.id]}` : ''}
      </p>
      <Folded
        summary={
          matching
            ? `The ${counted(matching.length, 'operator')} found, as a table`
            : `All ${nodes.length} operators as a table`
        }
      >
        {() => (
          <>
            <ScrollRegion label="Operators of the model">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Name</th>
                    <th scope="col">Operator</th>
                    <th scope="col">Weights</th>
                    {times && <th scope="col">Time</th>}
                    <th scope="col">What becomes of it</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.slice(0, mostRows).map((each) => {
                    const layer = known.layers(each);
                    const size = weightBytes(each, tensors);
                    const time = timeOf(each.id);
                    return (
                      <tr key={each.id}>
                        <td>
                          <button type="button" class="link tall" onClick={() => open(each.id)}>
                            {each.name || each.outputs[0]}
                          </button>
                        </td>
                        <td>{each.op}</td>
                        <td>{size ? bytes(size) : ''}</td>
                        {times && <td>{time === undefined ? '–' : milliseconds(time)}</td>}
                        <td>{layer?.why ?? 'part of another layer'}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </ScrollRegion>
            {rows.length > mostRows && (
              <p class="note">The first {mostRows} are shown. Search for a name to see others.</p>
            )}
          </>
        )}
      </Folded>
    </div>
  );
}
