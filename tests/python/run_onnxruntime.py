"""Runs models with ONNX Runtime on raw inputs: run_onnxruntime.py MODEL FOLDER BATCH [MODEL …]

Reads FOLDER/<input>.raw for every input of MODEL and writes FOLDER/<output>.ort.raw: little-endian,
row-major, the first dimension is BATCH.
"""

import sys
from pathlib import Path

import numpy
import onnxruntime

TYPES = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}

arguments = iter(sys.argv[1:])
for model, folder, batch in zip(arguments, arguments, arguments):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        data = numpy.fromfile(Path(folder) / f"{value.name}.raw", TYPES[value.type])
        feeds[value.name] = data.reshape([int(batch), *value.shape[1:]])
    names = [value.name for value in session.get_outputs()]
    for name, output in zip(names, session.run(names, feeds)):
        output.tofile(Path(folder) / f"{name}.ort.raw")
