"""Small graphs for the judge: every operator that has an integer form or a rule of quantization, in the forms that it takes.

    python graphs.py FOLDER

writes FOLDER/NAME/model.onnx, calibration/N.npz and held-out/N.npz for each graph, and FOLDER/index.json: the names in
order, each with what is known about it ("floor": dB to take from every floor, where a graph rounds badly by nature;
"unsupported": words of our refusal, where we have no kernel: the files are run in ONNX Runtime alone, if there are any).
Seeds are fixed: the same bytes on every machine.
"""

import json
import pathlib
import sys
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GRAPHS = []
CALIBRATION, HELD_OUT = 6, 2
OPSET = 17


def graph(function):
    """Registers a function that builds one graph, or yields several with the end of their names."""
    GRAPHS.append(function)
    return function


class Build:
    """A graph that grows node by node; names count up."""

    def __init__(self, name, opset=OPSET):
        self.name = name.replace("_", "-")
        self.random = np.random.default_rng(zlib.crc32(self.name.encode()))
        self.opset = opset
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.feeds = {}
        self.domains = {}
        self.facts = {}

    def input(self, name, dims, make=None, symbols=None, kind=np.float32):
        """An input; make(random, dims) gives its values (normal numbers unless said). `symbols` replaces declared dims."""
        element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        self.inputs.append(helper.make_tensor_value_info(name, element, symbols or dims))
        make = make or (lambda random, dims: random.normal(size=dims))
        self.feeds[name] = lambda random: np.asarray(make(random, dims), kind)
        return name

    def weight(self, *dims, scale=None, name=None, values=None):
        """Normal numbers, each output channel (axis 0) of another size, as trained weights are."""
        if values is None:
            fan = max(1, int(np.prod(dims[1:])) if len(dims) > 1 else 1)
            values = self.random.normal(size=dims) * (scale if scale is not None else fan**-0.5)
        return self.constant(np.asarray(values, np.float32), name)

    def constant(self, values, name=None):
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op, *inputs, outputs=1, domain="", **attributes):
        names = [f"v{len(self.nodes)}" + ("" if outputs == 1 else f"_{i}") for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        self.nodes.append(node)
        if domain:
            self.domains[domain] = 1
        return names[0] if outputs == 1 else names

    def sample(self, random, held_out):
        """What held-out samples hold is a little smaller: a value beyond all that calibration saw would be clipped, and that
        is no fault of the file."""
        made = {name: make(random) for name, make in self.feeds.items()}
        if not held_out:
            return made
        return {name: (value * 0.75).astype(value.dtype) if value.dtype.kind == "f" else value for name, value in made.items()}

    def output(self, value, dims=None, kind=TensorProto.FLOAT):
        """Ends with a value; its dims are inferred."""
        self.outputs.append((value, dims, kind))
        return self

    def model(self):
        def built(outputs):
            made = helper.make_graph(self.nodes, self.name, self.inputs, outputs, self.initializers)
            opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, v) for d, v in self.domains.items()]
            return helper.make_model(made, opset_imports=opsets, ir_version=8 if self.opset < 21 else 10)

        bare = built([helper.make_empty_tensor_value_info(name) for name, _, _ in self.outputs])
        inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(bare).graph.value_info}
        inferred.update({v.name: v for v in onnx.shape_inference.infer_shapes(bare).graph.output if v.type.HasField("tensor_type")})
        outputs = []
        for name, dims, kind in self.outputs:
            known = inferred.get(name)
            outputs.append(known if dims is None and known is not None else helper.make_tensor_value_info(name, kind, dims))
        model = built(outputs)
        onnx.checker.check_model(model, full_check=True)
        return model


# ---- products


@graph
def products():
    for rank in (1, 2, 3, 4):
        b = Build(f"matmul-rank{rank}")
        dims = [2, 3, 5, 24][-rank:]
        x = b.input("x", dims)
        yield b.output(b.add("MatMul", x, b.weight(24, 16)))
    b = Build("matmul-relu-chain")
    x = b.input("x", [6, 32])
    h = b.add("Relu", b.add("Add", b.add("MatMul", x, b.weight(32, 48)), b.weight(48, scale=0.3)))
    yield b.output(b.add("Add", b.add("MatMul", h, b.weight(48, 10)), b.weight(10, scale=0.3)))
    b = Build("matmul-left-constant")
    x = b.input("x", [2, 16, 6])
    yield b.output(b.add("MatMul", b.weight(8, 16), x))
    b = Build("matmul-both-values")
    q, k = b.input("q", [2, 3, 8, 16]), b.input("k", [2, 3, 16, 8])
    yield b.output(b.add("MatMul", q, k))
    b = Build("matmul-weights-rank3")
    x = b.input("x", [4, 5, 16])
    yield b.output(b.add("MatMul", x, b.weight(4, 16, 12)))
    b = Build("matmul-weights-rank3-inner")
    x = b.input("x", [4, 5, 16])
    h = b.add("Relu", b.add("MatMul", x, b.weight(4, 16, 12)))
    yield b.output(b.add("MatMul", h, b.weight(4, 12, 8)))
    b = Build("matmul-weights-rank3-one")
    x = b.input("x", [4, 5, 16])
    yield b.output(b.add("MatMul", x, b.weight(1, 16, 12)))
    b = Build("matmul-weights-rank1")
    x = b.input("x", [4, 5, 16])
    yield b.output(b.add("MatMul", x, b.weight(16)))
    b = Build("matmul-batch-symbol")
    x = b.input("x", [5, 32], symbols=["batch", 32])
    yield b.output(b.add("Add", b.add("MatMul", x, b.weight(32, 24)), b.weight(24, scale=0.3)))
    b = Build("matmul-odd-sizes")
    x = b.input("x", [3, 37])
    yield b.output(b.add("MatMul", x, b.weight(37, 19)))
    b = Build("matmul-wide")
    x = b.input("x", [4, 256])
    yield b.output(b.add("Add", b.add("MatMul", x, b.weight(256, 128)), b.weight(128, scale=0.3)))
    b = Build("matmul-bias-row")  # a bias of shape [1, N], and one of the full shape
    x = b.input("x", [4, 64])
    h = b.add("Add", b.add("MatMul", x, b.weight(64, 32)), b.weight(1, 32, scale=0.3))
    yield b.output(b.add("Add", b.add("MatMul", h, b.weight(32, 8)), b.weight(4, 8, scale=0.3)))
    b = Build("matmul-bias-before")
    x = b.input("x", [1, 4, 64])
    yield b.output(b.add("Add", b.weight(1, 1, 32, scale=0.3), b.add("MatMul", x, b.weight(64, 32))))
    b = Build("matmul-bias-scalar")
    x = b.input("x", [4, 64])
    yield b.output(b.add("Add", b.add("MatMul", x, b.weight(64, 32)), b.constant(np.float32(0.5))))
    b = Build("matmul-shared-weights")
    x, y, w = b.input("x", [4, 16]), b.input("y", [2, 16]), b.weight(16, 16)
    h = b.add("MatMul", b.add("Relu", b.add("MatMul", x, w)), w)
    b.output(h)
    yield b.output(b.add("MatMul", y, w))
    b = Build("matmul-weights-used-twice")  # by a product, and as values
    x, w = b.input("x", [4, 16]), b.weight(16, 16)
    yield b.output(b.add("Mul", b.add("MatMul", x, w), b.add("Gather", w, b.constant(np.arange(4)), axis=0)))
    b = Build("matmul-transposed-weights")
    x = b.input("x", [4, 24])
    yield b.output(b.add("MatMul", x, b.add("Transpose", b.weight(16, 24), perm=[1, 0])))
    b = Build("matmul-outputs-inside")
    x = b.input("x", [4, 24])
    h = b.add("Relu", b.add("MatMul", x, b.weight(24, 16)))
    b.output(h)
    yield b.output(b.add("MatMul", h, b.weight(16, 8)))
    b = Build("matmul-channel-of-zeros")
    x = b.input("x", [4, 24])
    w = b.random.normal(size=(24, 16)) * 0.2
    w[:, 3] = 0
    yield b.output(b.add("MatMul", x, b.weight(24, 16, values=w)))
    b = Build("matmul-positive-inputs")
    x = b.input("x", [4, 24], lambda random, dims: random.uniform(0.5, 3, size=dims))
    yield b.output(b.add("Relu", b.add("MatMul", x, b.weight(24, 16))))
    b = Build("einsum")
    x = b.input("x", [2, 5, 16])
    yield b.output(b.add("Einsum", x, b.weight(16, 12), equation="bsd,de->bse"))


