"""Writes ONNX's test cases into a folder: cases.py FOLDER.

FOLDER/NAME/model.onnx and FOLDER/NAME/test_data_set_N/{input,output}_M.pb, as ONNX's own tools lay them out, and
FOLDER/index.json: {"cases": [{name, op, expanded}], "operators": {domain: {name: {versions, deprecated}}}}. `op` is the
operator that a case is about ("" where it is about none alone), `expanded` says that the model spells it out in others,
`versions` are those of its operator set at which the operator changed, and at `deprecated` it ended. Of operators of
ai.onnx, `forms` has by version the names of inputs (with "?" where they may be left out, "*" where there may be more),
the element types of inputs and outputs, and attributes with their defaults as text.

The wheel of onnx has the code that makes the node cases, and not the cases: they take a minute to make. It has
the models that PyTorch's exporter and ONNX's authors left, which are copied.
"""

import contextlib
import io
import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases

COPIED = ["pytorch-converted", "pytorch-operator", "simple"]


def to_bytes(value, info):
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    kind = info.type.WhichOneof("value")
    make = {
        "tensor_type": numpy_helper.from_array,
        "sequence_type": numpy_helper.from_list,
        "map_type": numpy_helper.from_dict,
        "optional_type": numpy_helper.from_optional,
    }[kind]
    return make(value, info.name).SerializeToString()


def write_node_case(folder, case):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        graph = case.model.graph
        for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
            for i, value in enumerate(values):
                (data / f"{kind}_{i}.pb").write_bytes(to_bytes(value, infos[i]))


def qualified(node):
    return f"{node.domain or 'ai.onnx'}.{node.op_type}"


def element_types(value):
    return sorted(name[7:-1] for name in value.types if name.startswith("tensor("))


def form(schema):
    defaults = {}
    for name, attribute in schema.attributes.items():
        value = onnx.helper.get_attribute_value(attribute.default_value) if attribute.default_value.name else None
        defaults[name] = value.decode() if isinstance(value, bytes) else str(value)
    mark = {"Single": "", "Optional": "?", "Variadic": "*"}
    return {
        "names": [value.name + mark[value.option.name] for value in schema.inputs],
        "inputs": [element_types(value) for value in schema.inputs],
        "outputs": [element_types(value) for value in schema.outputs],
        "attributes": defaults,
    }


def operators():
    found = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        entry = found.setdefault(schema.domain or "ai.onnx", {}).setdefault(schema.name, {"versions": []})
        if schema.deprecated:
            entry["deprecated"] = schema.since_version
        else:
            entry["versions"].append(schema.since_version)
            if schema.domain == "":
                entry.setdefault("forms", {})[schema.since_version] = form(schema)
    for entries in found.values():
        for entry in entries.values():
            entry["versions"].sort()
    return found


def main(target):
    np.random.seed(0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = node_cases.collect_testcases()
    about = node_cases._existing_names  # by the name of a case: the node that it was made for

    index = []
    for case in found:
        write_node_case(target / case.name, case)
        parent = case.name.rpartition("_expanded")[0]
        expanded = case.name not in about
        index.append({"name": case.name, "op": qualified(about[parent if expanded else case.name]), "expanded": expanded})
    wheel = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in COPIED:
        for folder in sorted((wheel / kind).iterdir()):
            name = f"{kind}.{folder.name}"
            shutil.copytree(folder, target / name)
            index.append({"name": name, "op": "", "expanded": False})
    text = json.dumps({"cases": index, "operators": operators()}, indent=1, sort_keys=True)
    (target / "index.json").write_text(text, encoding="utf-8")


main(Path(sys.argv[1]))
