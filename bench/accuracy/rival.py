"""Quantizes a model with ONNX Runtime in each of its settings and runs what came out on the test samples.

    python rival.py MODEL.onnx SAMPLES OUT [--only SETTING,...]

SAMPLES is a folder of samples.py. For every setting OUT/SETTING.bin holds all float outputs, sample after sample, and a
line of JSON goes to standard output: {"setting", "bytes", "seconds"} or {"setting", "error"}. The setting "float" is
the model itself.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process


class Reader(CalibrationDataReader):
    def __init__(self, files):
        self.files = list(files)
        self.rewind()

    def rewind(self):
        self.at = iter(self.files)

    def get_next(self):
        file = next(self.at, None)
        return None if file is None else dict(np.load(file))


def static(method, per_channel, activations=QuantType.QUInt8, symmetric=False):
    def make(source, target, calibration):
        quantize_static(
            str(source),
            str(target),
            Reader(calibration),
            quant_format=QuantFormat.QDQ,
            calibrate_method=method,
            per_channel=per_channel,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric, "CalibTensorRangeSymmetric": symmetric},
        )

    return make


def dynamic(source, target, calibration):
    quantize_dynamic(str(source), str(target), per_channel=True, weight_type=QuantType.QInt8)


def four_bits(source, target, calibration):
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


SETTINGS = {
    f"static {name} {'per channel' if per_channel else 'per tensor'}": static(method, per_channel)
    for name, method in (
        ("min-max", CalibrationMethod.MinMax),
        ("entropy", CalibrationMethod.Entropy),
        ("percentile", CalibrationMethod.Percentile),
    )
    for per_channel in (False, True)
}
SETTINGS["dynamic"] = dynamic
SETTINGS["4-bit blocks of 32"] = four_bits


def run(path, files, out):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with open(out, "wb") as file:
        for sample in files:
            for output in session.run(None, dict(np.load(sample))):
                file.write(np.ascontiguousarray(output, np.float32).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("samples", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", type=lambda text: text.split(","))
    arguments = parser.parse_args()
    calibration = sorted((arguments.samples / "calibration").glob("*.npz"))
    test = sorted((arguments.samples / "test").glob("*.npz"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(arguments.model), str(prepared))
        except Exception:  # some models defeat its shape inference; its quantizers then take them as they are
            prepared = arguments.model
        for name, make in {"float": None, **SETTINGS}.items():
            if arguments.only and name not in arguments.only:
                continue
            target = pathlib.Path(folder) / "quantized.onnx"
            try:
                start = time.monotonic()
                if make:
                    make(prepared, target, calibration)
                seconds = time.monotonic() - start
                path = target if make else arguments.model
                run(path, test, arguments.out / f"{name}.bin")
                row = {"setting": name, "bytes": path.stat().st_size, "seconds": round(seconds, 1)}
            except Exception as error:
                row = {"setting": name, "error": str(error).strip().splitlines()[-1][:300] if str(error) else repr(error)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
