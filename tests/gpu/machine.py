"""The programs under test: bcedge's subcommands, a served socket, and requests over it.

Standard library and numpy only: the machine with the GPU has no more.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import numpy as np

# Building a plan takes minutes.
LIMIT_S = 3600
PATIENCE_S = 300
NUMPY_TYPES = {
    "FP32": np.float32,
    "FP16": np.float16,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


class Failed(Exception):
    """With a text for whoever runs the check."""


class Programs:
    """`bcedge` and `plan_loop` in one folder."""

    def __init__(self, folder, tensorrt, out):
        self.folder, self.tensorrt, self.out = pathlib.Path(folder), tensorrt, pathlib.Path(out)
        for name in ("bcedge", "plan_loop"):
            if not os.access(self.folder / name, os.X_OK):
                raise Failed(f"{self.folder / name} is not there: tests/gpu/pack.sh makes it")

    def run(self, name, *arguments, log):
        """Its output. What it says on both streams is kept in the log."""
        command = [self.folder / name, *map(str, arguments)]
        end = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
        )
        (self.out / log).write_text(end.stderr + end.stdout)
        if end.returncode != 0:
            words = (end.stderr + end.stdout)[-3000:]
            raise Failed(f"{name} {' '.join(map(str, arguments))}: {end.returncode}\n{words}")
        return end.stdout

    def config(self, models, **fields):
        """The text of a config.ron whose socket is `b.sock`."""
        if self.tensorrt:
            fields["tensorrt"] = json.dumps(str(self.tensorrt))
        more = "".join(f" {name}: {value}," for name, value in fields.items())
        return f'(socket: (path: "b.sock"),{more} models: [{", ".join(models)}])\n'

    @contextlib.contextmanager
    def serving(self, config, log):
        """A running appliance; yields its socket. It must end with status 0 on SIGTERM."""
        # A socket's path has 108 bytes.
        with tempfile.TemporaryDirectory(prefix="bce", dir="/tmp") as folder:
            folder = pathlib.Path(folder)
            (folder / "config.ron").write_text(config)
            with open(self.out / log, "wb") as said:
                server = subprocess.Popen(
                    [(self.folder / "bcedge").resolve(), "serve", "--headless"],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            try:
                self._wait_until_ready(server, folder / "b.sock", log)
                yield folder / "b.sock"
                server.send_signal(signal.SIGTERM)
                status = server.wait(timeout=PATIENCE_S)
                if status != 0:
                    raise Failed(f"serve ended with {status}:\n{self._said(log)}")
            finally:
                server.kill()
                server.wait()

    def _wait_until_ready(self, server, path, log):
        until = time.monotonic() + PATIENCE_S
        while True:
            if server.poll() is not None or time.monotonic() > until:
                raise Failed(f"serve does not get ready:\n{self._said(log)}")
            with contextlib.suppress(OSError):
                if ask(path, "GET", "/v2/health/ready")[0] == 200:
                    return
            time.sleep(0.05)

    def _said(self, log):
        return (self.out / log).read_text(errors="replace")[-3000:]

    def load(self, path, seconds, *arguments):
        """What `bcedge load` reports."""
        report = path.parent / "load.json"
        self.run(
            "bcedge", "load", "--socket", path, "--seconds", seconds, "--warmup", min(1, seconds),
            "--json", report, *arguments, log="load.log",
        )  # fmt: skip
        return json.loads(report.read_text())


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path, method, url, body=None, headers=None):
    """Status, headers and body of the answer."""
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request(method, url, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()


def snapshot(path):
    """What the appliance shows of itself."""
    return json.loads(ask(path, "GET", "/v2/bcedge/snapshot")[2])


def inputs_of(path, model):
    """The model's inputs by name: numpy type and shape of one item."""
    status, _, reply = ask(path, "GET", f"/v2/models/{model}")
    if status != 200:
        raise Failed(f"{model}: {status} {reply[:500]!r}")
    tensors = json.loads(reply)["inputs"]
    return {t["name"]: (NUMPY_TYPES[t["datatype"]], t["shape"][1:]) for t in tensors}


def infer(path, model, inputs):
    """The outputs by name, as arrays; tensors travel in binary."""
    described, blobs = [], []
    for name, array in inputs.items():
        data = np.ascontiguousarray(array).tobytes()
        (datatype,) = [key for key, kind in NUMPY_TYPES.items() if array.dtype == kind]
        described.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(data)},
            }
        )
        blobs.append(data)
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    status, headers, reply = ask(
        path,
        "POST",
        f"/v2/models/{model}/infer",
        head + b"".join(blobs),
        {"Inference-Header-Content-Length": str(len(head))},
    )
    if status != 200:
        raise Failed(f"{model}: {status} {reply[:500]!r}")
    length = int(headers["Inference-Header-Content-Length"])
    outputs, at = {}, length
    for output in json.loads(reply[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        flat = np.frombuffer(reply[at : at + size], NUMPY_TYPES[output["datatype"]])
        outputs[output["name"]] = flat.reshape(output["shape"])
        at += size
    return outputs
