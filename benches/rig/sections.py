"""What is measured: one function a section, each yields rows of the result.

Everything compared is measured in alternation in the same run, and a figure is the median over the
rounds of the ratio within a round, so that a machine that changes its speed meanwhile changes both.
"""

import dataclasses
import json
import pathlib
import re
import statistics
import subprocess
import time

from . import clients, servers, tools

IMAGE_ELEMENTS = 3 * 224 * 224


@dataclasses.dataclass
class Row:
    """One figure against its target: at least (`>=`) or at most (`<=`)."""

    section: str
    name: str
    figure: float
    sense: str
    target: float
    unit: str = "×"
    detail: dict = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.figure >= self.target if self.sense == ">=" else self.figure <= self.target


@dataclasses.dataclass
class Bench:
    """What every section is given."""

    binaries: pathlib.Path
    rounds: int
    # Scales the measured time; 1 for figures to be believed.
    scale: float

    def seconds(self, full: float) -> float:
        return full * self.scale


def median_ratio(over: list, under: list) -> float:
    return statistics.median(a / b for a, b in zip(over, under))


def against_triton(bench: Bench, measure) -> dict:
    """`measure(server)` on fresh servers in turn; the results by name, one for each round."""
    results = {"bcedge": [], "triton": []}
    for number in range(bench.rounds):
        order = ["bcedge", "triton"] if number % 2 else ["triton", "bcedge"]
        for name in order:
            start = (
                servers.triton
                if name == "triton"
                else (lambda: servers.bcedge(bench.binaries, f"[{servers.DOUBLE}]"))
            )
            with start() as server:
                servers.check_double(server)
                results[name].append(measure(server))
    return results


def column(results: dict, key: str) -> tuple:
    return [r[key] for r in results["bcedge"]], [r[key] for r in results["triton"]]


def medians(results: dict) -> dict:
    return {
        name: {key: round(statistics.median(r[key] for r in rows), 1) for key in rows[0]}
        for name, rows in results.items()
    }


def a(bench: Bench):
    """perf_analyzer as the client of both servers, concurrency 1 and 16."""

    def measure(concurrency):
        def with_cost(server):
            cpu_s, answered = server.cpu_s(), servers.answered(server, "double")
            figures = clients.perf_analyzer(
                server.socket, concurrency, window_ms=round(bench.seconds(2500))
            )
            cpu_s, answered = server.cpu_s() - cpu_s, servers.answered(server, "double") - answered
            return {**figures, "cpu_us_per_request": 1e6 * cpu_s / answered}

        return with_cost

    one = against_triton(bench, measure(1))
    sixteen = against_triton(bench, measure(16))
    yield Row(
        "a",
        "server CPU per request against Triton's, concurrency 16",
        median_ratio(*column(sixteen, "cpu_us_per_request")),
        "<=",
        0.25,
        detail=medians(sixteen),
    )
    yield Row(
        "a",
        "p50 against Triton's, concurrency 1",
        median_ratio(*column(one, "latency_us_p50")),
        "<=",
        0.5,
        detail=medians(one),
    )
    yield Row(
        "a",
        "throughput against Triton's, concurrency 16",
        median_ratio(*column(sixteen, "requests_per_s")),
        ">=",
        1.8,
        detail=medians(sixteen),
    )


def b(bench: Bench):
    """`bcedge load` as the client of both servers."""

    def measure(server):
        total = clients.bcedge_load(
            bench.binaries,
            server.socket,
            bench.seconds(6),
            "--model",
            "double",
            "--concurrency",
            "16",
        )
        return {
            "requests_per_s": total["throughput_per_s"],
            "latency_us_p50": total["latency_us"]["p50"],
        }

    results = against_triton(bench, measure)
    yield Row(
        "b",
        "throughput against Triton's, `bcedge load` at concurrency 16",
        median_ratio(*column(results, "requests_per_s")),
        ">=",
        2.5,
        detail=medians(results),
    )