@graph
def gemms():
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            b = Build(f"gemm-{'t' if trans_a else 'n'}{'t' if trans_b else 'n'}")
            x = b.input("x", [20, 6] if trans_a else [6, 20])
            w = b.weight(12, 20) if trans_b else b.weight(20, 12, scale=20**-0.5)
            yield b.output(b.add("Gemm", x, w, b.weight(12, scale=0.3), transA=trans_a, transB=trans_b))
    for name, dims in (("row", [1, 12]), ("column", [6, 1]), ("full", [6, 12]), ("scalar", []), ("one", [1])):
        b = Build(f"gemm-c-{name}")
        x = b.input("x", [6, 20])
        yield b.output(b.add("Gemm", x, b.weight(12, 20), b.weight(*dims, scale=0.3), transB=1))
    b = Build("gemm-without-c")
    yield b.output(b.add("Gemm", b.input("x", [6, 20]), b.weight(12, 20), transB=1))
    b = Build("gemm-c-value")  # C is no constant
    x, c = b.input("x", [6, 20]), b.input("c", [6, 12])
    yield b.output(b.add("Gemm", x, b.weight(12, 20), c, transB=1))
    b = Build("gemm-alpha-beta")
    x = b.input("x", [6, 20])
    h = b.add("Gemm", x, b.weight(12, 20), b.weight(12, scale=0.3), alpha=0.5, beta=2.0, transB=1)
    yield b.output(b.add("Gemm", b.add("Relu", h), b.weight(8, 12), b.weight(8, scale=0.3), alpha=0.25, transB=1))
    b = Build("gemm-left-constant")
    x = b.input("x", [20, 12])
    yield b.output(b.add("Gemm", b.weight(6, 20), x, b.weight(12, scale=0.3)))
    b = Build("gemm-shared-bias")
    x, c = b.input("x", [6, 16]), b.weight(16, scale=0.3)
    h = b.add("Relu", b.add("Gemm", x, b.weight(16, 16), c, transB=1))
    yield b.output(b.add("Gemm", h, b.weight(16, 16), c, transB=1))
    b = Build("gemm-opset11", opset=11)
    yield b.output(b.add("Gemm", b.input("x", [6, 20]), b.weight(12, 20), b.weight(12, scale=0.3), transB=1))


# ---- convolutions


def conv(b, x, w, bias=None, op="Conv", **attributes):
    return b.add(op, x, w, *([bias] if bias else []), **attributes)


