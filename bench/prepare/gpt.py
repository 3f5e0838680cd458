"""A character GPT in plain operators, and with the fused operators that optimizers of transformers write (com.microsoft).
Both keep keys and values between runs.

    python gpt.py FOLDER [TEXT [SECONDS]]

writes FOLDER/plain.onnx and FOLDER/fused.onnx, with feeds that ONNX Runtime made of a prompt, one character after the
other: FOLDER/plain-runs/N.npz and FOLDER/fused-runs/N.npz. The weights are trained on a text for so many seconds (120),
or random without one. The training is numpy alone.

The model has RMS normalizations, rotary positions, heads of queries that share heads of keys, and gated layers: what
small language models have today.
"""

import sys
import time
from pathlib import Path

import numpy as np

LAYERS, WIDTH, HEADS, SHARED, SIZE, HIDDEN, CONTEXT = 2, 64, 4, 2, 16, 128, 64
POSITIONS = 256  # rows of the tables of angles
EPSILON = 1e-5
# ONNX Runtime's operators are used in these opsets.
OPSETS = {"": 17, "com.microsoft": 1}


# ---------------------------------------------------------------------------------------------------- the model in numpy


def angles():
    """cos and sin [POSITIONS, SIZE / 2]"""
    rate = 10000.0 ** (-np.arange(SIZE // 2) / (SIZE // 2))
    at = np.arange(POSITIONS)[:, None] * rate
    return np.cos(at).astype(np.float32), np.sin(at).astype(np.float32)


def new_weights(characters, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*dims, of=None):
        return (rng.standard_normal(dims) / np.sqrt(of or dims[0])).astype(np.float32)

    weights = {"table": normal(characters, WIDTH, of=WIDTH), "norm": np.ones(WIDTH, np.float32)}
    weights["head"] = normal(WIDTH, characters)
    for i in range(LAYERS):
        weights[f"{i}.norm1"] = np.ones(WIDTH, np.float32)
        weights[f"{i}.norm2"] = np.ones(WIDTH, np.float32)
        weights[f"{i}.qkv"] = normal(WIDTH, (HEADS + 2 * SHARED) * SIZE)
        weights[f"{i}.out"] = normal(HEADS * SIZE, WIDTH, of=4 * WIDTH)
        weights[f"{i}.gate"] = normal(WIDTH, HIDDEN)
        weights[f"{i}.up"] = normal(WIDTH, HIDDEN)
        weights[f"{i}.down"] = normal(HIDDEN, WIDTH, of=4 * HIDDEN)
    return weights


class Tape:
    """What a run computes, and how gradients go back through it: each function gives its result and notes how."""

    def __init__(self, weights):
        self.weights = weights
        self.gradients = {name: np.zeros_like(w) for name, w in weights.items()}
        self.backward = []

    def product(self, x, name):
        w = self.weights[name]

        def back(dy):
            self.gradients[name] += x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
            return dy @ w.T

        return x @ w, back

    def normalized(self, x, name):
        g = self.weights[name]
        root = np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        unit = x / root

        def back(dy):
            self.gradients[name] += (dy * unit).reshape(-1, x.shape[-1]).sum(0)
            du = dy * g
            return (du - unit * (du * unit).mean(-1, keepdims=True)) / root

        return unit * g, back


def rotated(x, cosine, sine):
    """x [..., steps, SIZE]; the halves of SIZE are pairs."""
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1)


def attention(q, k, v):
    """Of [batch, heads, steps, SIZE]; k and v have SHARED heads. Causal."""
    times = HEADS // SHARED
    k_all, v_all = np.repeat(k, times, 1), np.repeat(v, times, 1)
    steps = q.shape[2]
    scores = q @ k_all.swapaxes(2, 3) * SIZE**-0.5
    scores = np.where(np.tri(steps, dtype=bool), scores, -1e9)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)

    def back(dy):
        dp = dy @ v_all.swapaxes(2, 3)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * SIZE**-0.5

        def shared(all_heads):
            return all_heads.reshape(q.shape[0], SHARED, times, steps, SIZE).sum(2)

        return ds @ k_all, shared(ds.swapaxes(2, 3) @ q), shared(p.swapaxes(2, 3) @ dy)

    return p @ v_all, back


