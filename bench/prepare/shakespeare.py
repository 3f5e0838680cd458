"""The character GPT of the page's demo, trained on plays by Shakespeare.

    python shakespeare.py TEXT FOLDER [SECONDS]

writes FOLDER/shakespeare.onnx and FOLDER/unseen.txt: the network, trained for so many seconds of processor time (225), and
a part of the text that it never saw. The committed ones are in web/src/demos/gpt/, made from tinyshakespeare.
"""

import sys
from pathlib import Path

import gpt
import numpy as np

# Some 320,000 weights: 1.3 MB of floats.
gpt.LAYERS, gpt.WIDTH, gpt.HEADS, gpt.SHARED, gpt.SIZE, gpt.HIDDEN, gpt.CONTEXT = 3, 96, 4, 2, 24, 256, 128

SEEN = 0.95
# Of the part that is not seen, the demo takes so many characters.
SHOWN = 2600


def bits(weights, characters, text, pieces=64):
    """Bits for each character of a text."""
    ids = np.array([characters.index(c) for c in text])
    at = np.linspace(0, len(ids) - gpt.CONTEXT - 2, pieces).astype(int)
    x = np.stack([ids[a : a + gpt.CONTEXT] for a in at])
    y = np.stack([ids[a + 1 : a + gpt.CONTEXT + 1] for a in at])
    return gpt.loss_and_gradients(weights, x, y)[0] / np.log(2)


def main(text, folder, seconds=225):
    import onnx

    text, folder = Path(text).read_text(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    border = int(SEEN * len(text))
    weights, characters = gpt.train(text[:border], float(seconds))
    unseen = text[border:]
    print(f"{bits(weights, characters, unseen):.3f} bits a character on text that it never saw")
    # From the begin of a speech.
    begin = unseen.index("\n\n", len(unseen) // 2) + 2
    (folder / "unseen.txt").write_text(unseen[begin : begin + SHOWN])
    onnx.save(gpt.plain(weights, last=True), folder / "shakespeare.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