@graph
def convolutions():
    for rank, dims, kernel in ((1, [2, 6, 24], [5]), (2, [1, 6, 10, 12], [3, 3]), (3, [1, 4, 5, 6, 7], [2, 3, 3])):
        b = Build(f"conv-{rank}d")
        x = b.input("x", dims)
        pads = [1] * (2 * rank)
        h = conv(b, x, b.weight(8, dims[1], *kernel), b.weight(8, scale=0.3), kernel_shape=kernel, pads=pads)
        yield b.output(b.add("Relu", h))
        b = Build(f"conv-{rank}d-plain")  # no bias, no activation: its result is the output
        x = b.input("x", dims)
        yield b.output(conv(b, x, b.weight(8, dims[1], *kernel), kernel_shape=kernel, pads=pads))
    b = Build("conv-chain")
    x = b.input("x", [1, 3, 16, 16], symbols=["n", 3, 16, 16])
    h = b.add("Relu", conv(b, x, b.weight(8, 3, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4, strides=[2, 2]))
    h = b.add("Clip", conv(b, h, b.weight(8, 1, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4, group=8), b.constant(np.float32(0)), b.constant(np.float32(6)))
    h = conv(b, h, b.weight(12, 8, 1, 1), b.weight(12, scale=0.3))
    h = b.add("Flatten", b.add("GlobalAveragePool", h), axis=1)
    yield b.output(b.add("Gemm", h, b.weight(5, 12), b.weight(5, scale=0.3), transB=1))
    b = Build("conv-groups")
    x = b.input("x", [1, 8, 9, 9])
    h = b.add("Relu", conv(b, x, b.weight(12, 2, 3, 3), b.weight(12, scale=0.3), group=4, pads=[1] * 4))
    yield b.output(conv(b, h, b.weight(8, 6, 3, 3), group=2))
    b = Build("conv-depthwise")
    x = b.input("x", [1, 8, 9, 9])
    h = b.add("Relu", conv(b, x, b.weight(8, 1, 3, 3), b.weight(8, scale=0.3), group=8, pads=[1] * 4))
    yield b.output(conv(b, h, b.weight(16, 1, 3, 3), group=8))  # two outputs for each channel
    b = Build("conv-dilations")
    x = b.input("x", [1, 4, 14, 14])
    yield b.output(b.add("Relu", conv(b, x, b.weight(6, 4, 3, 3), b.weight(6, scale=0.3), dilations=[2, 3], pads=[2, 3, 2, 3])))
    b = Build("conv-auto-pad")
    x = b.input("x", [1, 4, 13, 13])
    yield b.output(conv(b, x, b.weight(6, 4, 3, 3), b.weight(6, scale=0.3), auto_pad="SAME_UPPER", strides=[2, 2]))
    b = Build("conv-uneven-pads")
    x = b.input("x", [1, 4, 9, 9])
    yield b.output(conv(b, x, b.weight(6, 4, 3, 3), b.weight(6, scale=0.3), pads=[0, 1, 2, 1]))
    b = Build("conv-shared-weights")
    x, w = b.input("x", [1, 6, 9, 9]), b.weight(6, 6, 3, 3)
    h = b.add("Relu", conv(b, x, w, b.weight(6, scale=0.3), pads=[1] * 4))
    yield b.output(conv(b, h, w, b.weight(6, scale=0.3), pads=[1] * 4))
    b = Build("conv-weights-computed")  # both operands are values
    x, y = b.input("x", [1, 4, 8, 8]), b.input("y", [3, 4, 3, 3])
    yield b.output(conv(b, x, y))
    b = Build("conv-batch-norm")
    x = b.input("x", [1, 4, 9, 9])
    h = conv(b, x, b.weight(6, 4, 3, 3), pads=[1] * 4)
    positive = lambda: b.constant(b.random.uniform(0.5, 1.5, size=6).astype(np.float32))
    yield b.output(b.add("Relu", b.add("BatchNormalization", h, positive(), b.weight(6, scale=0.3), b.weight(6, scale=0.3), positive())))
    b = Build("conv-residual")
    x = b.input("x", [1, 8, 8, 8])
    h = b.add("Relu", conv(b, x, b.weight(8, 8, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4))
    h = conv(b, h, b.weight(8, 8, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4)
    yield b.output(b.add("Relu", b.add("Add", h, x)))
    b = Build("conv-concat")
    x = b.input("x", [1, 6, 8, 8])
    h = [b.add("Relu", conv(b, x, b.weight(4, 6, k, k), b.weight(4, scale=0.3), pads=[k // 2] * 4)) for k in (1, 3)]
    yield b.output(conv(b, b.add("Concat", *h, axis=1), b.weight(6, 8, 1, 1), b.weight(6, scale=0.3)))
    b = Build("conv-squeeze-excite")
    x = b.input("x", [1, 8, 8, 8])
    h = b.add("HardSwish", conv(b, x, b.weight(8, 8, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4))
    s = b.add("Relu", conv(b, b.add("GlobalAveragePool", h), b.weight(4, 8, 1, 1), b.weight(4, scale=0.3)))
    s = b.add("HardSigmoid", conv(b, s, b.weight(8, 4, 1, 1), b.weight(8, scale=0.3)), alpha=0.2, beta=0.5)
    yield b.output(conv(b, b.add("Mul", h, s), b.weight(6, 8, 1, 1)))
    for rank, dims, kernel in ((1, [1, 6, 12], [4]), (2, [1, 6, 7, 7], [2, 2])):
        b = Build(f"conv-transpose-{rank}d")
        x = b.input("x", dims)
        h = conv(b, x, b.weight(6, 4, *kernel, scale=0.4), b.weight(4, scale=0.3), "ConvTranspose", strides=[2] * rank)
        yield b.output(b.add("Relu", h))
    b = Build("conv-transpose-groups")
    x = b.input("x", [1, 6, 7, 7])
    h = conv(b, x, b.weight(6, 2, 3, 3, scale=0.4), None, "ConvTranspose", strides=[2, 2], group=3, output_padding=[1, 1], pads=[1] * 4)
    yield b.output(conv(b, h, b.weight(4, 6, 1, 1)))


# ---- recurrence, tables


def lstm(b, x, size, hidden, direction="forward", bias=True, **more):
    count = 2 if direction == "bidirectional" else 1
    w, r = b.weight(count, 4 * hidden, size, scale=size**-0.5), b.weight(count, 4 * hidden, hidden, scale=hidden**-0.5)
    inputs = [x, w, r, *([b.weight(count, 8 * hidden, scale=0.2)] if bias else [])]
    return b.add("LSTM", *inputs, outputs=3, hidden_size=hidden, direction=direction, **more)


@graph
def recurrent():
    for direction in ("forward", "reverse", "bidirectional"):
        b = Build(f"lstm-{direction}")
        y, _, _ = lstm(b, b.input("x", [7, 2, 12]), 12, 8, direction)
        yield b.output(y)
    b = Build("lstm-states")
    x = b.input("x", [7, 2, 12])
    h, c = b.input("h", [1, 2, 8]), b.input("c", [1, 2, 8])
    w, r, bias = b.weight(1, 32, 12), b.weight(1, 32, 8), b.weight(1, 64, scale=0.2)
    for value in b.add("LSTM", x, w, r, bias, "", h, c, outputs=3, hidden_size=8):
        b.output(value)
    yield b
    b = Build("lstm-head")
    y, _, _ = lstm(b, b.input("x", [7, 1, 12]), 12, 8, bias=False)
    y = b.add("Squeeze", y, b.constant(np.int64([1])))
    yield b.output(b.add("Add", b.add("MatMul", y, b.weight(8, 5)), b.weight(5, scale=0.3)))
    b = Build("gru")
    x = b.input("x", [6, 2, 12])
    y, _ = b.add("GRU", x, b.weight(1, 24, 12), b.weight(1, 24, 8), b.weight(1, 48, scale=0.2), outputs=2, hidden_size=8, linear_before_reset=1)
    yield b.output(y)
    b = Build("gru-bidirectional")
    x = b.input("x", [6, 2, 12])
    y, h = b.add("GRU", x, b.weight(2, 24, 12), b.weight(2, 24, 8), b.weight(2, 48, scale=0.2), outputs=2, hidden_size=8, direction="bidirectional")
    b.output(h)
    yield b.output(y)
    b = Build("rnn")
    x = b.input("x", [6, 2, 12])
    y, _ = b.add("RNN", x, b.weight(1, 8, 12), b.weight(1, 8, 8), b.weight(1, 16, scale=0.2), outputs=2, hidden_size=8)
    yield b.output(y)


ML = "ai.onnx.ml"


def numbers(b, *dims, scale=1.0):
    """An attribute's list of numbers."""
    return [float(v) for v in b.random.normal(size=dims).ravel() * scale]


@graph
def pipelines():
    """Operators of ai.onnx.ml behind and before a product, as pipelines of scikit-learn have them."""
    vectors = {"kernel_type": "RBF", "kernel_params": [0.05, 0.0, 0.0]}
    for name, chances in (("svm-classifier", {}), ("svm-chances", {"prob_a": [-1.5, -2.0, -1.0], "prob_b": [0.1, -0.2, 0.3]})):
        b = Build(name)
        x = b.add("MatMul", b.input("x", [5, 16]), b.weight(16, 8, scale=0.25))
        vectors |= {"support_vectors": numbers(b, 9, 8), "vectors_per_class": [4, 2, 3]}
        facts = {"coefficients": numbers(b, 2, 9), "rho": numbers(b, 3, scale=0.2), "classlabels_strings": ["a", "b", "c"]}
        _, scores = b.add("SVMClassifier", x, outputs=2, domain=ML, **vectors, **facts, **chances)
        yield b.output(scores, [5, 3])
    b = Build("svm-regressor")
    x = b.add("MatMul", b.input("x", [5, 16]), b.weight(16, 8, scale=0.25))
    vectors = {"kernel_type": "POLY", "kernel_params": [0.2, 1.0, 2.0], "n_supports": 6, "support_vectors": numbers(b, 6, 8)}
    y = b.add("SVMRegressor", x, domain=ML, coefficients=numbers(b, 6), rho=[0.3], **vectors)
    yield b.output(y, [5, 1])
    b = Build("features")
    x = b.input("x", [5, 6], lambda random, dims: np.where(random.random(dims) < 0.2, np.nan, random.normal(size=dims)))
    x = b.add("Imputer", x, domain=ML, replaced_value_float=float("nan"), imputed_value_floats=numbers(b, 6))
    category = b.input("category", [5, 1], lambda random, dims: random.integers(0, 4, dims), kind=np.int64)
    encoded = b.add("OneHotEncoder", category, domain=ML, cats_int64s=[0, 1, 3])
    encoded = b.add("Reshape", encoded, b.constant(np.int64([5, 3])))
    x = b.add("FeatureVectorizer", x, encoded, domain=ML, inputdimensions=[6, 3])
    yield b.output(b.add("MatMul", x, b.weight(9, 7)), [5, 7])


MICROSOFT = "com.microsoft"


def attention_layer(b, op, heads, dims, *inputs, **attributes):
    """Three products, attention, and a product behind it: a layer of a transformer as ONNX Runtime's optimizer writes it."""
    x = b.input("x", dims)
    width = dims[-1]
    if op == "Attention":
        y = b.add(op, x, b.weight(width, 3 * width), b.weight(3 * width, scale=0.2), *inputs, domain=MICROSOFT, num_heads=heads, **attributes)
    else:
        q, k, v = (b.add("MatMul", x, b.weight(width, width)) for _ in range(3))
        y = b.add(op, q, k, v, b.weight(3 * width, scale=0.2), *inputs, domain=MICROSOFT, num_heads=heads, **attributes)
    return b.output(b.add("MatMul", y, b.weight(width, width)), dims)


@graph
def optimized_transformers():
    for op in ("Attention", "MultiHeadAttention"):
        name = {"Attention": "attention", "MultiHeadAttention": "multi-head"}[op]
        yield attention_layer(Build(f"{name}-plain"), op, 4, [2, 6, 32])
        b = Build(f"{name}-mask")
        yield attention_layer(b, op, 4, [2, 6, 32], b.constant(np.int32([[1] * 6, [1] * 4 + [0] * 2])))
        b = Build(f"{name}-lengths")
        yield attention_layer(b, op, 4, [2, 6, 32], b.constant(np.int32([6, 3])))
        yield attention_layer(Build(f"{name}-causal"), op, 4, [2, 6, 32], unidirectional=1)
    b = Build("multi-head-bias")
    yield attention_layer(b, "MultiHeadAttention", 4, [2, 6, 32], "", b.weight(1, 4, 6, 6, scale=1))
    for packed in (False, True):
        b = Build(f"group-query-{'packed' if packed else 'window'}")
        x = b.input("x", [2, 6, 32])
        angles = np.outer(np.arange(16), 10.0 ** -np.arange(8)).astype(np.float32)
        if packed:
            parts, more = (b.add("MatMul", x, b.weight(32, 128)), "", ""), {"do_rotary": 1}
        else:
            parts, more = tuple(b.add("MatMul", x, b.weight(32, n)) for n in (64, 32, 32)), {"local_window_size": 3}
        lengths = (b.constant(np.int32([5, 5])), b.constant(np.int32(6)))
        tables = (b.constant(np.cos(angles)), b.constant(np.sin(angles))) if packed else ()
        y = b.add("GroupQueryAttention", *parts, "", "", *lengths, *tables, domain=MICROSOFT, num_heads=4, kv_num_heads=2, **more)
        yield b.output(b.add("MatMul", y, b.weight(64, 16)), [2, 6, 16])
    b = Build("attention-past")  # what it keeps is packed: [2, batch, heads, steps, size]
    x, past = b.input("x", [2, 3, 32]), b.input("past", [2, 2, 4, 5, 8])
    inputs = (x, b.weight(32, 96), b.weight(96, scale=0.2), "", past)
    y, present = b.add("Attention", *inputs, outputs=2, domain=MICROSOFT, num_heads=4, unidirectional=1)
    b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 3, 16])
    yield b.output(present, [2, 2, 4, 8, 8])
    angles = np.outer(np.arange(6), 10.0 ** -np.arange(4)).astype(np.float32)
    for opset in (OPSET, 23):
        b = Build(f"rotated-opset{opset}", opset)
        x, positions = b.input("x", [2, 6, 32]), b.constant(np.tile(np.arange(6), (2, 1)))
        tables = b.constant(np.cos(angles)), b.constant(np.sin(angles))
        q, k, v = (b.add("MatMul", x, b.weight(32, 32)) for _ in range(3))
        if opset == OPSET:
            q, k = (b.add("RotaryEmbedding", z, positions, *tables, domain=MICROSOFT, num_heads=4) for z in (q, k))
            y = b.add("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=4, unidirectional=1)
        else:
            q, k = (b.add("RotaryEmbedding", z, *tables, positions, num_heads=4) for z in (q, k))
            y = b.add("Attention", q, k, v, q_num_heads=4, kv_num_heads=4, is_causal=1)
        yield b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 6, 16])
    b = Build("mixture-of-experts")
    x, router = b.input("x", [6, 32]), b.input("router", [6, 4])
    y = b.add("MoE", x, router, b.weight(4, 48, 32, scale=0.2), "", b.weight(4, 32, 48, scale=0.2), domain=MICROSOFT, k=2, normalize_routing_weights=1)
    yield b.output(y, [6, 32])
    b = Build("skip-layer-norm")
    x = b.input("x", [2, 6, 32])
    y = b.add("MatMul", x, b.weight(32, 32))
    out, _, _, total = b.add(
        "SkipLayerNormalization", y, x, b.weight(32, scale=1), b.weight(32, scale=0.3), b.weight(32, scale=0.3), outputs=4, domain=MICROSOFT
    )
    b.nodes[-1].output[1] = b.nodes[-1].output[2] = ""
    b.output(b.add("MatMul", out, b.weight(32, 16)), [2, 6, 16])
    yield b.output(total, [2, 6, 32])
    b = Build("skip-simplified-layer-norm")
    x = b.input("x", [2, 6, 32])
    y = b.add("MatMul", x, b.weight(32, 32))
    y = b.add("SkipSimplifiedLayerNormalization", y, x, b.weight(32, scale=1), domain=MICROSOFT, epsilon=1e-5)
    yield b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 6, 16])
    b = Build("fused-gelus")
    y = b.add("MatMul", b.input("x", [2, 6, 32]), b.weight(32, 32))
    y = b.add("BiasGelu", y, b.weight(32, scale=0.3), domain=MICROSOFT)
    y = b.add("FastGelu", b.add("MatMul", y, b.weight(32, 32)), b.weight(32, scale=0.3), domain=MICROSOFT)
    y = b.add("QuickGelu", b.add("MatMul", y, b.weight(32, 32)), domain=MICROSOFT, alpha=1.5)
    y = b.add("Gelu", b.add("MatMul", y, b.weight(32, 32)), domain=MICROSOFT)
    yield b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 6, 16])
    b = Build("skip-layer-norm-moments")
    x = b.input("x", [2, 6, 32])
    y = b.add("MatMul", x, b.weight(32, 32))
    out, mean, deviation = b.add("SkipLayerNormalization", y, x, b.weight(32, scale=1), outputs=3, domain=MICROSOFT)
    y = b.add("Mul", b.add("Sub", b.add("Add", y, x), mean), deviation)
    yield b.output(b.add("Add", b.add("MatMul", out, b.weight(32, 32)), y), [2, 6, 32])
    b = Build("embed-layer-norm")
    ids = b.input("ids", [2, 6], lambda random, dims: random.integers(0, 30, size=dims), kind=np.int32)
    segments = b.input("segments", [2, 6], lambda random, dims: random.integers(0, 2, size=dims), kind=np.int32)
    tables = (b.weight(30, 32, scale=1), b.weight(8, 32, scale=1), b.weight(2, 32, scale=1))
    y, _ = b.add("EmbedLayerNormalization", ids, segments, *tables, b.weight(32, scale=1), b.weight(32, scale=0.3), outputs=2, domain=MICROSOFT)
    yield b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 6, 16])
    for neighbours in (0, 1):
        b = Build(f"rotary-{'neighbours' if neighbours else 'halves'}")
        x = b.input("x", [2, 6, 32])
        y = b.add("MatMul", x, b.weight(32, 32))
        angles = np.outer(np.arange(16), 10.0 ** -np.arange(4)).astype(np.float32)
        where = b.constant(np.int64([3]))
        y = b.add("RotaryEmbedding", y, where, b.constant(np.cos(angles)), b.constant(np.sin(angles)), domain=MICROSOFT, interleaved=neighbours, num_heads=4)
        yield b.output(b.add("MatMul", y, b.weight(32, 16)), [2, 6, 16])
    for name, more in (("plain", {"alpha": 0.5}), ("transposed", {"transA": 1, "transB": 1}), ("batch", {"transBatchA": 1, "transBatchB": 1})):
        b = Build(f"fused-matmul-{name}")
        dims = [3, 24, 6] if name == "transposed" else [6, 3, 24] if name == "batch" else [3, 6, 24]
        w = {"transposed": (16, 24), "batch": (24, 3, 16)}.get(name, (24, 16))
        yield b.output(b.add("FusedMatMul", b.input("x", dims), b.weight(*w), domain=MICROSOFT, **more), [3, 6, 16])
    b = Build("fused-gemm")
    y = b.add("FusedGemm", b.input("x", [5, 24]), b.weight(16, 24), b.weight(16, scale=0.3), domain=MICROSOFT, transB=1, activation="LeakyRelu", activation_alpha=0.2)
    yield b.output(y, [5, 16])
    b = Build("fused-conv")
    x, z = b.input("x", [1, 4, 8, 8]), b.input("z", [1, 6, 8, 8])
    y = b.add("FusedConv", x, b.weight(6, 4, 3, 3), b.weight(6, scale=0.3), z, domain=MICROSOFT, pads=[1] * 4, activation="Relu")
    yield b.output(y, [1, 6, 8, 8])


