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

# The learner remembers for about ten minutes before it trains.
LEARNER_LIMIT_S = 1200
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

    window_s = bench.seconds(2.5)

    def measure(concurrency):
        return lambda server: clients.perf_analyzer(
            server.socket,
            concurrency,
            window_ms=round(1000 * window_s),
            meanwhile=lambda: cost_under_way(server, window_s),
        )

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


def cost_under_way(server, window_s: float) -> dict:
    """The server's CPU time per request while its client measures: from half a window after the
    first requests on, for two windows of the three there are at least."""
    before, start = servers.answered(server, "double"), time.monotonic()
    while servers.answered(server, "double") < before + 100:
        if time.monotonic() - start > clients.LIMIT_S:
            raise RuntimeError("the client sends no requests")
        time.sleep(0.05)
    time.sleep(window_s / 2)
    # Asking costs the server something, too; both servers alike, and little beside the requests.
    answered, cpu_s = servers.answered(server, "double"), server.cpu_s()
    time.sleep(2 * window_s)
    answered, cpu_s = servers.answered(server, "double") - answered, server.cpu_s() - cpu_s
    return {"cpu_us_per_request": 1e6 * cpu_s / answered}


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
    """ResNet-18 through the socket at saturation against a bare loop over the engine.

    Three batches are outstanding: one runs, one waits complete when it is done, and the replies of
    one are turned into new requests meanwhile.
    """
    model = reference_models(bench) / "resnet18/model.onnx"
    # Long enough that one batch more or less, at the ends, does not count.
    batch, seconds = 4, bench.seconds(20)
    for threads in [1, 2]:
        options = f"threads_per_instance: {threads}, device: Rten,"
        models = (
            f'[(name: "resnet18", engine: Onnx("{model}"), slo: Ms(60000), '
            f"max_batch: {batch}, max_instances: 1, "
            f"policy: Some(Fixed(batch: {batch}, instances: 1)))]"
        )
        through, bare, mean_batch = [], [], []
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
                mean_batch.append(total["mean_batch"])
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
                "mean_batch": statistics.median(mean_batch),
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


NETWORKS = [
    "yolov5s",
    "mobilenet_v3_small",
    "resnet18",
    "efficientnet_b0",
    "inception_v3",
    "tinybert",
]
# Of section h: items in a full batch, and requests a second for each network that two cores serve.
FULL_BATCH = 8
SERVED_PER_S = 2.0


def e(bench: Bench):
    """Start to ready with the six reference networks, and the memory that takes."""
    folder = reference_models(bench)
    files = {name: folder / name / "model.onnx" for name in NETWORKS}
    models = ", ".join(f'(name: "{name}", engine: Onnx("{file}"))' for name, file in files.items())
    weights = sum(file.stat().st_size for file in files.values())
    for file in files.values():
        file.read_bytes()  # so that every start finds them in the page cache
    starts, resident, peak = [], [], []
    for _ in range(max(3, bench.rounds)):
        with servers.bcedge(bench.binaries, f"[{models}]") as server:
            starts.append(server.ready_after_s)
            time.sleep(1)  # the instances are made after the models are ready
            staging = servers.staging_bytes(server)
            memory = server.memory_bytes()
            resident.append(memory["resident"])
            peak.append(memory["peak"])
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
            "peak_mib": statistics.median(peak) / 2**20,
            "weights_mib": weights / 2**20,
            # Allocated; the system gives the pages when a batch first needs them.
            "staging_mib": staging / 2**20,
            "with_staging": memory / weights,
        },
    )


