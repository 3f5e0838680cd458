// What an ONNX file says of its graph: operators, attributes, and tensors without their numbers. The engine has a graph of its
// own, in which operators are put together; people know the graph of the file.
import { PbfReader } from 'pbf';

/** A tensor that the file holds. */
export interface GraphTensor {
  name: string;
  type: string;
  dims: readonly number[];
  bytes: number;
  /** Where its message, with its length before it, lies in the file: the first byte, and the one behind the last. */
  at: readonly [number, number];
}

export interface GraphNode {
  /** Its place in the list of nodes. */
  id: number;
  name: string;
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  /** Names and values, as text. */
  attributes: readonly (readonly [string, string])[];
  /** Attributes that are graphs: branches and bodies. */
  branches: readonly string[];
}

export interface ModelGraph {
  nodes: readonly GraphNode[];
  inputs: readonly string[];
  outputs: readonly string[];
  /** By name. */
  tensors: ReadonlyMap<string, GraphTensor>;
  /** Type and dimensions of values, as far as the file says. */
  values: ReadonlyMap<string, string>;
  /** Graphs in attributes of its nodes, by branchKey(). */
  branches: ReadonlyMap<string, ModelGraph>;
}

/** A branch of an operator, among those of its graph. */
export const branchKey = (node: number, attribute: string) => `${node} ${attribute}`;

/** By their number in ONNX: the name, and bits of an element. */
const types: Readonly<Record<number, readonly [string, number]>> = {
  1: ['float32', 32],
  2: ['uint8', 8],
  3: ['int8', 8],
  4: ['uint16', 16],
  5: ['int16', 16],
  6: ['int32', 32],
  7: ['int64', 64],
  8: ['string', 0],
  9: ['bool', 8],
  10: ['float16', 16],
  11: ['float64', 64],
  12: ['uint32', 32],
  13: ['uint64', 64],
  14: ['complex64', 64],
  15: ['complex128', 128],
  16: ['bfloat16', 16],
  17: ['float8e4m3fn', 8],
  18: ['float8e4m3fnuz', 8],
  19: ['float8e5m2', 8],
  20: ['float8e5m2fnuz', 8],
  21: ['uint4', 4],
  22: ['int4', 4],
  23: ['float4e2m1', 4],
  24: ['float8e8m0', 8],
  25: ['uint2', 2],
  26: ['int2', 2],
};

/** Numbers of a list beyond this are not written out. */
const mostNumbers = 16;

const listOf = (values: readonly (number | string)[]) =>
  values.length > mostNumbers
    ? `[${values.slice(0, mostNumbers).join(', ')}, … ${values.length} in all]`
    : `[${values.join(', ')}]`;

const text = (value: number) => String(Number(value.toPrecision(6)));

const message = <T>(pbf: PbfReader, read: (tag: number, into: T, pbf: PbfReader) => void, into: T): T =>
  pbf.readMessage(read, into);

function readTensor(pbf: PbfReader): GraphTensor {
  const from = pbf.pos;
  const dims: number[] = [];
  const found = { name: '', kind: 0 };
  message(
    pbf,
    (tag) => {
      if (tag === 1) pbf.readPackedVarint(dims, true);
      else if (tag === 2) found.kind = pbf.readVarint();
      else if (tag === 8) found.name = pbf.readString();
      // Its numbers are passed by.
    },
    undefined,
  );
  const [type, bits] = types[found.kind] ?? ['unknown', 0];
  const elements = dims.reduce((product, dim) => product * dim, 1);
  return { name: found.name, type, dims, bytes: Math.ceil((elements * bits) / 8), at: [from, pbf.pos] };
}

const shapeOf = ({ type, dims }: { type: string; dims: readonly (number | string)[] }) =>
  `${type} [${dims.join(', ')}]`;

/** A value's name, and its type where it is a tensor. */
function readValue(pbf: PbfReader): [string, string] {
  let name = '';
  let says = '';
  const readDim = (pbf: PbfReader, dims: (number | string)[]) =>
    message(
      pbf,
      (tag) => {
        if (tag === 1) dims.push(pbf.readVarint(true));
        else if (tag === 2) dims.push(pbf.readString());
      },
      undefined,
    );
  message(
    pbf,
    (tag) => {
      if (tag === 1) name = pbf.readString();
      else if (tag === 2)
        message(
          pbf,
          (tag) => {
            if (tag !== 1) return;
            let kind = 0;
            let dims: (number | string)[] | undefined;
            message(
              pbf,
              (tag) => {
                if (tag === 1) kind = pbf.readVarint();
                else if (tag === 2) {
                  const all: (number | string)[] = [];
                  message(
                    pbf,
                    (tag) => {
                      if (tag !== 1) return;
                      const before = all.length;
                      readDim(pbf, all);
                      if (all.length === before) all.push('?');
                    },
                    undefined,
                  );
                  dims = all;
                }
              },
              undefined,
            );
            const [type] = types[kind] ?? ['unknown'];
            says = dims ? shapeOf({ type, dims }) : type;
          },
          undefined,
        );
    },
    undefined,
  );
  return [name, says];
}

