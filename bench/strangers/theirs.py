"""ONNX Runtime and its quantizer, for bench/strangers: reads commands, a line of JSON each, and answers each with a line.

    {"do": "about"}                                    -> {"onnxruntime", "onnx", "numpy"}
    {"do": "inputs", "model"}                          -> {"inputs": [{"name", "type", "dims"}], "outputs": [name]}
    {"do": "run", "model", "samples", "optimized", "exact", "out"} -> {"runs": [[{"name", "type", "dims", "at", "length"}]]}
    {"do": "time", "model", "sample", "runs"}          -> {"ms": the median of the runs}
    {"do": "quantize", "model", "target", "mode", "samples"} -> {"bytes", "seconds", "how"}
    {"do": "forget"}                                   -> {}

"exact": MatMulNBits must not round activations, whatever level the file allows. Samples are paths of .npz files. Outputs go to the file `out`, floats as float32, all others as float64. Sessions have one
thread and are kept until `forget`. An answer may be {"error": text} instead.
"""

import os
import pathlib
import statistics
import sys
import time

import numpy as np
import onnxruntime

BENCH = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(BENCH / "lib"), str(BENCH.parent / "tests" / "judge")]
import rival_quantizer
from answering import answer_commands
from rival_quantizer import feeds_of

onnxruntime.set_default_logger_severity(4)
sessions = {}
FLOATS = (np.float32, np.float16)


def session_of(model, optimized, exact=False):
    key = (model, optimized, exact)
    if key not in sessions:
        options = onnxruntime.SessionOptions()
        if exact:
            from judge import exact_file
            import onnx

            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
            model = exact_file(model, onnx.load(model))
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
        sessions[key] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return sessions[key]


def about(_):
    import onnx

    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "numpy": np.__version__}


def inputs(command):
    session = session_of(command["model"], False)
    described = [{"name": i.name, "type": i.type, "dims": i.shape} for i in session.get_inputs()]
    return {"inputs": described, "outputs": [o.name for o in session.get_outputs()]}


def rows_of(value):
    """A list of maps from classes to scores (ZipMap) as the tensor of the scores."""
    is_maps = isinstance(value, list) and value and isinstance(value[0], dict)
    return np.float32([list(scores.values()) for scores in value]) if is_maps else value


def run(command):
    session = session_of(command["model"], command["optimized"], command.get("exact", False))
    names = [o.name for o in session.get_outputs()]
    runs = []
    with open(command["out"], "wb") as file:
        for path in command["samples"]:
            outputs = []
            for name, value in zip(names, session.run(None, feeds_of(path))):
                value = np.asarray(rows_of(value))
                kind = np.float32 if value.dtype.type in FLOATS else np.float64
                data = np.ascontiguousarray(value, kind).tobytes()
                file.write(b"\0" * (-file.tell() % 8))
                outputs.append(
                    {
                        "name": name,
                        "type": value.dtype.name,
                        "dims": value.shape,
                        "at": file.tell(),
                        "array": np.dtype(kind).name,
                        "length": int(value.size),
                    }
                )
                file.write(data)
            runs.append(outputs)
    return {"runs": runs}


def timed(command):
    session = session_of(command["model"], True)
    feeds = feeds_of(command["sample"])
    times = []
    for _ in range(command["runs"]):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append((time.perf_counter() - start) * 1000)
    return {"ms": statistics.median(times)}


def quantize(command):
    source, target = command["model"], command["target"]
    with rival_quantizer.own_folder() as folder:
        start = time.monotonic()
        model = rival_quantizer.prepared(source, folder, lambda path: inputs({"model": path}))
        sessions.clear()
        if command["mode"] == "static":
            opens = lambda path: session_of(path, False)
            how = rival_quantizer.static(model, target, command["samples"], folder, opens)
        else:
            how = rival_quantizer.dynamic(model, target)
        seconds = time.monotonic() - start
    return {"bytes": os.path.getsize(target), "seconds": seconds, "how": how}


def forget(_):
    sessions.clear()
    return {}


COMMANDS = {"about": about, "inputs": inputs, "run": run, "time": timed, "quantize": quantize, "forget": forget}


if __name__ == "__main__":
    answer_commands(COMMANDS)