@graph
def tables():
    tokens = lambda random, dims: random.integers(0, 40, size=dims)
    b = Build("gather-embedding")
    x = b.input("ids", [2, 6], tokens, kind=np.int64)
    h = b.add("Gather", b.weight(40, 32, scale=1), x, axis=0)
    yield b.output(b.add("MatMul", h, b.weight(32, 16)))
    b = Build("gather-alone")
    x = b.input("ids", [2, 6], tokens, kind=np.int64)
    yield b.output(b.add("Gather", b.weight(40, 64, scale=1), x, axis=0))
    b = Build("gather-axis1")
    x = b.input("ids", [3], tokens, kind=np.int64)
    yield b.output(b.add("Gather", b.weight(16, 40, scale=1), x, axis=1))
    b = Build("gather-tied-head")
    x, table = b.input("ids", [1, 6], tokens, kind=np.int64), b.weight(40, 32, scale=1)
    h = b.add("Relu", b.add("MatMul", b.add("Gather", table, x, axis=0), b.weight(32, 32)))
    yield b.output(b.add("MatMul", h, b.add("Transpose", table, perm=[1, 0])))
    b = Build("gather-two-tables")
    x = b.input("ids", [1, 6], tokens, kind=np.int64)
    h = b.add("Add", b.add("Gather", b.weight(40, 32, scale=1), x, axis=0), b.weight(1, 6, 32, scale=0.2))
    h = b.add("LayerNormalization", h, b.constant(np.ones(32, np.float32)), b.weight(32, scale=0.1), axis=-1)
    yield b.output(b.add("MatMul", h, b.weight(32, 16)))


