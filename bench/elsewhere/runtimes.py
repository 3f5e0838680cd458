"""Runtimes for bench/elsewhere: reads commands, a line of JSON each, and answers each with a line.

    {"do": "about"}                                              -> {"runtimes": {name: version}, "missing": {name: why}}
    {"do": "quantize", "model", "target", "kind", "samples"}     -> {"bytes", "seconds", "how"}
    {"do": "run", "runtime", "model", "samples", "out"}          -> {"runs": [[{"name", "dims", "at", "array", "length"}]]}
    {"do": "race", "runtime", "models": {name: path}, "sample", "seconds"} -> {"ms": {name: median}}
    {"do": "optimized", "model"}                                 -> {"operators": {name: count}, "beside": {name: count}}
    {"do": "forget"}                                             -> {}

Kinds: what ONNX Runtime's own quantizers make: "static" (Q/DQ, per channel), "dynamic", "weights8" and "weights4"
(MatMulNBits). Samples are paths of .npz files; outputs go to the file `out` as float64. Everything has one thread. An answer
may be {"error": text} instead.
"""

import collections
import importlib.metadata
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lib"))
import rival_quantizer
from answering import answer_commands
from rival_quantizer import feeds_of


class Runtime:
    """A runtime that is a Python package."""

    package = ""

    @classmethod
    def version(cls):
        __import__(cls.package)
        return importlib.metadata.version(cls.package)

    def seconds(self, feeds, times):
        """How long so many runs take."""
        start = time.perf_counter()
        for _ in range(times):
            self.run(feeds)
        return time.perf_counter() - start


class OnnxRuntime(Runtime):
    package = "onnxruntime"

    def __init__(self, path, sample, plain=False):
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_DISABLE_ALL if plain else level.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def prepare(self, feeds):
        return {name: feeds[name] for name in self.inputs}

    def run(self, feeds):
        return self.session.run(None, feeds)


class OpenVino(Runtime):
    package = "openvino"

    def __init__(self, path, sample):
        import openvino

        core = openvino.Core()
        # f32: its CPU plugin otherwise computes in bfloat16 where the processor can, and is measured against float.
        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self.model = core.compile_model(core.read_model(path), "CPU", settings)
        self.request = self.model.create_infer_request()
        self.inputs = [i.get_any_name() for i in self.model.inputs]
        self.outputs = [o.get_any_name() for o in self.model.outputs]

    def prepare(self, feeds):
        return {name: feeds[name] for name in self.inputs}

    def run(self, feeds):
        self.request.infer(feeds)
        return [self.request.get_output_tensor(i).data for i in range(len(self.outputs))]


class Tract(Runtime):
    package = "tract"
    kinds = {"float32": "f32", "float16": "f16", "float64": "f64", "int64": "i64", "int32": "i32", "int8": "i8", "uint8": "u8", "bool": "bool"}

    def __init__(self, path, sample):
        import onnx
        import tract

        # What a file declares of inner values it takes for more than a hint, and stops where a batch has a name there and a
        # number here: its own command line has an option to leave them out.
        bare = onnx.load(path)
        del bare.graph.value_info[:]
        with tempfile.TemporaryDirectory() as folder:
            place = str(pathlib.Path(folder) / "bare.onnx")
            onnx.save(bare, place)
            model = tract.onnx().load(place)
        self.inputs = [model.input_name(i) for i in range(model.input_count())]
        self.outputs = [output.name for output in bare.graph.output]  # tract may call them otherwise, in this order
        for i, name in enumerate(self.inputs):
            value = sample[name]
            model.set_input_fact(i, ",".join([*map(str, value.shape), self.kinds[value.dtype.name]]))
        for i in range(len(self.outputs)):
            model.set_output_fact(i, None)  # what files declare of outputs is often of another size
        self.model = model.into_model().into_runnable()

    def prepare(self, feeds):
        return [np.ascontiguousarray(feeds[name]) for name in self.inputs]

    def run(self, feeds):
        return [tensor.to_numpy() for tensor in self.model.run(feeds)]