def reference_models(bench: Bench) -> pathlib.Path:
    """The folder of the six reference networks."""
    folder = tools.WORK / "engines"
    subprocess.run(
        [bench.binaries / "bcedge", "models", "--out", folder],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def c(bench: Bench):
    """ResNet-18 through the socket at saturation against a bare loop over the engine."""
    model = reference_models(bench) / "resnet18/model.onnx"
    batch, seconds = 4, bench.seconds(8)
    for threads in [1, 2]:
        options = f"threads_per_instance: {threads}, device: Rten,"
        # Twice a batch is outstanding, so that the next one waits when one is done.
        models = (
            f'[(name: "resnet18", engine: Onnx("{model}"), slo: Ms(60000), '
            f"max_batch: {batch}, max_instances: 1, "
            f"policy: Some(Fixed(batch: {batch}, instances: 1)))]"
        )
        through, bare = [], []
        for _ in range(bench.rounds):
            bare.append(bare_loop(bench, model, batch, threads, seconds))
            with servers.bcedge(bench.binaries, models, options) as server:
                total = clients.bcedge_load(
                    bench.binaries,
                    server.socket,
                    seconds,
                    "--model",
                    "resnet18",
                    "--concurrency",
                    str(3 * batch),
                )
                through.append(total["throughput_per_s"])
        yield Row(
            "c",
            f"ResNet-18 through the socket against a bare loop, batch {batch}, "
            f"{threads} thread{'s'[: threads - 1]}",
            median_ratio(through, bare),
            ">=",
            0.97,
            detail={
                "items_per_s": statistics.median(through),
                "bare_items_per_s": statistics.median(bare),
            },
        )


def bare_loop(bench: Bench, model, batch, threads, seconds) -> float:
    command = [bench.binaries / "examples/bare_loop", model, batch, threads, seconds]
    said = subprocess.run(
        [str(word) for word in command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=clients.LIMIT_S,
    ).stdout
    return json.loads(said)["items_per_s"]


def d(bench: Bench):
    """Shared memory against inline tensors, images of 602 KB, an engine that costs nothing."""
    models = (
        f'[(name: "image", engine: Synthetic((latency_us: [(1, 0)], '
        f"elements: {IMAGE_ELEMENTS})), slo: Ms(10000), max_batch: 4)]"
    )
    rates = {"shared": [], "inline": []}
    with servers.bcedge(bench.binaries, models) as server:
        for _ in range(bench.rounds):
            for name, arguments in [("inline", []), ("shared", ["--shm"])]:
                total = clients.bcedge_load(
                    bench.binaries,
                    server.socket,
                    bench.seconds(5),
                    "--model",
                    "image",
                    "--concurrency",
                    "8",
                    *arguments,
                )
                rates[name].append(total["throughput_per_s"])
    yield Row(
        "d",
        "shared memory against inline tensors, 602 KB inputs",
        median_ratio(rates["shared"], rates["inline"]),
        ">=",
        1.5,
        detail={f"{name}_per_s": statistics.median(rate) for name, rate in rates.items()},
    )


# Names and bytes of one item's inputs.
NETWORKS = {
    "yolov5s": 4 * 3 * 640 * 640,
    "mobilenet_v3_small": 4 * IMAGE_ELEMENTS,
    "resnet18": 4 * IMAGE_ELEMENTS,
    "efficientnet_b0": 4 * IMAGE_ELEMENTS,
    "inception_v3": 4 * 3 * 299 * 299,
    "tinybert": 3 * 8 * 128,
}
MAX_BATCH, MAX_INSTANCES = 8, 2


def e(bench: Bench):
    """Start to ready with the six reference networks, and the memory that takes."""
    folder = reference_models(bench)
    files = {name: folder / name / "model.onnx" for name in NETWORKS}
    models = ", ".join(
        f'(name: "{name}", engine: Onnx("{file}"), max_batch: {MAX_BATCH}, '
        f"max_instances: {MAX_INSTANCES})"
        for name, file in files.items()
    )
    weights = sum(file.stat().st_size for file in files.values())
    staging = MAX_BATCH * MAX_INSTANCES * sum(NETWORKS.values())
    for file in files.values():
        file.read_bytes()  # so that every start finds them in the page cache
    starts, resident = [], []
    for _ in range(max(3, bench.rounds)):
        with servers.bcedge(bench.binaries, f"[{models}]") as server:
            starts.append(server.ready_after_s)
            time.sleep(bench.seconds(2))
            resident.append(server.memory_bytes()["resident"])
    yield Row(
        "e",
        "start to ready, six networks",
        statistics.median(starts),
        "<=",
        1.5,
        "s",
        detail={"all_s": [round(s, 3) for s in starts]},
    )
    memory = statistics.median(resident)
    yield Row(
        "e",
        "resident memory less staging buffers, against weights",
        (memory - staging) / weights,
        "<=",
        1.2,
        detail={
            "resident_mib": memory / 2**20,
            "weights_mib": weights / 2**20,
            "staging_mib": staging / 2**20,
        },
    )


def f(bench: Bench):
    """What the terminal UI costs: CPU time with it less CPU time without, under a light load."""
    models = ", ".join(
        f'(name: "model{i}", engine: Synthetic((latency_us: [(1, 1000)])), slo: Ms(100))'
        for i in range(6)
    )
    load = [word for i in range(6) for word in ("--model", f"model{i}=10")]
    seconds = bench.seconds(15)
    share = {"with": [], "without": []}
    screen = 0
    for _ in range(bench.rounds):
        for name, terminal in [("without", None), ("with", (120, 40))]:
            with servers.bcedge(bench.binaries, f"[{models}]", terminal=terminal) as server:
                cpu_s, start = server.cpu_s(), time.monotonic()
                clients.bcedge_load(bench.binaries, server.socket, seconds, *load)
                share[name].append((server.cpu_s() - cpu_s) / (time.monotonic() - start))
                screen += server.screen_bytes
    if screen == 0:
        raise RuntimeError("nothing was drawn on the terminal")
    cost = statistics.median(w - wo for w, wo in zip(share["with"], share["without"]))
    yield Row(
        "f",
        "terminal UI, of one core",
        100 * cost,
        "<=",
        1.0,
        "%",
        detail={
            f"{name}_percent": 100 * statistics.median(values) for name, values in share.items()
        },
    )


SECTIONS = {name: globals()[name] for name in "abcdef"}
