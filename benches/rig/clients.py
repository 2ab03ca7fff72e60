"""The two load generators, each able to drive both servers."""

import concurrent.futures
import contextlib
import csv
import json
import os
import pathlib
import subprocess

from . import tools

LIMIT_S = 180


def perf_analyzer(
    socket: pathlib.Path, concurrency: int, window_ms: int, meanwhile=lambda: {}
) -> dict:
    """Three windows on `double`: `requests_per_s`, `latency_us_p50`, `latency_us_p99`, and what
    `meanwhile`, called when it has started, returns."""
    home = tools.triton()
    report = socket.parent / "perf.csv"
    command = [home / "perf_analyzer", "-i", "grpc", "-u", f"unix://{socket}", "-m", "double"]
    command += ["--concurrency-range", str(concurrency), "-f", report]
    command += ["-p", str(window_ms), "-s", "999", "-r", "3"]
    env = {**os.environ, "LD_LIBRARY_PATH": str(home / "lib")}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, command, env)
        seen = meanwhile()
        if running.done():
            running.result()
            raise RuntimeError("perf_analyzer ended before what was to be looked at meanwhile")
        running.result()
    with open(report, newline="") as file:
        (row,) = csv.DictReader(file)
    return {
        "requests_per_s": float(row["Inferences/Second"]),
        "latency_us_p50": float(row["p50 latency"]),
        "latency_us_p99": float(row["p99 latency"]),
        **seen,
    }


def bcedge_load(binaries: pathlib.Path, socket: pathlib.Path, seconds: float, *arguments) -> dict:
    """The JSON report of a run, its first second not counted; every request must have been answered
    with outputs."""
    report = socket.parent / "load.json"
    command = [binaries / "bcedge", "load", "--socket", socket, "--seconds", str(seconds)]
    command += ["--warmup", "1"]
    run([*command, "--json", report, *arguments], None)
    total = json.loads(report.read_text())["total"]
    if total["ok"] == 0 or total["ok"] != total["sent"]:
        raise RuntimeError(f"not every request was answered: {total}")
    return total


@contextlib.contextmanager
def bcedge_load_under_way(binaries: pathlib.Path, socket: pathlib.Path, *arguments):
    """Load while the `with` block runs; it must not end before."""
    command = [binaries / "bcedge", "load", "--socket", socket, "--plain", "--seconds", "86400"]
    log = open(socket.parent / "load.log", "w+b")
    client = subprocess.Popen(
        [*command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        yield
        if client.poll() is not None:
            log.seek(0)
            said = log.read().decode()[-4000:]
            raise RuntimeError(f"the client ended before what was to be measured did: {said}")
    finally:
        client.terminate()
        client.wait()
        log.close()


def run(command, env) -> None:
    end = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
    )
    if end.returncode != 0:
        said = (end.stdout + end.stderr)[-4000:]
        raise RuntimeError(f"{command[0].name} ended with status {end.returncode}:\n{said}")