class Rten(Runtime):
    """A program of ours (rten/src/main.rs), one process for each file. It has no inputs of 64 bits: they become 32."""

    kinds = {"float32": "f32", "float64": "f32", "int64": "i32", "int32": "i32", "bool": "i32", "int8": "i8", "uint8": "u8"}
    numpy = {"f32": np.float32, "i32": np.int32, "i8": np.int8, "u8": np.uint8}

    @classmethod
    def version(cls):
        if "RTEN_RUNTIME" not in os.environ:
            raise RuntimeError(os.environ.get("RTEN_MISSING", "its program is not built"))
        return os.environ["RTEN_VERSION"]

    def __init__(self, path, sample):
        import onnx

        self.child = subprocess.Popen([os.environ["RTEN_RUNTIME"], path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()
        graph = onnx.load(path, load_external_data=False).graph
        given = {constant.name for constant in graph.initializer}
        self.inputs = [i.name for i in graph.input if i.name not in given]
        self.outputs = [o.name for o in graph.output]

    def __del__(self):
        self.child.kill()
        self.child.wait()

    def answer(self):
        line = self.child.stdout.readline().rstrip("\n")
        if not line or line.startswith("error "):
            raise RuntimeError(line[6:] or "the program ended")
        return line

    def ask(self, *words):
        self.child.stdin.write("\t".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return self.answer()

    def prepare(self, feeds):
        with tempfile.TemporaryDirectory() as folder:
            for i, name in enumerate(self.inputs):
                kind = self.kinds.get(feeds[name].dtype.name)
                if kind is None:
                    raise TypeError(f"rten takes no inputs of {feeds[name].dtype.name}")
                path = pathlib.Path(folder) / str(i)
                path.write_bytes(np.ascontiguousarray(feeds[name], self.numpy[kind]).tobytes())
                self.ask("feed", name, kind, ",".join(map(str, feeds[name].shape)), path)
        return feeds

    def run(self, feeds):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "outputs"
            described = self.ask("run", path).split("\t")
            numbers = np.fromfile(path, np.float64)
        outputs, at = [], 0
        for text in described:
            dims = [int(d) for d in text.rsplit(" ", 1)[1].split(",") if d]
            count = int(np.prod(dims))
            outputs.append(numbers[at : at + count].reshape(dims))
            at += count
        return outputs

    def seconds(self, feeds, times):
        return float(self.ask("time", times)) * times / 1000


RUNTIMES = {"ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino, "tract": Tract, "rten": Rten}
opened = {}


def open_(command, path, sample):
    key = (command["runtime"], path)
    if key not in opened:
        opened[key] = RUNTIMES[command["runtime"]](path, sample)
    return opened[key]


def about(_):
    found, missing = {}, {}
    for name, runtime in RUNTIMES.items():
        try:
            found[name] = runtime.version()
        except Exception as error:
            missing[name] = str(error)
    return {"runtimes": found, "missing": missing}


def run(command):
    runs = []
    with open(command["out"], "wb") as file:
        for path in command["samples"]:
            feeds = feeds_of(path)
            session = open_(command, command["model"], feeds)
            outputs = []
            for name, value in zip(session.outputs, session.run(session.prepare(feeds))):
                value = np.asarray(value)
                data = np.ascontiguousarray(value, np.float64)
                outputs.append({"name": name, "dims": value.shape, "at": file.tell(), "array": "float64", "length": int(data.size)})
                file.write(data.tobytes())
            runs.append(outputs)
    return {"runs": runs}


def race(command):
    """Medians in milliseconds. The models take turns, so that what else the machine does hits all alike."""
    feeds = feeds_of(command["sample"])
    entries = []
    for name, path in command["models"].items():
        session = open_(command, path, feeds)
        prepared = session.prepare(feeds)
        session.seconds(prepared, 1)
        took = session.seconds(prepared, 1)
        entries.append((name, session, prepared, max(1, min(50, int(0.005 / max(took, 1e-6)))), []))
    end = time.perf_counter() + command["seconds"] * len(entries)
    turn = 0
    while turn < 3 or (turn < 60 and time.perf_counter() < end):
        for i in range(len(entries)):
            _, session, prepared, times, samples = entries[(i + turn) % len(entries)]
            samples.append(session.seconds(prepared, times) / times * 1000)
        turn += 1
    return {"ms": {name: statistics.median(samples) for name, *_, samples in entries}}


def optimized(command):
    """How often each operator is in the graph that ONNX Runtime runs, and how often beside a pair that nothing fused: reading
    what DequantizeLinear makes, or making what QuantizeLinear reads. "inputs" and "outputs": those of the graph."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.optimized_model_filepath = str(pathlib.Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(command["model"], options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    counts, beside = collections.Counter(), collections.Counter()

    def count(graph):
        makers = {name: node.op_type for node in graph.node for name in node.output}
        readers = collections.defaultdict(list)
        for node in graph.node:
            for name in node.input:
                readers[name].append(node.op_type)
        for node in graph.node:
            counts[node.op_type] += 1
            if node.op_type == "QuantizeLinear":
                beside[makers.get(node.input[0], "inputs")] += 1
            if node.op_type == "DequantizeLinear":
                beside.update(set(readers[node.output[0]]) or {"outputs"})
            for attribute in node.attribute:
                for inner in [attribute.g, *attribute.graphs]:
                    count(inner)

    count(model.graph)
    return {"operators": dict(counts), "beside": dict(beside)}


def static(source, target, samples, folder):
    return rival_quantizer.static(source, target, samples, folder, lambda path: OnnxRuntime(path, None, plain=True))


def dynamic(source, target, samples, folder):
    return rival_quantizer.dynamic(source, target)


def n_bits(bits):
    def make(source, target, samples, folder):
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        model = onnx.load(source)
        if not any(node.op_type == "MatMul" for node in model.graph.node):
            raise ValueError("the model has no MatMul, and the quantizer takes nothing else")
        quantizer = MatMulNBitsQuantizer(model, bits=bits, block_size=32, is_symmetric=bits == 8)
        quantizer.process()
        quantizer.model.save_model_to_file(target)
        return "blocks of 32"

    return make


KINDS = {"static": static, "dynamic": dynamic, "weights8": n_bits(8), "weights4": n_bits(4)}


def quantize(command):
    source, target = command["model"], command["target"]
    with rival_quantizer.own_folder() as folder:
        start = time.monotonic()
        model = rival_quantizer.prepared(source, folder, lambda path: OnnxRuntime(path, None).inputs)
        how = KINDS[command["kind"]](model, target, command["samples"], folder)
        seconds = time.monotonic() - start
    return {"bytes": os.path.getsize(target), "seconds": seconds, "how": how}


def forget(_):
    opened.clear()
    return {}


COMMANDS = {"about": about, "quantize": quantize, "run": run, "race": race, "optimized": optimized, "forget": forget}


if __name__ == "__main__":
    answer_commands(COMMANDS)