def f(bench: Bench):
    """What the terminal UI costs, idle and under a light load: CPU time with it less without.

    10 frames a second on 120 × 40, six models; without a terminal a line a second is printed.
    """
    models = ", ".join(
        f'(name: "model{i}", engine: Synthetic((latency_us: [(1, 1000)])), slo: Ms(100))'
        for i in range(6)
    )
    load = [word for i in range(6) for word in ("--model", f"model{i}=10")]
    seconds = bench.seconds(15)
    activities = {
        "idle": lambda _: time.sleep(seconds),
        "light load": lambda server: clients.bcedge_load(
            bench.binaries, server.socket, seconds, *load
        ),
    }
    for activity, act in activities.items():
        share, frames_per_s = {"with": [], "without": []}, []
        for _ in range(bench.rounds):
            for name, terminal in [("without", None), ("with", (120, 40))]:
                with servers.bcedge(bench.binaries, f"[{models}]", terminal=terminal) as server:
                    time.sleep(1)  # what belongs to the start
                    cpu_s, start, frames = server.cpu_s(), time.monotonic(), server.frames
                    act(server)
                    wall_s = time.monotonic() - start
                    share[name].append((server.cpu_s() - cpu_s) / wall_s)
                    if terminal:
                        frames_per_s.append((server.frames - frames) / wall_s)
        if min(frames_per_s) < 5:
            raise RuntimeError(f"it draws {min(frames_per_s):.1f} frames a second, not about 10")
        cost = statistics.median(w - wo for w, wo in zip(share["with"], share["without"]))
        yield Row(
            "f",
            f"terminal UI, of one core, {activity}",
            100 * cost,
            "<=",
            1.0,
            "%",
            detail={
                **{f"{name}_percent": 100 * statistics.median(v) for name, v in share.items()},
                "frames_per_s": statistics.median(frames_per_s),
            },
        )


def g(bench: Bench):
    """What deciding and learning cost at 1,000 requests/s: CPU time with `sac` less with `fixed`.

    Six engines that only sleep, so that nothing but serving takes time; learning is on at its
    default duty, and what is measured begins when the learner has begun to train.
    """
    models = ", ".join(
        f'(name: "model{i}", engine: Synthetic((latency_us: [(1, 2000), (8, 4800)])), '
        f"slo: Ms(100), max_batch: 8, max_instances: 2)"
        for i in range(6)
    )
    policies = {"fixed": "Fixed(batch: 8, instances: 2)", "sac": "Sac"}
    seconds, share, updates_per_s, batches = bench.seconds(30), {}, [], {}
    for _ in range(bench.rounds):
        for name, policy in policies.items():
            with servers.bcedge(bench.binaries, f"[{models}]", f"policy: {policy},") as server:
                seen = threads_under_load(bench, server, seconds, learns=name == "sac")
            share.setdefault(name, []).append(seen["share"])
            batches.setdefault(name, []).append(seen["batches_per_s"])
            updates_per_s += [seen["updates_per_s"]] if name == "sac" else []

    def difference(threads):
        of = lambda shares: sum(shares.get(thread, 0.0) for thread in threads or shares)  # noqa: E731
        return statistics.median(of(w) - of(wo) for w, wo in zip(share["sac"], share["fixed"]))

    yield Row(
        "g",
        "deciding and learning at 1,000 requests/s, of one core",
        100 * difference([]),
        "<=",
        2.0,
        "%",
        detail={
            # The reactor's turns may be done by whoever hands it something, so the figure is of
            # the whole process.
            "reactor_and_learner_percent": round(100 * difference(["reactor", "learner"]), 2),
            "learner_percent": round(100 * difference(["learner"]), 2),
            "updates_per_s": statistics.median(updates_per_s),
            **{f"{name}_batches_per_s": statistics.median(rate) for name, rate in batches.items()},
            **{
                f"{name}_percent": {
                    thread: round(100 * statistics.median(s.get(thread, 0.0) for s in shares), 2)
                    for thread in sorted({thread for shares_ in shares for thread in shares_})
                }
                for name, shares in share.items()
            },
        },
    )


def threads_under_load(bench: Bench, server, seconds: float, learns: bool) -> dict:
    """CPU time by thread as a share of one core, under 1,000 requests/s."""
    load = [word for i in range(6) for word in ("--model", f"model{i}={1000 / 6:.3f}")]
    with clients.bcedge_load_under_way(bench.binaries, server.socket, *load):
        start = time.monotonic()
        time.sleep(min(5, seconds))
        while learns and servers.snapshot(server)["learning"]["updates"] == 0:
            if time.monotonic() - start > LEARNER_LIMIT_S:
                raise RuntimeError(f"the learner does not train after {LEARNER_LIMIT_S} s")
            time.sleep(1)
        before, begun, cpu_s = servers.snapshot(server), time.monotonic(), server.threads_cpu_s()
        time.sleep(seconds)
        wall_s = time.monotonic() - begun
        now_s = server.threads_cpu_s()
        after = servers.snapshot(server)
    counters = [seen["totals"]["counters"] for seen in (before, after)]
    rate = lambda name: (counters[1][name] - counters[0][name]) / wall_s  # noqa: E731
    if not 950 < rate("ok") < 1050:
        raise RuntimeError(f"{rate('ok'):.0f} requests/s were answered, not about 1,000")
    return {
        "share": {name: (s - cpu_s.get(name, 0)) / wall_s for name, s in now_s.items()},
        "batches_per_s": round(rate("executions"), 1),
        "updates_per_s": (after["learning"]["updates"] - before["learning"]["updates"]) / wall_s,
    }


