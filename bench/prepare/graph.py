"""A graph under construction, in the pieces that PyTorch's exporter writes."""

import numpy as np
from onnx import helper, numpy_helper


class Graph:
    """Nodes and initializers, named as they are added."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers, self.scope = weights, [], {}, ""

    def constant(self, name, array):
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def op(self, kind, *inputs, name=None, **attributes):
        output = f"{self.scope}{name or kind.lower()}"
        taken = {o for node in self.nodes for o in node.output}
        base, count = output, 1
        while output in taken:
            count += 1
            output = f"{base}_{count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, x, name):
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        product = self.op("MatMul", x, weight, name="matmul")
        if f"{name}.bias" not in self.weights:
            return product
        return self.op("Add", product, self.constant(f"{name}.bias", self.weights[f"{name}.bias"]), name="linear")

    def layer_norm(self, x, name, epsilon):
        scale = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon, name="layer_norm")

    def gelu(self, x):
        """x / 2 · (1 + erf(x / √2)), in the pieces that PyTorch's exporter writes."""
        root, one, half = (
            self.constant(name, np.float32(value))
            for name, value in (("sqrt2", 2**0.5), ("one", 1), ("half", 0.5))
        )
        erf = self.op("Erf", self.op("Div", x, root, name="gelu_div"), name="gelu_erf")
        product = self.op("Mul", x, self.op("Add", erf, one, name="gelu_add"), name="gelu_mul")
        return self.op("Mul", product, half, name="gelu")
