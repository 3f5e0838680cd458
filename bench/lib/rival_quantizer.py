"""ONNX Runtime's own quantizer as its users would call it, for bench/strangers and bench/elsewhere."""

import contextlib
import os
import pathlib
import tempfile

import numpy as np


def feeds_of(path):
    with np.load(path) as file:
        return dict(file)


@contextlib.contextmanager
def own_folder():
    """A folder to work in: its shape inference leaves files where it runs."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def prepared(source, folder, inputs_of):
    """What its preparation makes of a model, or the model where that is not possible. `inputs_of(path)`: to compare."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = str(pathlib.Path(folder) / "prepared.onnx")
    try:
        quant_pre_process(source, path)
        if inputs_of(path) != inputs_of(source):
            raise ValueError("it made inputs of some initializers")
        return path
    except Exception:  # some models defeat it; the quantizers then take them as they are
        return source


def static(source, target, samples, folder, opens):
    """Quantizes in the best way that works, and says which: scales per channel need opset 13, which not all models have.

    `opens(path)` raises where the file cannot be opened.
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.at = iter(samples)

        def get_next(self):
            path = next(self.at, None)
            return None if path is None else feeds_of(path)

    def made(model, per_channel):
        quantize_static(
            model,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        opens(target)

    def converted():
        path = str(pathlib.Path(folder) / "converted.onnx")
        onnx.save(version_converter.convert_version(onnx.load(source), 13), path)
        return path

    first = None
    for how, attempt in (
        ("per channel", lambda: made(source, True)),
        ("per channel, converted to opset 13", lambda: made(converted(), True)),
        ("per tensor", lambda: made(source, False)),
    ):
        try:
            attempt()
            return how
        except Exception as error:
            first = first or error
    raise first


def dynamic(source, target):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
    return "per channel"