def loss_and_gradients(weights, ids, targets):
    tape = Tape(weights)
    batch, steps = ids.shape
    cosine, sine = (t[:steps] for t in angles())

    def split(x, heads):
        return x.reshape(batch, steps, heads, SIZE).swapaxes(1, 2)

    def joined(x):
        return x.swapaxes(1, 2).reshape(batch, steps, -1)

    x = weights["table"][ids]
    layers = []
    for i in range(LAYERS):
        n1, back_n1 = tape.normalized(x, f"{i}.norm1")
        qkv, back_qkv = tape.product(n1, f"{i}.qkv")
        q, k, v = np.split(qkv, [HEADS * SIZE, (HEADS + SHARED) * SIZE], -1)
        q, k, v = split(q, HEADS), split(k, SHARED), split(v, SHARED)
        y, back_attention = attention(rotated(q, cosine, sine), rotated(k, cosine, sine), v)
        o, back_out = tape.product(joined(y), f"{i}.out")
        x = x + o
        n2, back_n2 = tape.normalized(x, f"{i}.norm2")
        gate, back_gate = tape.product(n2, f"{i}.gate")
        up, back_up = tape.product(n2, f"{i}.up")
        s = 1 / (1 + np.exp(-gate))
        down, back_down = tape.product(gate * s * up, f"{i}.down")
        x = x + down

        def back(dx, gate=gate, up=up, s=s, backs=(back_n1, back_qkv, back_attention, back_out, back_n2, back_gate, back_up, back_down)):
            b_n1, b_qkv, b_attention, b_out, b_n2, b_gate, b_up, b_down = backs
            da = b_down(dx)
            dn = b_gate(da * up * (s + gate * s * (1 - s))) + b_up(da * gate * s)
            dx = dx + b_n2(dn)
            dq, dk, dv = b_attention(split(b_out(dx), HEADS))
            dq, dk = rotated(dq, cosine, -sine), rotated(dk, cosine, -sine)
            return dx + b_n1(b_qkv(np.concatenate([joined(dq), joined(dk), joined(dv)], -1)))

        layers.append(back)
    n, back_n = tape.normalized(x, "norm")
    logits, back_head = tape.product(n, "head")
    logits -= logits.max(-1, keepdims=True)
    p = np.exp(logits)
    p /= p.sum(-1, keepdims=True)
    at = (np.arange(batch)[:, None], np.arange(steps)[None], targets)
    loss = -np.log(p[at] + 1e-12).mean()
    p[at] -= 1
    dx = back_n(back_head(p / targets.size))
    for back in reversed(layers):
        dx = back(dx)
    np.add.at(tape.gradients["table"], ids, dx)
    return loss, tape.gradients


def train(text, seconds, batch=16, rate=3e-3):
    characters = sorted(set(text))
    ids = np.array([characters.index(c) for c in text])
    weights = new_weights(len(characters))
    first = {name: np.zeros_like(w) for name, w in weights.items()}
    second = {name: np.zeros_like(w) for name, w in weights.items()}
    rng = np.random.default_rng(1)
    begin, step, smooth = time.process_time(), 0, None  # busy machines train as long
    while time.process_time() - begin < seconds:
        step += 1
        at = rng.integers(0, len(ids) - CONTEXT - 1, batch)
        x = np.stack([ids[a : a + CONTEXT] for a in at])
        y = np.stack([ids[a + 1 : a + CONTEXT + 1] for a in at])
        loss, gradients = loss_and_gradients(weights, x, y)
        smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
        left = 1 - (time.process_time() - begin) / seconds
        for name, g in gradients.items():  # Adam
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.99 * second[name] + 0.01 * g * g
            m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.99**step)
            weights[name] = (weights[name] - rate * max(left, 0.05) * m / (np.sqrt(v) + 1e-8)).astype(np.float32)
        if step % 100 == 0:
            print(f"step {step}: loss {smooth:.3f}", flush=True)
    print(f"{step} steps in {seconds} s: loss {smooth:.3f} (nats per character)")
    return weights, "".join(characters)


