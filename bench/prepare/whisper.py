"""An encoder and a decoder of the form that Whisper has, with weights that nobody trained.

    python whisper.py FOLDER

writes FOLDER/encoder.onnx (convolutions and transformer layers over a mel spectrogram) and FOLDER/decoder.onnx (one
file with and without a cache of keys and values, as an If decides, which is what transformers.js runs), with feeds that
ONNX Runtime made one step after the other: FOLDER/encoder-runs/N.npz and FOLDER/decoder-runs/N.npz. It checks that steps
with the cache say what a run without it says.
"""

import pathlib
import sys

import numpy as np
import onnx
from graph import Graph
from onnx import TensorProto, helper

MELS, FRAMES, WIDTH, HEADS, LAYERS, WORDS, POSITIONS = 80, 500, 192, 6, 2, 2000, 64
SIZE, LENGTH = WIDTH // HEADS, FRAMES // 2
EPSILON = 1e-5
HEARD, SPOKEN, STEPS, PROMPT = 13, 6, 2, 4
CACHED = [(i, of, part) for i in range(LAYERS) for of in ("decoder", "encoder") for part in ("key", "value")]


def new_weights():
    rng = np.random.default_rng(0)

    def normal(*dims, of):
        return (rng.standard_normal(dims) / np.sqrt(of)).astype(np.float32)

    weights = {
        "words": normal(WORDS, WIDTH, of=WIDTH),
        "decoder.positions": normal(POSITIONS, WIDTH, of=WIDTH),
        "encoder.conv1.weight": normal(WIDTH, MELS, 3, of=3 * MELS),
        "encoder.conv2.weight": normal(WIDTH, WIDTH, 3, of=3 * WIDTH),
    }
    # Positions in the encoder are waves.
    rate = np.exp(-np.log(10000) * np.arange(WIDTH // 2) / (WIDTH // 2 - 1))
    angle = np.arange(LENGTH)[:, None] * rate
    weights["encoder.positions"] = np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)

    def linear(name, inputs, outputs, bias=True):
        weights[f"{name}.weight"] = normal(outputs, inputs, of=inputs)
        if bias:
            weights[f"{name}.bias"] = normal(outputs, of=100)

    def norm(name):
        weights[f"{name}.weight"] = 1 + normal(WIDTH, of=100)
        weights[f"{name}.bias"] = normal(WIDTH, of=100)

    for name in ("encoder.conv1", "encoder.conv2"):
        weights[f"{name}.bias"] = normal(WIDTH, of=100)
    for side, kinds in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        for i in range(LAYERS):
            layer = f"{side}.{i}"
            for kind in kinds:
                for part in ("q", "k", "v", "out"):
                    linear(f"{layer}.{kind}.{part}", WIDTH, WIDTH, bias=part != "k")
                norm(f"{layer}.{kind}_norm")
            linear(f"{layer}.fc1", WIDTH, 4 * WIDTH)
            linear(f"{layer}.fc2", 4 * WIDTH, WIDTH)
            norm(f"{layer}.final_norm")
        norm(f"{side}.norm")
    return weights


def ints(g, *values):
    return g.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))


def heads_of(g, x, name):
    split = g.op("Reshape", g.linear(x, name), ints(g, 0, 0, HEADS, SIZE))
    return g.op("Transpose", split, perm=[0, 2, 1, 3])


def attended(g, query, key, value, layer, mask=None):
    scale = g.constant("scale", np.float32(SIZE**-0.5))
    scores = g.op("MatMul", g.op("Mul", query, scale), g.op("Transpose", key, perm=[0, 1, 3, 2]), name="scores")
    if mask:
        scores = g.op("Add", scores, mask, name="masked")
    seen = g.op("MatMul", g.op("Softmax", scores, axis=-1), value, name="seen")
    joined = g.op("Reshape", g.op("Transpose", seen, perm=[0, 2, 1, 3]), ints(g, 0, 0, WIDTH))
    return g.linear(joined, f"{layer}.out")


def fed_forward(g, x, layer):
    n = g.layer_norm(x, f"{layer}.final_norm", EPSILON)
    return g.op("Add", x, g.linear(g.gelu(g.linear(n, f"{layer}.fc1")), f"{layer}.fc2"), name="residual")


