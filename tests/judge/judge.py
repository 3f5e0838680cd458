"""The judge: ONNX's checker and native ONNX Runtime, one thread. Reads a file to judge from each line of standard input
(JSON), and answers each with a line.

    {"id", "float": the float model, "file", "samples": [npz], "ours": [npz of our outputs] or null, "floor": dB, "deep"}
        -> {"id", "faults": [{"kind", "optimized", "text"}], "levels": bool, "runs": [{"optimized", "db", "apart", "allowed"}]}
    {"id", "file", "samples": [npz], "feeds": [npz]}
        -> {"id"}, when `feeds` holds the samples as the file takes them: integers where its inputs are quantized
    {"id", "file", "probe": path}
        -> {"id"}, when `probe` is the file with all that it computes as outputs
    {"id", "file": a probe, "samples", "ours", "locate": true}
        -> {"id", "node": the first one in the file's order whose result differs from ours}

Kinds: "invalid" (onnx.checker with full shape inference), "refused" (ONNX Runtime does not open it), "fails" (it does not
run), "disagrees" (with our run of the same file), "low" (too far from the float model). Every file is opened twice, without
ONNX Runtime's optimizations and with all of them.

How far two right runs of a file may be apart, in the output that differs most:
  - ROUNDED_STEPS, where an output is a dequantized integer: in front of a rounding two engines have floats that differ in the
    last bits, and one of many falls on the other side of a tie;
  - ROUNDED, beside the largest value, where integers are rounded before the last products: such a step, passed on;
  - DEEP dB nearer to each other than to the float model, in models of so many layers ("deep") that one such step changes others;
  - HALF where values are half precision: 11 bits, rounded after each operator;
  - FLOAT otherwise: sums of floats in another order.
On x86 without VNNI, ONNX Runtime's own 8-bit products saturate (uint8 by int8, pairs of them in 16 bits): runs that multiply
integers (optimized ones of files with integers, and all of files with operators that do) are then opened and run, and our own
run is compared with the float model instead; "saturates" says so.
Where ONNX Runtime makes MatMulNBits of a DequantizeLinear and a MatMul it rounds activations to 8 bits, unless told not to
(session.qdq_matmulnbits_accuracy_level; 4 by default), and so it does where our file has the operator with that level: such a
run must agree when it is told, and "levels" says that it was.
"""

import json
import math
import os
import platform
import sys

import numpy as np
import onnx
import onnxruntime

