"""Checks files with ONNX's own checker: check_written.py FOLDER CASES.

Each FOLDER/NAME.OPSET.onnx is to pass with full checks and strict shape inference where CASES/NAME/model.onnx, of which it
was made, does. Writes a JSON object: {"checked": count, "failures": [sentence]}.
"""

import json
import sys
from pathlib import Path

import onnx


def complaint(path):
    try:
        onnx.checker.check_model(onnx.load(path), full_check=True)
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


def main(folder, cases):
    checked, failures = 0, []
    passes = {}
    for path in sorted(folder.glob("*.onnx")):
        name, opset, _ = path.name.rsplit(".", 2)
        if name not in passes:
            passes[name] = complaint(cases / name / "model.onnx") is None
        if not passes[name]:
            continue
        checked += 1
        if why := complaint(path):
            failures.append(f"{name}, written as opset {opset}: {why}")
    print(json.dumps({"checked": checked, "failures": failures}))


main(Path(sys.argv[1]), Path(sys.argv[2]))