def model_of(name, nodes, inputs, outputs, initializers):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, name, [info(*i) for i in inputs], [info(*o) for o in outputs], list(initializers.values())
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def encoder(weights):
    g = Graph(weights)
    x = "input_features"
    for name, stride in (("encoder.conv1", 1), ("encoder.conv2", 2)):
        g.scope = f"{name}/"
        kernel, bias = (g.constant(f"{name}.{p}", weights[f"{name}.{p}"]) for p in ("weight", "bias"))
        x = g.gelu(g.op("Conv", x, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride]))
    g.scope = "encoder/"
    x = g.op("Transpose", x, perm=[0, 2, 1])
    x = g.op("Add", x, g.constant("encoder.positions", weights["encoder.positions"]))
    for i in range(LAYERS):
        layer = f"encoder.{i}"
        g.scope = f"{layer}/"
        n = g.layer_norm(x, f"{layer}.self_attn_norm", EPSILON)
        parts = [heads_of(g, n, f"{layer}.self_attn.{part}") for part in ("q", "k", "v")]
        x = g.op("Add", x, attended(g, *parts, f"{layer}.self_attn"), name="residual")
        x = fed_forward(g, x, layer)
    g.layer_norm(x, "encoder.norm", EPSILON)
    g.nodes[-1].output[0] = "last_hidden_state"
    return model_of(
        "whisper encoder",
        g.nodes,
        [("input_features", TensorProto.FLOAT, ["batch", MELS, FRAMES])],
        [("last_hidden_state", TensorProto.FLOAT, ["batch", LENGTH, WIDTH])],
        g.initializers,
    )


def kept(i, of, part, which):
    return f"{which}.{i}.{of}.{part}"


def branch(weights, initializers, cached):
    """What the decoder does with keys and values of former steps, or without them."""
    g = Graph(weights)
    g.initializers = initializers
    name = "next" if cached else "first"
    g.scope = f"{name}/"
    zero, one = (g.constant(f"int_{v}", np.array(v, np.int64)) for v in (0, 1))

    def length(x, axis):
        return g.op("Gather", g.op("Shape", x), zero if axis == 0 else ints(g, axis), axis=0)

    steps = g.op("Squeeze", length("input_ids", 1))
    past = g.op("Squeeze", length(kept(0, "decoder", "key", "past_key_values"), 2)) if cached else zero
    own = g.op("Range", past, g.op("Add", past, steps, name="all"), one, name="own")
    words = g.op("Gather", g.constant("words", weights["words"]), "input_ids")
    positions = g.op("Gather", g.constant("decoder.positions", weights["decoder.positions"]), own)
    x = g.op("Add", words, positions)
    everything = g.op("Range", zero, g.op("Add", past, steps, name="all"), one, name="everything")
    before = g.op(
        "LessOrEqual", g.op("Unsqueeze", everything, ints(g, 0)), g.op("Unsqueeze", own, ints(g, 1))
    )
    lowest = g.constant("lowest", np.finfo(np.float32).min)
    mask = g.op("Where", before, g.constant("nought", np.float32(0)), lowest, name="mask")

    present = {}
    for i in range(LAYERS):
        layer = f"decoder.{i}"
        g.scope = f"{name}/{layer}/"
        n = g.layer_norm(x, f"{layer}.self_attn_norm", EPSILON)
        query = heads_of(g, n, f"{layer}.self_attn.q")
        for part in ("key", "value"):
            made = heads_of(g, n, f"{layer}.self_attn.{part[0]}")
            if cached:
                made = g.op("Concat", kept(i, "decoder", part, "past_key_values"), made, axis=2)
            present[i, "decoder", part] = made
        own_keys = [present[i, "decoder", part] for part in ("key", "value")]
        x = g.op("Add", x, attended(g, query, *own_keys, f"{layer}.self_attn", mask), name="residual")
        n = g.layer_norm(x, f"{layer}.encoder_attn_norm", EPSILON)
        query = heads_of(g, n, f"{layer}.encoder_attn.q")
        for part in ("key", "value"):
            present[i, "encoder", part] = (
                g.op("Identity", kept(i, "encoder", part, "past_key_values"))
                if cached
                else heads_of(g, "encoder_hidden_states", f"{layer}.encoder_attn.{part[0]}")
            )
        spoken = [present[i, "encoder", part] for part in ("key", "value")]
        x = g.op("Add", x, attended(g, query, *spoken, f"{layer}.encoder_attn"), name="residual")
        x = fed_forward(g, x, layer)
    g.scope = f"{name}/"
    table = g.constant("words_across", weights["words"].T)
    logits = g.op("MatMul", g.layer_norm(x, "decoder.norm", EPSILON), table, name="logits")
    outputs = [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", "steps", WORDS])]
    for at in CACHED:
        made = present[at]
        dims = ["batch", HEADS, "all" if at[1] == "decoder" else LENGTH, SIZE]
        outputs.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, dims))
    return helper.make_graph(g.nodes, name, [], outputs)