# ---- what stands between products


def between(name, node, dims=(1, 6, 8, 8), weights=None, opset=OPSET):
    """A convolution, something, a convolution."""
    b = Build(f"op-{name}", opset)
    x = b.input("x", list(dims))
    h = conv(b, x, b.weight(8, dims[1], 3, 3), b.weight(8, scale=0.3), pads=[1] * 4)
    h = node(b, h)
    return b.output(conv(b, h, b.weight(6, weights or 8, 1, 1), b.weight(6, scale=0.3)))


@graph
def operators():
    unary = {
        "relu": {},
        "sigmoid": {},
        "tanh": {},
        "hard-swish": {},
        "hard-sigmoid": dict(alpha=0.2, beta=0.5),
        "leaky-relu": dict(alpha=0.1),
        "elu": {},
        "erf": {},
        "softplus": {},
        "identity": {},
        "neg": {},
        "abs": {},
        "max-pool": dict(kernel_shape=[2, 2], strides=[2, 2]),
        "average-pool": dict(kernel_shape=[3, 3], pads=[1] * 4),
        "global-average-pool": {},
        "global-max-pool": {},
        "softmax": dict(axis=1),
    }
    for name, attributes in unary.items():
        op = "".join(part.capitalize() for part in name.split("-")).replace("LeakyRelu", "LeakyRelu")
        yield between(name, lambda b, h, op=op, attributes=attributes: b.add(op, h, **attributes))
    yield between("gelu", lambda b, h: b.add("Gelu", h), opset=21)
    f, i = lambda *v: np.float32(v if len(v) > 1 else v[0]), lambda *v: np.int64(v)
    yield between("swish", lambda b, h: b.add("Mul", h, b.add("Sigmoid", h)))
    yield between("clip", lambda b, h: b.add("Clip", h, b.constant(f(-0.5)), b.constant(f(1.5))))
    yield between("prelu", lambda b, h: b.add("PRelu", h, b.weight(8, 1, 1, scale=0.3)))
    yield between("pow", lambda b, h: b.add("Pow", h, b.constant(f(2.0))))
    yield between("add-constant", lambda b, h: b.add("Add", h, b.weight(8, 1, 1, scale=0.5)))
    yield between("mul-constant", lambda b, h: b.add("Mul", h, b.weight(8, 1, 1, scale=0.5)))
    yield between("sub-constant", lambda b, h: b.add("Sub", b.constant(f(1.0)), h))
    yield between("div-constant", lambda b, h: b.add("Div", h, b.constant(f(3.0))))
    yield between("mul-self", lambda b, h: b.add("Mul", h, h))
    yield between("pad", lambda b, h: b.add("Pad", h, b.constant(i(0, 0, 1, 1, 0, 0, 2, 2))))
    yield between("pad-value", lambda b, h: b.add("Pad", h, b.constant(i(0, 0, 1, 1, 0, 0, 2, 2)), b.constant(f(0.7))))
    yield between("pad-reflect", lambda b, h: b.add("Pad", h, b.constant(i(0, 0, 1, 1, 0, 0, 2, 2)), mode="reflect"))
    yield between("resize-nearest", lambda b, h: b.add("Resize", h, "", b.constant(f(1, 1, 2, 2)), mode="nearest"))
    yield between("resize-linear", lambda b, h: b.add("Resize", h, "", b.constant(f(1, 1, 2, 2)), mode="linear"))
    yield between("slice", lambda b, h: b.add("Slice", h, b.constant(i(1)), b.constant(i(7)), b.constant(i(2))))
    yield between("transpose", lambda b, h: b.add("Transpose", h, perm=[0, 1, 3, 2]))
    yield between("reshape", lambda b, h: b.add("Reshape", h, b.constant(i(1, 8, 4, 16))))
    yield between("split", lambda b, h: b.add("Concat", *reversed(b.add("Split", h, outputs=2, axis=1)), axis=1))
    yield between("depth-to-space", lambda b, h: b.add("DepthToSpace", h, blocksize=2), weights=2)
    yield between("space-to-depth", lambda b, h: b.add("SpaceToDepth", h, blocksize=2), weights=32)
    yield between("reduce-mean", lambda b, h: b.add("ReduceMean", h, axes=[2, 3], keepdims=1))
    yield between("instance-norm", lambda b, h: b.add("InstanceNormalization", h, b.constant(np.ones(8, np.float32)), b.weight(8, scale=0.2)))
    yield between("concat-self", lambda b, h: b.add("Concat", h, h, axis=1), weights=16)
    yield between("concat-one", lambda b, h: b.add("Concat", h, axis=1))
    yield between("concat-constant", lambda b, h: b.add("Concat", h, b.weight(1, 2, 8, 8, scale=1), axis=1), weights=10)
    yield between("where", lambda b, h: b.add("Where", b.add("Greater", h, b.constant(f(0.0))), h, b.weight(8, 1, 1, scale=0.2)))
    yield between("max-min", lambda b, h: b.add("Min", b.add("Max", h, b.constant(f(-0.5))), b.constant(f(1.0))))
    yield between("dropout", lambda b, h: b.add("Dropout", h))
    yield between("expand", lambda b, h: b.add("Expand", b.add("GlobalAveragePool", h), b.constant(i(1, 8, 4, 4))))
    yield between("cast", lambda b, h: b.add("Cast", b.add("Cast", h, to=TensorProto.DOUBLE), to=TensorProto.FLOAT))
    b = Build("op-layer-norm")
    x = b.input("x", [2, 5, 24])
    h = b.add("MatMul", x, b.weight(24, 24))
    h = b.add("LayerNormalization", h, b.weight(24, values=1 + 0.1 * b.random.normal(size=24)), b.weight(24, scale=0.1), axis=-1)
    yield b.output(b.add("MatMul", h, b.weight(24, 8)))
    b = Build("op-add-values")
    b.facts["floor"] = 4  # a sum beyond those of calibration
    x, y = b.input("x", [4, 16]), b.input("y", [4, 16])
    yield b.output(b.add("Add", b.add("MatMul", x, b.weight(16, 16)), b.add("MatMul", y, b.weight(16, 16))))
    b = Build("op-add-broadcast")
    x, y = b.input("x", [2, 4, 16]), b.input("y", [16])
    yield b.output(b.add("MatMul", b.add("Add", x, y), b.weight(16, 8)))
    b = Build("op-argmax")
    x = b.input("x", [4, 16])
    h = b.add("MatMul", x, b.weight(16, 10))
    b.output(h)
    b.facts["integers"] = "may differ"
    yield b.output(b.add("ArgMax", h, axis=1, keepdims=0), kind=TensorProto.INT64)
    b = Build("op-shapes")  # shapes that are computed from an input's
    x = b.input("x", [2, 6, 16], symbols=["n", "t", 16])
    shape = b.add("Concat", b.add("Slice", b.add("Shape", x), b.constant(i(0)), b.constant(i(2))), b.constant(i(4, 4)), axis=0)
    h = b.add("MatMul", x, b.weight(16, 16))
    h = b.add("Transpose", b.add("Reshape", h, shape), perm=[0, 2, 1, 3])
    yield b.output(b.add("MatMul", h, b.weight(4, 4)), dims=["n", 4, "t", 4])