def h(bench: Bench):
    """Memory of several instances of each network: shared weights and scratch, or a copy for each.

    One process serves every network with up to so many instances; the other has loaded each network
    once for every instance that the first one kept alive. Policy and requests are the same, and what
    counts is the most resident memory meanwhile: with every instance running full batches without a
    pause, which needs as much working memory as there can be, and under the policy that ships with
    requests at a rate that the machine can serve.
    """
    folder = reference_models(bench)

    def model(name, copy, limit):
        return (
            f'(name: "{name}{copy}", engine: Onnx("{folder / name / "model.onnx"}"), '
            f"slo: Ms(600000), max_batch: {FULL_BATCH}, max_instances: {limit})"
        )

    for what, policy, load in [
        ("all running full batches", f"Fixed(batch: {FULL_BATCH}, instances: {{}})", full_load),
        ("sac", "Sac", served_load),
    ]:
        for instances in [2, 4]:

            def side(copies, limit):
                models = [model(name, copy, limit) for name in NETWORKS for copy in copies[name]]
                load_arguments = load(copies, limit)
                return memory_at_work(bench, models, policy.format(limit), load_arguments, limit)

            shared = side({name: [""] for name in NETWORKS}, instances)
            alive = shared["instances"]
            copies = side({n: [f"_{i}" for i in range(alive[n])] for n in NETWORKS}, 1)
            counts = [sum(seen["instances"].values()) for seen in (shared, copies)]
            if counts[0] != counts[1]:
                raise RuntimeError(f"not the same instances on both sides: {counts}")
            yield Row(
                "h",
                f"memory saved by sharing, up to {instances} instances of six networks, {what}",
                100 * (1 - shared["resident"] / copies["resident"]),
                ">=",
                38.0,
                "%",
                detail={
                    "instances": counts[0],
                    "shared_mib": round(shared["resident"] / 2**20),
                    "copies_mib": round(copies["resident"] / 2**20),
                    "shared_mean_batch": round(shared["mean_batch"], 2),
                    "copies_mean_batch": round(copies["mean_batch"], 2),
                },
            )


def served_load(copies: dict, _instances: int) -> list:
    """Some requests a second for each network, shared out among its copies."""
    rates = [
        f"{name}{copy}={SERVED_PER_S / len(copies[name])}"
        for name in copies
        for copy in copies[name]
    ]
    return [argument for rate in rates for argument in ("--model", rate)]


def full_load(_copies: dict, instances: int) -> list:
    """Two full batches outstanding for each instance."""
    return ["--concurrency", str(2 * FULL_BATCH * instances), "--shm"]


def memory_at_work(bench: Bench, models: list, policy: str, load: list, instances: int) -> dict:
    """The most resident memory until there have been four executions for each instance."""
    options = f"policy: {policy}, device: Rten,"
    with servers.bcedge(bench.binaries, f"[{', '.join(models)}]", options) as server:
        resident, begun = 0, time.monotonic()
        with clients.bcedge_load_under_way(bench.binaries, server.socket, *load):
            while True:
                resident = max(resident, server.memory_bytes()["resident"])
                models_now = servers.snapshot(server)["models"]
                if all(m["counters"]["executions"] >= 4 * instances for m in models_now):
                    break
                if time.monotonic() - begun > clients.LIMIT_S:
                    raise RuntimeError("not every model has run its batches in time")
                time.sleep(0.05)
        counters = [m["counters"] for m in models_now]
        return {
            "resident": resident,
            "instances": {m["name"]: m["instances_alive"] for m in models_now},
            "mean_batch": sum(c["items"] for c in counters) / sum(c["executions"] for c in counters),
        }


SECTIONS = {name: globals()[name] for name in "abcdefgh"}