def decoder(weights):
    initializers = {}
    branches = {
        f"{side}_branch": branch(weights, initializers, cached)
        for side, cached in (("then", True), ("else", False))
    }
    present = [kept(*at, "present") for at in CACHED]
    node = helper.make_node("If", ["use_cache_branch"], ["logits", *present], name="with or without cache", **branches)

    def cache(which, length):
        return [
            (
                kept(i, of, part, which),
                TensorProto.FLOAT,
                ["batch", HEADS, length if of == "decoder" else f"{which} spoken", SIZE],
            )
            for i, of, part in CACHED
        ]

    inputs = [
        ("encoder_hidden_states", TensorProto.FLOAT, ["batch", LENGTH, WIDTH]),
        ("input_ids", TensorProto.INT64, ["batch", "steps"]),
        *cache("past_key_values", "past"),
        ("use_cache_branch", TensorProto.BOOL, [1]),
    ]
    outputs = [("logits", TensorProto.FLOAT, ["batch", "steps", WORDS]), *cache("present", "all")]
    return model_of("whisper decoder", [node], inputs, outputs, initializers)


def spoken_mels(seed):
    """Something that changes as slowly along time and pitch as speech does."""
    rng = np.random.default_rng(100 + seed)
    rough = rng.standard_normal((MELS // 8 + 1, FRAMES // 10 + 1))
    across = np.linspace(0, MELS // 8, MELS, endpoint=False)
    along = np.linspace(0, FRAMES // 10, FRAMES, endpoint=False)
    wide = np.stack([np.interp(along, np.arange(rough.shape[1]), row) for row in rough])
    high = np.stack([np.interp(across, np.arange(rough.shape[0]), column) for column in wide.T], 1)
    return (0.7 * high + 0.1 * rng.standard_normal(high.shape)).astype(np.float32)[None]


class Sessions:
    def __init__(self, folder):
        import onnxruntime

        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(str(folder / f"{side}.onnx"), providers=["CPUExecutionProvider"])
            for side in ("encoder", "decoder")
        )
        self.names = [o.name for o in self.decoder.get_outputs()]

    def heard(self, features):
        return self.encoder.run(None, {"input_features": features})[0]

    def step(self, hidden, ids, past=None):
        """The feeds of a step, and what comes out."""
        empty = np.zeros((1, HEADS, 0, SIZE), np.float32)
        feeds = {
            "encoder_hidden_states": hidden,
            "input_ids": ids,
            "use_cache_branch": np.array([past is not None]),
            **{kept(*at, "past_key_values"): past[kept(*at, "present")] if past else empty for at in CACHED},
        }
        return feeds, dict(zip(self.names, self.decoder.run(None, feeds)))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    weights = new_weights()
    onnx.save(encoder(weights), folder / "encoder.onnx")
    onnx.save(decoder(weights), folder / "decoder.onnx")
    sessions = Sessions(folder)
    runs = {"encoder": [], "decoder": []}
    worst = 0
    for seed in range(HEARD):
        features = spoken_mels(seed)
        runs["encoder"].append({"input_features": features})
        if seed >= SPOKEN:
            continue
        hidden = sessions.heard(features)
        ids = np.arange(seed, seed + PROMPT, dtype=np.int64)[None]
        said, found = ids, None
        for _ in range(STEPS + 1):
            feeds, found = sessions.step(hidden, ids, found)
            runs["decoder"].append(feeds)
            whole = sessions.step(hidden, said)[1]["logits"]
            worst = max(worst, float(np.abs(whole[:, -1] - found["logits"][:, -1]).max()))
            ids = found["logits"][:, -1:].argmax(-1)
            said = np.concatenate([said, ids], 1)
    print(f"whisper: with and without the cache {worst:.1e} apart")
    if not worst < 1e-3:
        sys.exit("whisper: the cache does not say what a run without it says: the network is built wrongly")
    for side, feeds in runs.items():
        to = folder / f"{side}-runs"
        to.mkdir(exist_ok=True)
        for i, named in enumerate(feeds):
            np.savez(to / f"{i}.npz", **named)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