onnxruntime.set_default_logger_severity(4)
ROUNDED_STEPS, ROUNDED, DEEP, HALF, FLOAT = 1.01, 0.01, 9, 4e-3, 2e-4
def saturating():
    """Whether ONNX Runtime's products of uint8 and int8 saturate here."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return True
    return not any("vnni" in flag for flag in flags)


SATURATES = saturating()
INTEGER_PRODUCTS = {
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm",
    "QLinearConv", "QLinearMatMul",
}  # fmt: skip


def multiplies_integers(model):
    """Whether a node multiplies integers without being optimized."""
    return any(node.op_type in INTEGER_PRODUCTS for node in nodes_of(model.graph))


def rounds_activations(model):
    return any(node.op_type == "MatMulNBits" for node in nodes_of(model.graph))


def exact_file(path, model):
    """A file of the same whose products say that activations stay float; the model itself where it has none."""
    if not rounds_activations(model):
        return path
    for node in nodes_of(model.graph):
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = 1
    exact = f"{path}.exact"
    onnx.save(model, exact)
    return exact


LEVELS = {False: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, True: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL}


def session_of(path, optimized, exact=False):
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = LEVELS[optimized]
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def loaded(paths):
    samples = []
    for path in paths:
        with np.load(path) as file:
            samples.append(dict(file))
    return samples


def outputs_of(session, samples):
    names = [output.name for output in session.get_outputs()]
    types = {i.name: i.type for i in session.get_inputs()}
    runs = []
    for feeds in samples:
        runs.append(dict(zip(names, session.run(None, {name: feeds[name] for name in types}))))
    return runs


class Spread:
    """How far runs are from those of a reference, over all samples: the output that is furthest. `steps`: of outputs that are
    integers; `apart` is in those, or beside the largest value, and counted by what is `allowed` there."""

    def __init__(self, reference, runs, steps=None, allowed=FLOAT):
        self.text, self.db, self.apart, self.allowed, self.output = "", math.inf, 0.0, allowed, ""
        if set(reference[0]) != set(runs[0]):
            self.text = f"outputs are {sorted(runs[0])}, not {sorted(reference[0])}"
            return
        for name in reference[0]:
            signal = noise = most = largest = 0.0
            for wanted, got in zip(reference, runs):
                a, b = np.asarray(wanted[name]), np.asarray(got[name])
                if a.shape != b.shape:
                    self.text = f"output '{name}' has dims {list(b.shape)}, not {list(a.shape)}"
                    return
                if a.dtype.kind in "Ob":
                    if (a != b).any():
                        self.text = f"output '{name}' differs"
                    continue
                a, b = a.astype(np.float64), b.astype(np.float64)
                finite = np.isfinite(a)
                if (finite != np.isfinite(b)).any():
                    self.text = f"output '{name}' is not finite where it should be"
                    return
                a, b = a[finite], b[finite]
                if a.size:
                    signal, noise = signal + (a * a).sum(), noise + ((a - b) ** 2).sum()
                    most, largest = max(most, np.abs(a - b).max()), max(largest, np.abs(a).max())
            step = (steps or {}).get(name)
            apart, limit = most / (step or largest or 1.0), ROUNDED_STEPS if step else allowed
            if noise > 0:
                self.db = min(self.db, 10 * math.log10((signal or 1e-30) / noise))
            if apart / limit > self.apart / self.allowed:
                self.apart, self.allowed, self.output = apart, limit, name
        if self.db == math.inf:
            self.db = 999.0
        if self.apart > self.allowed:
            unit = "steps" if self.allowed == ROUNDED_STEPS else "of the largest value"
            self.text = f"output '{self.output}' is {self.apart:.3g} {unit} from our run, {self.allowed:g} allowed"


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def steps_of(model):
    """The scale of each output that a DequantizeLinear makes; 1 for integers."""
    constants = {c.name: c for c in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    steps = {}
    for output in model.graph.output:
        kind = output.type.tensor_type.elem_type
        name = output.name
        while (node := makers.get(name)) is not None and node.op_type in {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"}:
            name = node.input[0]
        if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            steps[output.name] = 1.0
        elif node is not None and node.op_type == "DequantizeLinear" and node.input[1] in constants:
            steps[output.name] = float(onnx.numpy_helper.to_array(constants[node.input[1]]).max())
    return steps


def allowed_in(model):
    """What is allowed beside the largest value: see above."""
    kinds = {node.op_type for node in nodes_of(model.graph)}
    half = onnx.TensorProto.FLOAT16
    if any(kind.startswith(("QuantizeLinear", "QLinear", "QGemm", "DynamicQuantize")) for kind in kinds):
        return ROUNDED
    if any(c.data_type == half for c in model.graph.initializer) or any(v.type.tensor_type.elem_type == half for v in model.graph.input):
        return HALF
    return FLOAT


def edge_of(graph, node, at):
    """Scale and zero point at two inputs of a node, both constants."""
    constants = {c.name: c for c in graph.initializer}
    scale, zero = (onnx.numpy_helper.to_array(constants[node.input[i]]) for i in (at, at + 1))
    return float(scale.reshape(-1)[0]), zero


def quantized(model, feeds):
    """Feeds as the file takes them: an input of integers goes to a DequantizeLinear, which says what they mean."""
    made = dict(feeds)
    for value in model.graph.input:
        wanted = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name not in feeds or feeds[value.name].dtype == wanted or feeds[value.name].dtype.kind != "f" or wanted.kind == "f":
            continue
        at = {"DequantizeLinear": 1, "QLinearMatMul": 1, "QLinearConv": 1, "QGemm": 1, "QLinearAdd": 1, "QLinearMul": 1}
        scale, zero = next(
            edge_of(model.graph, node, list(node.input).index(value.name) + 1)
            for node in model.graph.node
            if value.name in node.input and (node.op_type in at or node.op_type.startswith("QLinear"))
        )
        limits = np.iinfo(wanted)
        made[value.name] = np.clip(np.round(feeds[value.name] / scale) + int(zero), limits.min, limits.max).astype(wanted)
    return made


# Where the scale of what a node makes is among its inputs; the zero point follows it.
RESULT_SCALE = {"QuantizeLinear": 1, "QLinearMatMul": 6, "QLinearConv": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6}


def dequantized(model, runs, wanted):
    """Runs with floats where the float model has floats: what makes an output of integers says what they mean."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for name, value in wanted[0].items():
        if np.asarray(value).dtype.kind != "f" or np.asarray(runs[0].get(name, value)).dtype.kind == "f":
            continue
        maker = makers[name]
        while maker.op_type not in RESULT_SCALE and not maker.op_type.startswith("QLinear"):
            maker = makers[maker.input[0]]  # it only moves values
        at = RESULT_SCALE.get(maker.op_type, 3)  # QLinearSigmoid and its like: x, x_scale, x_zero_point, y_scale
        if maker.op_type == "QLinearConcat":
            at = 0
        scale, zero = edge_of(model.graph, maker, at)
        runs = [{**run, name: (run[name].astype(np.float64) - int(zero)) * scale} for run in runs]
    return runs