@graph
def attention():
    b = Build("attention")
    x = b.input("x", [1, 6, 32])
    heads = lambda value, perm: b.add("Transpose", b.add("Reshape", value, b.constant(np.int64([1, 6, 4, 8]))), perm=perm)
    linear = lambda value: b.add("Add", b.add("MatMul", value, b.weight(32, 32)), b.weight(32, scale=0.2))
    q, k, v = heads(linear(x), [0, 2, 1, 3]), heads(linear(x), [0, 2, 3, 1]), heads(linear(x), [0, 2, 1, 3])
    p = b.add("Softmax", b.add("Div", b.add("MatMul", q, k), b.constant(np.float32(8**0.5))), axis=-1)
    h = b.add("Reshape", b.add("Transpose", b.add("MatMul", p, v), perm=[0, 2, 1, 3]), b.constant(np.int64([1, 6, 32])))
    h = b.add("Add", linear(h), x)
    yield b.output(b.add("LayerNormalization", h, b.constant(np.ones(32, np.float32)), b.weight(32, scale=0.1), axis=-1))
    b = Build("attention-masks")  # the lowest number is multiplied and added, selected and added, and added as a constant
    x = b.input("x", [2, 6, 16])
    allowed = b.input("allowed", [2, 6], lambda random, dims: random.integers(0, 2, size=dims), kind=np.int64)
    lowest = b.constant(np.float32(np.finfo(np.float32).min))
    score = lambda: b.add("MatMul", b.add("MatMul", x, b.weight(16, 16)), b.add("Transpose", x, perm=[0, 2, 1]))
    row = b.add("Unsqueeze", b.add("Cast", allowed, to=TensorProto.FLOAT), b.constant(np.int64([1])))
    hidden = b.add("Mul", b.add("Sub", b.constant(np.float32(1)), row), lowest)
    first = b.add("Softmax", b.add("Add", score(), hidden), axis=-1)
    chosen = b.add("Where", b.add("Cast", row, to=TensorProto.BOOL), b.constant(np.float32(0)), lowest)
    second = b.add("Softmax", b.add("Add", score(), chosen), axis=-1)
    causal = b.constant(np.triu(np.full((6, 6), np.finfo(np.float32).min), 1).astype(np.float32))
    third = b.add("Softmax", b.add("Add", score(), causal), axis=-1)
    total = b.add("Add", b.add("Add", first, second), third)
    yield b.output(b.add("MatMul", b.add("MatMul", total, x), b.weight(16, 8)))


