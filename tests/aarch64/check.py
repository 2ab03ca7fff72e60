"""Checks a cross-built bcedge: what the file needs, and what it does under an emulator.

Called by run.sh. Standard library only.
"""

import argparse
import http.client
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

# Parts of the C library and of the compiler's runtime: every Linux has them.
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libgcc_s.so.1",
    "ld-linux-aarch64.so.1",
}
MAX_MB = 24
ROOT = Path(__file__).resolve().parents[2]
# Small networks with every kind of layer: convolutions, attention, integers and floats.
NETWORKS = ["mobilenet_v3_small", "tinybert"]
# Both engines compute in FP32, in another order.
MAX_RELATIVE_ERROR = 1e-3
# Emulated and on a busy machine.
PATIENCE_S = 300


def fail(text):
    sys.exit(f"tests/aarch64/check.py: {text}")


def expect(holds, text):
    if not holds:
        fail(text)


class Program:
    """The program and what runs it."""

    def __init__(self, binary, runner=""):
        self.command = [*shlex.split(runner), str(Path(binary).resolve())]

    def start(self, *arguments, **options):
        return subprocess.Popen([*self.command, *arguments], text=True, **options)

    def run(self, *arguments, cwd, status=0):
        """Its output; fails when it ends with another status."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        expect(
            done.returncode == status,
            f"bcedge {' '.join(arguments)} ended with {done.returncode}, not {status}:\n{done.stdout}",
        )
        return done.stdout


def readelf(binary, *options):
    return subprocess.run(
        ["readelf", "--wide", *options, binary], check=True, text=True, capture_output=True
    ).stdout


def check_file(binary, glibc):
    expect("AArch64" in readelf(binary, "--file-header"), f"{binary} is not for aarch64")
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", readelf(binary, "--dynamic")))
    expect("libc.so.6" in needed, f"{binary} needs no C library, so nothing was read: {needed}")
    expect(needed <= LIBRARIES, f"it needs more than the C library: {needed - LIBRARIES}")
    versions = re.findall(r"Name: GLIBC_([\d.]+)", readelf(binary, "--version-info"))
    expect(versions, "it needs no version of glibc, so nothing was read")
    as_numbers = lambda version: [int(part) for part in version.split(".")]
    newest = max(versions, key=as_numbers)
    expect(as_numbers(newest) <= as_numbers(glibc), f"it needs glibc {newest}, not only {glibc}")
    expect(".symtab" not in readelf(binary, "--sections"), "it is not stripped")
    megabytes = Path(binary).stat().st_size / 1e6
    expect(megabytes <= MAX_MB, f"it has grown to {megabytes:.1f} MB, beyond {MAX_MB}")
    print(f"file: {megabytes:.1f} MB, stripped, glibc {newest}, needs {', '.join(sorted(needed))}")


def check_commands(cross, native, folder):
    expect("demo" in cross.run("--help", cwd=folder), "--help does not name the subcommands")
    version = cross.run("--version", cwd=folder)
    expect(version == native.run("--version", cwd=folder), f"another version: {version}")
    cross.run("check", str(ROOT / "config.ron"), cwd=folder)
    (folder / "bad.ron").write_text("(\n    models: [(nmae: 1)],\n)")
    errors = cross.run("check", "bad.ron", cwd=folder, status=1)
    expect("bad.ron:2:" in errors and "nmae" in errors, f"no place in this error:\n{errors}")
    cross.run("models", "--out", "engines", *NETWORKS, cwd=folder)
    native.run("models", "--out", "native", *NETWORKS, cwd=folder)
    for name in NETWORKS:
        files = [folder / part / name / "model.onnx" for part in ("engines", "native")]
        same = files[0].read_bytes() == files[1].read_bytes()
        expect(same, f"{name} was not built as on this machine")
    print("commands: --help, --version, check, models")


def config(socket_path, networks):
    models = [
        f'(name: "{name}", engine: Onnx("engines/{name}/model.onnx"), slo: Ms(20000), '
        "max_batch: 2, max_instances: 1)"
        for name in networks
    ]
    models.append(
        '(name: "pretended", engine: Synthetic((latency_us: [(1, 4000), (8, 8000)])), slo: Ms(2000))'
    )
    return f'(socket: (path: "{socket_path}"), device: Rten, models: [{", ".join(models)}])'


def check_demo(cross, folder):
    # One network: what is emulated gets so few requests a second that more would take too long.
    networks = NETWORKS[:1]
    (folder / "config.ron").write_text(config("demo.sock", networks))
    arguments = ["--headless", "--seconds", "8", "--load", "2", "--json", "result.json"]
    output = cross.run("demo", *arguments, cwd=folder)
    models = {m["name"]: m for m in json.loads((folder / "result.json").read_text())["models"]}
    expect(len(models) == len(networks) + 1, f"models are missing:\n{output}")
    for name, model in models.items():
        ended = sum(model[key] for key in ("ok", "rejected", "expired", "failed"))
        expect(model["ok"] > 0 and model["failed"] == 0, f"{name} was not served:\n{output}")
        expect(ended == model["sent"], f"{name}: a request was not answered once:\n{output}")
    expect(not (folder / "demo.sock").exists(), "the demo left its socket behind")
    counts = ", ".join(f"{name} {model['ok']}" for name, model in models.items())
    print(f"demo: answered {counts}")


@contextmanager
def serving(program, folder, name, **environment):
    """A running server; yields its socket, and checks that SIGTERM ends it as it should."""
    path = folder / f"{name}.sock"
    (folder / f"{name}.ron").write_text(config(path, NETWORKS))
    log = open(folder / f"{name}.log", "w")
    server = program.start(
        "serve",
        "--headless",
        "--config",
        f"{name}.ron",
        cwd=folder,
        env={**os.environ, **environment},
        stdout=log,
        stderr=log,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while not (path.exists() and is_ready(path)):
            ended = server.poll() is not None or time.monotonic() > until
            expect(not ended, f"not ready:\n{(folder / f'{name}.log').read_text()}")
            time.sleep(0.1)
        yield path
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=PATIENCE_S)
        expect(status == 0, f"SIGTERM ended it with {status}")
        expect(not path.exists(), "SIGTERM left the socket behind")
    finally:
        server.kill()
        server.wait()
        log.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path, method, url, body=None):
    connection = UnixConnection(path)
    try:
        connection.request(method, url, body and json.dumps(body))
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def is_ready(path):
    try:
        return ask(path, "GET", "/v2/health/ready")[0] == 200
    except OSError:
        return False


def outputs(path, model):
    """What the model answers to an input that is the same wherever it is asked."""
    status, reply = ask(path, "GET", f"/v2/models/{model}")
    expect(status == 200, f"{model}: {reply}")
    rng = random.Random(7)
    inputs = []
    for tensor in json.loads(reply)["inputs"]:
        shape = [1 if n < 0 and i == 0 else 16 if n < 0 else n for i, n in enumerate(tensor["shape"])]
        count = 1
        for n in shape:
            count *= n
        is_float = tensor["datatype"].startswith("FP")
        # Masks are among the integers; 0 and 1 are good values everywhere.
        data = [rng.random() if is_float else rng.randrange(2) for _ in range(count)]
        inputs.append({**tensor, "shape": shape, "data": data})
    status, reply = ask(path, "POST", f"/v2/models/{model}/infer", {"inputs": inputs})
    expect(status == 200, f"{model}: {reply[:500]}")
    return {out["name"]: out["data"] for out in json.loads(reply)["outputs"]}


def check_outputs(cross, native, folder):
    with serving(cross, folder, "cross") as there, serving(native, folder, "native") as here:
        for model in NETWORKS:
            ours, theirs = outputs(there, model), outputs(here, model)
            expect(ours.keys() == theirs.keys(), f"{model}: other outputs")
            for name, values in ours.items():
                largest = max(abs(value) for value in theirs[name])
                worst = max(abs(a - b) for a, b in zip(values, theirs[name], strict=True))
                expect(largest > 0, f"{model} {name}: nothing but zeros prove nothing")
                error = worst / largest
                expect(error <= MAX_RELATIVE_ERROR, f"{model} {name}: relative error {error:.1e}")
                print(f"outputs: {model} {name}, {len(values)} values, relative error {error:.1e}")


def check_device(cross, compiler, folder):
    """The program loads NVIDIA's management library when it runs, also on this processor."""
    library = folder / "nvml" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    behaviour = folder / "nvml" / "behaviour"
    behaviour.write_text("")
    subprocess.run(
        [
            *shlex.split(compiler),
            "-shared",
            "-fPIC",
            f'-DBEHAVIOUR="{behaviour}"',
            "-o",
            library,
            ROOT / "tests/device/nvml.c",
        ],
        check=True,
    )
    wanted = 'nv_gpu_memory_total_bytes{gpu_uuid="GPU-8e7a"} 17179869184'
    with serving(cross, folder, "device", LD_LIBRARY_PATH=str(library.parent)) as path:
        until = time.monotonic() + PATIENCE_S
        page = ""
        while wanted not in page:
            expect(time.monotonic() < until, f"the metrics tell of no GPU:\n{page}")
            time.sleep(0.2)
            page = ask(path, "GET", "/metrics")[1].decode()
    print("device: the driver's library is loaded and read")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--runner", required=True, help="what runs the binary")
    parser.add_argument("--native", required=True, help="the same program for this machine")
    parser.add_argument("--mock-cc", required=True, help="a C compiler for the binary's processor")
    parser.add_argument("--glibc", required=True, help="the newest C library it may need")
    arguments = parser.parse_args()
    cross = Program(arguments.binary, arguments.runner)
    native = Program(arguments.native)
    check_file(arguments.binary, arguments.glibc)
    # A socket's path has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="bce", dir="/tmp") as folder:
        folder = Path(folder)
        check_commands(cross, native, folder)
        check_demo(cross, folder)
        check_outputs(cross, native, folder)
        check_device(cross, arguments.mock_cc, folder)


if __name__ == "__main__":
    main()