def plain(error):
    return " ".join(str(error).split())[-400:]


class Judge:
    def __init__(self):
        self.floats = {}

    def float_of(self, path, samples):
        if path not in self.floats:
            self.floats = {path: outputs_of(session_of(path, False), samples)}  # the last one's
        return self.floats[path]

    def judge(self, job):
        faults, runs = [], []
        answer = {"id": job["id"], "faults": faults, "runs": runs, "levels": False, "samples": job["samples"]}
        fault = lambda kind, text, optimized=None: faults.append({"kind": kind, "text": text, "optimized": optimized})
        model = onnx.load(job["file"])
        try:
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:
            fault("invalid", plain(error))
        samples = loaded(job["samples"])
        wanted = self.float_of(job["float"], samples)
        samples = [quantized(model, feeds) for feeds in samples]
        ours = loaded(job["ours"]) if job["ours"] else None
        steps, allowed = steps_of(model), allowed_in(model)
        for optimized in (False, True):
            try:
                session = session_of(job["file"], optimized)
            except Exception as error:
                fault("refused", plain(error), optimized)
                continue
            try:
                got = outputs_of(session, samples)
            except Exception as error:
                fault("fails", plain(error), optimized)
                continue
            distance = Spread(wanted, dequantized(model, got, wanted), allowed=math.inf)
            run = {"optimized": optimized, "db": distance.db}
            runs.append(run)
            if SATURATES and allowed == ROUNDED and (optimized or multiplies_integers(model)):
                answer["saturates"] = True
                exact = Spread(wanted, dequantized(model, ours, wanted), allowed=math.inf) if ours else None
                if exact and exact.db < job["floor"]:
                    fault("low", f"{exact.db:.1f} dB from the float model in our run, {job['floor']} wanted", optimized)
                continue
            if distance.text:
                fault("disagrees", distance.text, optimized)
            elif distance.db < job["floor"]:
                fault("low", f"{distance.db:.1f} dB from the float model, {job['floor']} wanted", optimized)
            if ours:
                between = Spread(got, ours, steps, allowed)
                if between.text and (optimized or rounds_activations(model)):
                    told = session_of(exact_file(job["file"], model), optimized, exact=True)
                    exact = Spread(outputs_of(told, samples), ours, steps, allowed)
                    if not exact.text:
                        answer["levels"], between = True, exact
                if between.text and job["deep"] and allowed == ROUNDED and between.db >= distance.db + DEEP:
                    between.text = ""
                run.update(apart=between.apart, allowed=between.allowed, agree=between.db)
                if between.text:
                    fault("disagrees", between.text, optimized)
        return answer


def feeds(job):
    model = onnx.load(job["file"])
    for path, sample in zip(job["feeds"], loaded(job["samples"])):
        np.savez(path, **quantized(model, sample))
    return {}


def probe(job):
    model = onnx.shape_inference.infer_shapes(onnx.load(job["file"]))
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(value for value in model.graph.value_info if value.name not in there)
    onnx.save(model, job["probe"])
    return {}


def locate(job):
    model = onnx.load(job["file"])
    samples = [quantized(model, sample) for sample in loaded(job["samples"])]
    got = outputs_of(session_of(job["file"], False), samples)
    ours, steps, allowed = loaded(job["ours"]), steps_of(model), allowed_in(model)
    for node in model.graph.node:
        for name in node.output:
            if name in got[0] and name in ours[0]:
                only = lambda runs: [{name: run[name]} for run in runs]
                if Spread(only(got), only(ours), steps, allowed).text:
                    return {"node": node.name or name}
    return {"node": None}


OTHERS = {"feeds": feeds, "probe": probe, "locate": locate}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    judge = Judge()
    for line in sys.stdin:
        job = json.loads(line)
        try:
            other = next((do for key, do in OTHERS.items() if key in job), None)
            answer = {"id": job["id"], "faults": [], **other(job)} if other else judge.judge(job)
        except Exception as error:
            answer = {"id": job["id"], "faults": [{"kind": "judge", "text": f"{type(error).__name__}: {plain(error)}", "optimized": None}]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