@graph
def control():
    b = Build("if-branches")
    x = b.input("x", [4, 16])
    h = b.add("MatMul", x, b.weight(16, 16))
    condition = b.add("Greater", b.add("ReduceSum", h, keepdims=0), b.constant(np.float32(0)))

    def branch(name):
        w = numpy_helper.from_array((b.random.normal(size=(16, 8)) * 0.25).astype(np.float32), f"{name}_w")
        node = helper.make_node("MatMul", [h, f"{name}_w"], [f"{name}_y"], name=f"{name}_product")
        y = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [4, 8])
        return helper.make_graph([node], name, [], [y], [w])

    yield b.output(b.add("If", condition, then_branch=branch("then"), else_branch=branch("other")))
    # ONNX Runtime moves the integers of h behind both movers, up to the branches.
    b = Build("if-behind-moves")
    x = b.input("x", [4, 16])
    flag = b.input("flag", [], lambda random, dims: random.integers(0, 2), kind=np.bool_)
    h = b.add("MatMul", x, b.weight(16, 16))
    b.output(b.add("MatMul", h, b.weight(16, 8)), [4, 8])
    ends = (b.constant(np.int64([end])) for end in (0, 8, 0))
    part = b.add("Slice", b.add("Transpose", h, perm=[1, 0]), *ends)

    def moved(name, op, *more):
        node = helper.make_node(op, [part, *more], [f"{name}_y"], name=f"{name}_{op}")
        y = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [8, 4])
        return helper.make_graph([node], name, [], [y])

    last = b.weight(4, 4)
    yield b.output(b.add("If", flag, then_branch=moved("then", "Tanh"), else_branch=moved("other", "MatMul", last)), [8, 4])
    b = Build("if-around-weights")
    x = b.input("x", [4, 16])
    flag = b.input("flag", [], lambda random, dims: random.integers(0, 2), kind=np.bool_)
    w = b.weight(16, 8)

    def outer(name, factor):
        scale = numpy_helper.from_array(np.float32(factor), f"{name}_s")
        nodes = [
            helper.make_node("MatMul", [x, w], [f"{name}_p"], name=f"{name}_product"),
            helper.make_node("Mul", [f"{name}_p", f"{name}_s"], [f"{name}_y"], name=f"{name}_scale"),
        ]
        y = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [4, 8])
        return helper.make_graph(nodes, name, [], [y], [scale])

    yield b.output(b.add("If", flag, then_branch=outer("then", 1.5), else_branch=outer("other", -1.0)))