# ---------------------------------------------------------------------------------------------------------- the exports


class Export:
    """A graph under construction."""

    def __init__(self):
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes, self.constants, self.count = [], {}, 0

    def add(self, op, inputs, domain="", outputs=None, name=None, **attributes):
        self.count += 1
        name = name or f"{op}_{self.count}"
        outputs = outputs or [name]
        self.nodes.append(self.helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def constant(self, name, value):
        self.constants.setdefault(name, value)
        return name

    def ints(self, *values):
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value):
        return self.constant(f"number_{value}", np.array(value, np.float32))

    def model(self, logits):
        """`logits`: its dimensions behind the batch."""
        from onnx import TensorProto, checker

        info = self.helper.make_tensor_value_info
        kept = [
            info(f"{which}.{i}.{part}", TensorProto.FLOAT, ["batch", SHARED, length, SIZE])
            for which, length in (("past", "past"), ("present", "all"))
            for i in range(LAYERS)
            for part in ("key", "value")
        ]
        inputs = [
            info("input_ids", TensorProto.INT64, ["batch", "steps"]),
            info("attention_mask", TensorProto.INT64, ["batch", "all"]),
        ] + kept[: 2 * LAYERS]
        outputs = [info("logits", TensorProto.FLOAT, ["batch", *logits])] + kept[2 * LAYERS :]
        constants = [self.numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = self.helper.make_graph(self.nodes, "gpt", inputs, outputs, constants)
        used = {n.domain for n in self.nodes} | {""}
        model = self.helper.make_model(
            graph, opset_imports=[self.helper.make_opsetid(d, v) for d, v in OPSETS.items() if d in used], ir_version=8
        )
        if used == {""}:
            checker.check_model(model, full_check=True)
        return model


def gated_layer(e, x, i, weights):
    gate = e.add("MatMul", [x, e.constant(f"{i}.gate", weights[f"{i}.gate"])])
    up = e.add("MatMul", [x, e.constant(f"{i}.up", weights[f"{i}.up"])])
    open_gate = e.add("Mul", [gate, e.add("Sigmoid", [gate])])
    return e.add("MatMul", [e.add("Mul", [open_gate, up]), e.constant(f"{i}.down", weights[f"{i}.down"])])


def plain(weights, last=False):
    """`last`: logits [batch, characters] of the last step alone."""
    e = Export()

    def normalized(x, name):
        square = e.add("ReduceMean", [e.add("Pow", [x, e.number(2.0)])], axes=[-1])
        root = e.add("Sqrt", [e.add("Add", [square, e.number(EPSILON)])])
        return e.add("Mul", [e.add("Div", [x, root]), e.constant(name, weights[name])])

    def length(x, axis):
        return e.add("Gather", [e.add("Shape", [x]), e.constant(f"int_{axis}", np.array(axis, np.int64))], axis=0)

    def heads_of(x, heads):
        return e.add("Transpose", [e.add("Reshape", [x, e.ints(0, 0, heads, SIZE)])], perm=[0, 2, 1, 3])

    zero, one = e.constant("zero", np.array(0, np.int64)), e.constant("one", np.array(1, np.int64))
    past = length("past.0.key", 2)
    steps = length("input_ids", 1)
    everything = e.add("Add", [past, steps])
    own = e.add("Range", [past, everything, one])  # the positions of these steps
    cosine, sine = angles()
    angle = [
        e.add("Unsqueeze", [e.add("Gather", [e.constant(n, t), own], axis=0), e.ints(0, 1)])
        for n, t in (("cosine", cosine), ("sine", sine))
    ]

    def turned(x):
        half = SIZE // 2
        a = e.add("Slice", [x, e.ints(0), e.ints(half), e.ints(3)])
        b = e.add("Slice", [x, e.ints(half), e.ints(SIZE), e.ints(3)])
        real = e.add("Sub", [e.add("Mul", [a, angle[0]]), e.add("Mul", [b, angle[1]])])
        imaginary = e.add("Add", [e.add("Mul", [b, angle[0]]), e.add("Mul", [a, angle[1]])])
        return e.add("Concat", [real, imaginary], axis=-1)

    # A step sees itself and what came before, as far as attention_mask has it.
    before = e.add(
        "LessOrEqual",
        [
            e.add("Unsqueeze", [e.add("Range", [zero, everything, one]), e.ints(0)]),
            e.add("Unsqueeze", [own, e.ints(1)]),
        ],
    )
    there = e.add("Unsqueeze", [e.add("Cast", ["attention_mask"], to=9), e.ints(1, 2)])
    mask = e.add("Where", [e.add("And", [before, there]), e.number(0.0), e.number(float(np.finfo(np.float32).min))])

    def copies(x):  # of each head of keys and values, as many as heads of queries share it
        at = np.repeat(np.arange(SHARED), HEADS // SHARED)
        return e.add("Gather", [x, e.constant("copies", at.astype(np.int64))], axis=1)

    x = e.add("Gather", [e.constant("table", weights["table"]), "input_ids"], axis=0)
    for i in range(LAYERS):
        qkv = e.add("MatMul", [normalized(x, f"{i}.norm1"), e.constant(f"{i}.qkv", weights[f"{i}.qkv"])])
        widths = np.array([HEADS * SIZE, SHARED * SIZE, SHARED * SIZE], np.int64)
        parts = [f"{i}.{part}" for part in ("q", "k", "v")]
        e.add("Split", [qkv, e.constant("widths", widths)], outputs=parts, axis=-1)
        q = turned(heads_of(parts[0], HEADS))
        kept = []
        for part, new in (("key", turned(heads_of(parts[1], SHARED))), ("value", heads_of(parts[2], SHARED))):
            kept.append(e.add("Concat", [f"past.{i}.{part}", new], name=f"present.{i}.{part}", axis=2))
        k = e.add("Transpose", [copies(kept[0])], perm=[0, 1, 3, 2])
        scores = e.add("Mul", [e.add("MatMul", [q, k]), e.number(1 / np.sqrt(SIZE))])
        p = e.add("Softmax", [e.add("Add", [scores, mask])], axis=-1)
        y = e.add("Transpose", [e.add("MatMul", [p, copies(kept[1])])], perm=[0, 2, 1, 3])
        y = e.add("Reshape", [y, e.ints(0, 0, HEADS * SIZE)])
        x = e.add("Add", [x, e.add("MatMul", [y, e.constant(f"{i}.out", weights[f"{i}.out"])])])
        x = e.add("Add", [x, gated_layer(e, normalized(x, f"{i}.norm2"), i, weights)])
    if last:
        x = e.add("Gather", [x, e.constant("end", np.array(-1, np.int64))], axis=1)
    e.add("MatMul", [normalized(x, "norm"), e.constant("head", weights["head"])], outputs=["logits"])
    characters = weights["head"].shape[1]
    return e.model([characters] if last else ["steps", characters])


def fused(weights):
    e = Export()
    microsoft = "com.microsoft"

    def both(x, more, name):
        """The sum, normalized, and itself."""
        node = f"{name}.sum"
        e.add("SkipSimplifiedLayerNormalization", [x, more, e.constant(name, weights[name])], microsoft,
              outputs=[f"{node}.normalized", "", "", node], name=node, epsilon=EPSILON)
        return f"{node}.normalized", node

    cosine, sine = angles()
    count = e.add("ReduceSum", ["attention_mask", e.ints(1)], keepdims=0)
    last = e.add("Cast", [e.add("Sub", [count, e.ints(1)])], to=6)
    everything = e.add("Gather", [e.add("Shape", ["attention_mask"]), e.constant("one", np.array(1, np.int64))], axis=0)
    everything = e.add("Cast", [everything], to=6)
    x = e.add("Gather", [e.constant("table", weights["table"]), "input_ids"], axis=0)
    n = e.add("SimplifiedLayerNormalization", [x, e.constant("0.norm1", weights["0.norm1"])], axis=-1, epsilon=EPSILON)
    for i in range(LAYERS):
        qkv = e.add("MatMul", [n, e.constant(f"{i}.qkv", weights[f"{i}.qkv"])])
        y = f"{i}.attention"
        e.add("GroupQueryAttention",
              [qkv, "", "", f"past.{i}.key", f"past.{i}.value", last, everything, e.constant("cosine", cosine),
               e.constant("sine", sine)],
              microsoft, outputs=[y, f"present.{i}.key", f"present.{i}.value"], name=y, num_heads=HEADS,
              kv_num_heads=SHARED, do_rotary=1)
        y = e.add("MatMul", [y, e.constant(f"{i}.out", weights[f"{i}.out"])])
        n, x = both(x, y, f"{i}.norm2")
        n, x = both(x, gated_layer(e, n, i, weights), f"{i + 1}.norm1" if i + 1 < LAYERS else "norm")
    e.add("MatMul", [n, e.constant("head", weights["head"])], outputs=["logits"])
    return e.model(["steps", weights["head"].shape[1]])


# ------------------------------------------------------------------------------------------------------------ the check


def empty_past(batch):
    return {
        f"past.{i}.{part}": np.zeros((batch, SHARED, 0, SIZE), np.float32)
        for i in range(LAYERS)
        for part in ("key", "value")
    }


def runs_of(session, prompt, steps):
    """What the model makes of a prompt, and of the likeliest characters behind it, one at a time."""
    names = [o.name for o in session.get_outputs()]
    past, ids, runs = empty_past(len(prompt)), prompt, []
    for _ in range(steps + 1):
        kept = past["past.0.key"].shape[2]
        feeds = {"input_ids": ids, "attention_mask": np.ones((len(ids), kept + ids.shape[1]), np.int64), **past}
        found = dict(zip(names, session.run(None, feeds)))
        runs.append((feeds, found))
        past = {n.replace("present", "past"): v for n, v in found.items() if n != "logits"}
        ids = found["logits"][:, -1:].argmax(-1).astype(np.int64)
    return runs


def export(weights, characters, folder):
    import onnx
    import onnxruntime

    folder.mkdir(parents=True, exist_ok=True)
    onnxruntime.set_default_logger_severity(3)
    prompt = np.array([[characters.index(c) for c in text] for text in ("ROMEO:\nO", "First Ci")], np.int64)
    made = {}
    for name, model in (("plain", plain(weights)), ("fused", fused(weights))):
        onnx.save(model, folder / f"{name}.onnx")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        made[name] = runs_of(session, prompt, 12)
    worst = max(
        float(np.abs(a[1][n] - b[1][n]).max()) for a, b in zip(made["plain"], made["fused"]) for n in a[1]
    )
    print(f"plain and fused in ONNX Runtime: at most {worst:.2e} apart")

    for name, runs in made.items():
        to = folder / f"{name}-runs"
        to.mkdir(exist_ok=True)
        for i, (feeds, _) in enumerate(runs):
            np.savez(to / f"{i}.npz", **feeds)
    said = np.concatenate([f["input_ids"] for f, _ in made["fused"]], 1)
    for row in said:
        print(repr("".join(characters[i] for i in row)))


def main(folder, text=None, seconds=120):
    if text:
        weights, characters = train(Path(text).read_text(), float(seconds))
    else:
        characters = "\n !$&',-.3:;?" + "".join(chr(c) for c in [*range(65, 91), *range(97, 123)])
        weights = new_weights(len(characters))
    export(weights, characters, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
