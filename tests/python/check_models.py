"""Judges the reference networks with onnx itself: check_models.py DIR NAME=PARAMETERS:FUSED …

FUSED is `fused` where the published parameter count is that of the network after batch
normalisation was folded, else `trained`.
"""

import math
import sys
from pathlib import Path

import onnx


def count_parameters(model, fused):
    """Elements of the weights. Folding keeps a normalisation's β (`….bn.bias`), merges its γ."""
    total = 0
    for tensor in model.graph.initializer:
        elements = math.prod(tensor.dims)
        if tensor.name.endswith((".weight", ".bias")):
            total += elements
        if tensor.name.endswith(".bn.bias") and not fused:
            total += elements
    return total


def check(path, parameters, fused):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8, model.ir_version
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)], model.opset_import
    assert "random weights, seed" in model.doc_string, model.doc_string
    for value in [*model.graph.input, *model.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        assert first.dim_param == "batch", (value.name, first)
    counted = count_parameters(model, fused)
    assert counted == parameters, f"{path}: {counted} parameters, published are {parameters}"


folder = Path(sys.argv[1])
for argument in sys.argv[2:]:
    name, rest = argument.split("=")
    parameters, kind = rest.split(":")
    check(folder / name / "model.onnx", int(parameters), kind == "fused")

double = onnx.load(folder / "double" / "model.onnx")
onnx.checker.check_model(double, full_check=True)
