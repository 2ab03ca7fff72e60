"""How the two servers are started, with the same models."""

import contextlib
import http.client
import json
import math
import os
import pathlib
import shutil
import socket
import tempfile

import numpy as np
import tritonclient.grpc as grpcclient

from . import tools
from .process import Server

DOUBLE_ONNX = tools.ROOT / "tests/data/double.onnx"
DOUBLE = f'(name: "double", engine: Onnx("{DOUBLE_ONNX}"), slo: Ms(1000), max_batch: 64, max_instances: 1)'


@contextlib.contextmanager
def scratch():
    """A folder for a socket, whose path must be short."""
    folder = tempfile.mkdtemp(prefix="bce", dir="/tmp")
    try:
        yield pathlib.Path(folder)
    finally:
        shutil.rmtree(folder)


def http_status(path: pathlib.Path, target: str) -> int:
    """Of a GET over the Unix socket; 0 without an answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(
                f"GET {target} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".encode()
            )
            words = connection.makefile("rb").readline().split()
        except OSError:
            return 0
    return int(words[1]) if len(words) > 1 else 0


@contextlib.contextmanager
def bcedge(binaries: pathlib.Path, models: str, options: str = "", terminal=None):
    """Yields the running appliance, with `socket` set. `options` are more fields of config.ron."""
    with scratch() as folder:
        path = folder / "b.sock"
        (folder / "config.ron").write_text(
            f'(socket: (path: "{path}"), {options} models: {models})'
        )
        command = [binaries / "bcedge", "serve", "--config", folder / "config.ron"]
        command += [] if terminal else ["--headless"]
        ready = lambda: http_status(path, "/v2/health/ready") == 200  # noqa: E731
        with Server(command, ready, folder / "log", cwd=folder, terminal=terminal) as server:
            server.socket = path
            yield server


TRITON_CONFIG = """
backend: "python"
max_batch_size: 64
input [{ name: "INPUT0" data_type: TYPE_FP32 dims: [16] }]
output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [16] }]
instance_group [{ count: 1 kind: KIND_CPU }]
dynamic_batching {}
"""

TRITON_MODEL = """
import os
import sys

sys.path.append(os.environ["BCEDGE_BENCH_SITE_PACKAGES"])
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            doubled = pb_utils.Tensor("OUTPUT0", values * 2)
            responses.append(pb_utils.InferenceResponse(output_tensors=[doubled]))
        return responses
"""


@contextlib.contextmanager
def triton():
    """Yields Triton with the model `double` in its Python backend, with `socket` set."""
    home = tools.triton()
    server_home = home / "pytriton/tritonserver"
    with scratch() as folder:
        version = folder / "repository/double/1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(TRITON_MODEL)
        (folder / "repository/double/config.pbtxt").write_text(TRITON_CONFIG)
        env = {
            **os.environ,
            "LD_LIBRARY_PATH": f"{home / 'nvidia_pytriton.libs'}:{tools.libpython_folder()}",
            "BCEDGE_BENCH_SITE_PACKAGES": str(pathlib.Path(np.__file__).parents[1]),
        }
        command = [server_home / "bin/tritonserver", "--model-repository", folder / "repository"]
        command += ["--backend-directory", server_home / "backends"]
        command += ["--grpc-address", f"unix:{folder}/t.sock", "--allow-http", "false"]
        command += ["--allow-metrics", "false"]
        # It appends the port that it would have over TCP.
        path = folder / "t.sock:8001"
        with Server(command, lambda: grpc_ready(path), folder / "log", env=env) as server:
            server.socket = path
            yield server


def grpc_ready(path: pathlib.Path) -> bool:
    if not path.exists():
        return False
    with grpcclient.InferenceServerClient(f"unix://{path}") as client:
        try:
            return client.is_server_ready()
        except Exception:
            return False


def check_double(server) -> None:
    """A server that answers fast and wrong is not measured."""
    data = np.arange(16, dtype=np.float32).reshape(1, 16)
    tensor = grpcclient.InferInput("INPUT0", data.shape, "FP32")
    tensor.set_data_from_numpy(data)
    with grpcclient.InferenceServerClient(f"unix://{server.socket}") as client:
        np.testing.assert_array_equal(
            client.infer("double", [tensor]).as_numpy("OUTPUT0"), 2 * data
        )


def snapshot(server) -> dict:
    """What the appliance shows of itself."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(server.socket))
    connection.request("GET", "/v2/bcedge/snapshot")
    with contextlib.closing(connection), connection.getresponse() as response:
        return json.load(response)


ITEM_BYTES = {"FP32": 4, "FP16": 2, "INT64": 8, "INT32": 4, "INT8": 1, "UINT8": 1, "BOOL": 1}


def staging_bytes(server) -> int:
    """Of the staging buffers of the instances there are: room for the largest batch of every
    input, for each."""
    total = 0
    with grpcclient.InferenceServerClient(f"unix://{server.socket}") as client:
        for model in snapshot(server)["models"]:
            item = sum(
                ITEM_BYTES[tensor.datatype] * math.prod(tensor.shape[1:])
                for tensor in client.get_model_metadata(model["name"]).inputs
            )
            total += model["instances_alive"] * model["max_batch"] * item
    return total


def answered(server, model: str) -> int:
    """Requests that the server has answered with outputs, by its own statistics."""
    with grpcclient.InferenceServerClient(f"unix://{server.socket}") as client:
        (statistics,) = client.get_inference_statistics(model).model_stats
    return statistics.inference_stats.success.count