interface ReadAttribute {
  name: string;
  value: string;
  tensor: GraphTensor | undefined;
  graph: ModelGraph | undefined;
  /** Values from outside that graphs in it take. */
  taken: readonly string[];
}

function readAttribute(pbf: PbfReader): ReadAttribute {
  const numbers: number[] = [];
  const texts: string[] = [];
  const found: ReadAttribute & { taken: string[] } = {
    name: '',
    value: '',
    tensor: undefined,
    graph: undefined,
    taken: [],
  };
  const readBranch = () => {
    const branch = readGraph(pbf);
    found.graph ??= branch;
    found.value = `${found.value}${found.value && ', '}a graph of ${branch.nodes.length} ${branch.nodes.length === 1 ? 'operator' : 'operators'}`;
    found.taken.push(...takenFrom(branch));
  };
  message(
    pbf,
    (tag) => {
      if (tag === 1) found.name = pbf.readString();
      else if (tag === 2) found.value = text(pbf.readFloat());
      else if (tag === 3) found.value = String(pbf.readVarint(true));
      else if (tag === 4) found.value = pbf.readString();
      else if (tag === 5) {
        found.tensor = readTensor(pbf);
        found.value = shapeOf(found.tensor);
      } else if (tag === 6 || tag === 11) readBranch();
      else if (tag === 7) pbf.readPackedFloat(numbers);
      else if (tag === 8) pbf.readPackedVarint(numbers, true);
      else if (tag === 9) texts.push(pbf.readString());
      else if (tag === 21) found.value = `of the function: ${pbf.readString()}`;
    },
    undefined,
  );
  if (numbers.length) found.value = listOf(numbers.map(text));
  if (texts.length) found.value = listOf(texts);
  return found;
}

/** Values that a graph takes from the one around it. */
function takenFrom({ nodes, inputs, outputs, tensors }: ModelGraph): string[] {
  const own = new Set([...inputs, ...tensors.keys(), ...nodes.flatMap(({ outputs }) => outputs)]);
  return [...nodes.flatMap(({ inputs }) => inputs), ...outputs].filter((name) => name && !own.has(name));
}

function readGraph(pbf: PbfReader): ModelGraph {
  const nodes: GraphNode[] = [];
  const [inputs, outputs] = [[] as string[], [] as string[]];
  const tensors = new Map<string, GraphTensor>();
  const values = new Map<string, string>();
  const branches = new Map<string, ModelGraph>();
  const readNode = () => {
    const [ins, outs] = [[] as string[], [] as string[]];
    const attributes: ReadAttribute[] = [];
    let [name, op, domain] = ['', '', ''];
    message(
      pbf,
      (tag) => {
        if (tag === 1) ins.push(pbf.readString());
        else if (tag === 2) outs.push(pbf.readString());
        else if (tag === 3) name = pbf.readString();
        else if (tag === 4) op = pbf.readString();
        else if (tag === 5) attributes.push(readAttribute(pbf));
        else if (tag === 7) domain = pbf.readString();
      },
      undefined,
    );
    const [output = ''] = outs;
    // A constant is a tensor of the file like any other.
    const constant = op === 'Constant' && attributes.find(({ tensor }) => tensor)?.tensor;
    if (constant) {
      tensors.set(output, { ...constant, name: output });
      return;
    }
    const graphs = attributes.flatMap(({ name, graph }) => (graph ? [{ name, graph }] : []));
    for (const { name, graph } of graphs) branches.set(branchKey(nodes.length, name), graph);
    nodes.push({
      id: nodes.length,
      name,
      op: domain === '' || domain === 'ai.onnx' ? op : `${domain}.${op}`,
      inputs: [...ins, ...new Set(attributes.flatMap(({ taken }) => taken))],
      outputs: outs,
      attributes: attributes.map(({ name, value }) => [name, value] as const),
      branches: graphs.map(({ name }) => name),
    });
  };
  message(
    pbf,
    (tag) => {
      if (tag === 1) readNode();
      else if (tag === 5) {
        const tensor = readTensor(pbf);
        tensors.set(tensor.name, tensor);
      } else if (tag === 11 || tag === 12 || tag === 13) {
        const [name, says] = readValue(pbf);
        if (says) values.set(name, says);
        if (tag === 11) inputs.push(name);
        if (tag === 12) outputs.push(name);
      }
    },
    undefined,
  );
  return { nodes, inputs: inputs.filter((name) => !tensors.has(name)), outputs, tensors, values, branches };
}

/** The graph of a model's file. */
export function graphOf(file: Uint8Array): ModelGraph {
  const pbf = new PbfReader(file);
  let graph: ModelGraph | undefined;
  pbf.readFields((tag) => {
    if (tag === 7) graph = readGraph(pbf);
  }, undefined);
  if (!graph) throw new Error('the file has no graph');
  return graph;
}