@graph
def bodies():
    def numbers(*shape):
        return [
            helper.make_tensor_value_info("i", TensorProto.INT64, shape),
            helper.make_tensor_value_info("go", TensorProto.BOOL, shape),
        ]

    def value(name, dims):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    for end, shape in (("scalar", []), ("vector", [1])):  # what the body declares of its iteration and condition
        b = Build(f"loop-{end}")
        x, w = b.input("x", [2, 16]), b.weight(16, 16)
        nodes = [
            helper.make_node("MatMul", ["h", w], ["product"], name="in_body"),
            helper.make_node("Tanh", ["product"], ["next"], name="tanh"),
            helper.make_node("Cast", ["i"], ["step"], name="cast", to=TensorProto.FLOAT),
            helper.make_node("Add", ["next", "step"], ["sum"], name="add"),
            helper.make_node("Identity", ["go"], ["goes"], name="goes_on"),
        ]
        goes = helper.make_tensor_value_info("goes", TensorProto.BOOL, shape)
        body = helper.make_graph(
            nodes, "body", [*numbers(*shape), value("h", [2, 16])], [goes, value("next", [2, 16]), value("sum", [2, 16])]
        )
        _, sums = b.add("Loop", b.constant(np.int64(3)), "", x, outputs=2, body=body)
        yield b.output(b.add("MatMul", sums, b.weight(16, 8)), [3, 2, 8])
    b = Build("scan-body")
    x, w = b.input("x", [4, 2, 12]), b.weight(12, 12)
    nodes = [
        helper.make_node("MatMul", ["row", w], ["product"], name="in_body"),
        helper.make_node("Add", ["product", "state"], ["sum"], name="add"),
        helper.make_node("Tanh", ["sum"], ["next"], name="tanh"),
        helper.make_node("Identity", ["next"], ["out"], name="copy"),
    ]
    rows = [value(name, [2, 12]) for name in ("state", "row", "next", "out")]
    body = helper.make_graph(nodes, "body", rows[:2], rows[2:])
    _, all_rows = b.add("Scan", b.constant(np.zeros((2, 12), np.float32)), x, outputs=2, body=body, num_scan_inputs=1)
    yield b.output(b.add("MatMul", all_rows, b.weight(12, 6)), [4, 2, 6])


@graph
def graphs_of_many():
    b = Build("outputs-many")
    x = b.input("x", [1, 4, 8, 8])
    h = b.add("Relu", conv(b, x, b.weight(8, 4, 3, 3), b.weight(8, scale=0.3), pads=[1] * 4))
    b.output(conv(b, h, b.weight(4, 8, 1, 1)))
    b.output(b.add("Sigmoid", conv(b, h, b.weight(2, 8, 1, 1))))
    yield b.output(b.add("Reshape", b.add("GlobalAveragePool", h), b.constant(np.int64([1, 8]))))
    b = Build("names-alike")  # values whose names are what a quantizer would append
    x = b.input("x", [4, 16])
    b.nodes.append(helper.make_node("MatMul", [x, b.weight(16, 16, name="w")], ["x_quantized"], name="same"))
    b.nodes.append(helper.make_node("Relu", ["x_quantized"], ["x_scale"], name="w"))
    b.nodes.append(helper.make_node("MatMul", ["x_scale", b.weight(16, 8, name="w_quantized")], ["y"], name=""))
    yield b.output("y")
    b = Build("half-model")  # stored and computed in half precision
    x = b.input("x", [4, 32], kind=np.float16)
    w = [b.constant((b.random.normal(size=s) * 0.2).astype(np.float16)) for s in ((32, 16), (16,))]
    yield b.output(b.add("Add", b.add("MatMul", x, w[0]), w[1]), kind=TensorProto.FLOAT16)
    b = Build("bytes-input")  # as cameras give them
    x = b.input("x", [1, 3, 8, 8], lambda random, dims: random.integers(0, 256, size=dims), kind=np.uint8)
    h = b.add("Mul", b.add("Cast", x, to=TensorProto.FLOAT), b.constant(np.float32(1 / 255)))
    yield b.output(b.add("Relu", conv(b, h, b.weight(6, 3, 3, 3), b.weight(6, scale=0.3))))


def write(build, folder):
    folder.mkdir(parents=True)
    onnx.save(build.model(), folder / "model.onnx")
    random = np.random.default_rng(zlib.crc32(build.name.encode()) + 1)
    for kind, count in (("calibration", CALIBRATION), ("held-out", HELD_OUT)):
        (folder / kind).mkdir()
        for i in range(count):
            np.savez(folder / kind / f"{i}.npz", **build.sample(random, kind == "held-out"))


def main():
    folder = pathlib.Path(sys.argv[1])
    index = []
    for function in GRAPHS:
        for build in function():
            write(build, folder / build.name)
            index.append({"name": build.name, **build.facts})
    names = [entry["name"] for entry in index]
    assert len(set(names)) == len(names), "two graphs have one name"
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    print(len(index), "graphs")


if __name__ == "__main__":
    main()
