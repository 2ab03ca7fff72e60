"""The steps of tests/gpu/run.sh, which calls this."""

import argparse
import json
import math
import pathlib
import statistics
import sys
import time

import machine
import numpy as np
import onnxruntime
from machine import Failed, Programs

# Of the largest value of an output. FP32 is built without TF32.
MAX_RELATIVE_ERROR = {"fp32": 1e-3, "fp16": 2e-2}
CHECKED_BATCHES = (1, 3, 8)
COMPARED_BATCHES = (1, 8, 32)
STREAMS = (1, 2, 4)
RULES = {
    "deadline": "Deadline",
    "triton": "Triton(preferred_batch_sizes: [8], max_queue_delay_us: 2000, instances: 2)",
    "fixed": "Fixed(batch: 8, instances: 2)",
}
LIVE_LOADS = (0.5, 0.9)
VOCABULARY = 30_000


class Check:
    """What there is to work with, and the rows of the table."""

    def __init__(self, arguments):
        self.programs = Programs(arguments.programs, arguments.tensorrt, arguments.out)
        self.out = arguments.out.resolve()
        self.plans = self.out / "plans"
        self.networks = {}
        self.max_batch, self.instances = arguments.max_batch, arguments.instances
        self.compared = arguments.compare
        self.seconds = 0.3 if arguments.quick else arguments.seconds
        self.rounds = 1 if arguments.quick else 3
        self.quick = arguments.quick
        self.rows, self.details = [], {}

    def row(self, what, figure, unit="×", sense=None, target=None):
        """`sense` is `>=` or `<=`; without one the figure has no target."""
        met = {None: True, ">=": figure >= (target or 0), "<=": figure <= (target or 0)}[sense]
        row = {"what": what, "figure": figure, "unit": unit, "sense": sense, "target": target}
        self.rows.append({**row, "met": bool(met)})
        print("  " + text_of(self.rows[-1]), flush=True)

    def model(self, name, fields):
        """An entry of config.ron for a plan."""
        file = json.dumps(str(self.plans / name / "model.plan"))
        return f'(name: "{name}", engine: Plan({file}), max_batch: {self.max_batch}, {fields})'


def build(check, given):
    """Builds the plans of every network, in FP32 and in FP16."""
    if given:
        check.networks = {name: pathlib.Path(file).resolve() for name, file in given.items()}
    else:
        folder = check.out / "engines"
        check.programs.run("bcedge", "models", "--out", folder, log="models.log")
        check.networks = {file.parent.name: file for file in sorted(folder.glob("*/model.onnx"))}
    for name, file in check.networks.items():
        for precision, option in (("fp32", "--no-tf32"), ("fp16", "--fp16")):
            folder = check.plans / f"{name}_{precision}"
            folder.mkdir(parents=True, exist_ok=True)
            # `bcedge profile` reads what the network costs from it.
            (folder / "model.onnx").unlink(missing_ok=True)
            (folder / "model.onnx").symlink_to(file)
            start = time.monotonic()
            check.programs.run(
                "bcedge", "build", file, "--out", folder, "--max-batch", check.max_batch,
                "--instances", check.instances, option, "--timing-cache", check.out / "timing.cache",
                *(["--tensorrt", check.programs.tensorrt] if check.programs.tensorrt else []),
                log=f"build_{name}_{precision}.log",
            )  # fmt: skip
            check.row(f"build {name} {precision}", time.monotonic() - start, "s")


def random_inputs(specs, batch, rng):
    """Numbers between 0 and 1, tokens of a vocabulary, or masks of zeros and ones."""
    inputs = {}
    for name, (kind, shape) in specs.items():
        size = (batch, *shape)
        if np.issubdtype(kind, np.floating):
            inputs[name] = rng.random(size).astype(kind)
        else:
            most = VOCABULARY if name == "input_ids" else 2
            inputs[name] = rng.integers(0, most, size).astype(kind)
    return inputs


def compare_outputs(check):
    """Every plan is served at once, and answers as ONNX Runtime does on the processor."""
    names = [f"{network}_{p}" for network in check.networks for p in MAX_RELATIVE_ERROR]
    fields = "slo: Ms(60000), max_instances: 1, policy: Fixed(batch: 8, instances: 1)"
    config = check.programs.config([check.model(name, fields) for name in names])
    rng = np.random.default_rng(7)
    with check.programs.serving(config, "outputs.log") as path:
        for network, file in check.networks.items():
            reference = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            types = {i.name: i.type for i in reference.get_inputs()}
            for precision, limit in MAX_RELATIVE_ERROR.items():
                name, worst = f"{network}_{precision}", 0.0
                specs = machine.inputs_of(path, name)
                for batch in CHECKED_BATCHES:
                    inputs = random_inputs(specs, batch, rng)
                    # TensorRT 8 takes INT64 inputs as INT32.
                    wanted = reference.run(
                        None,
                        {
                            key: value.astype(np.int64) if "int64" in types[key] else value
                            for key, value in inputs.items()
                        },
                    )
                    answered = machine.infer(path, name, inputs)
                    for output, right in zip(reference.get_outputs(), wanted, strict=True):
                        worst = max(worst, relative_error(answered[output.name], right, name))
                check.row(f"outputs of {network} {precision}, relative error", worst, "", "<=", limit)


def relative_error(ours, right, name):
    if ours.shape != right.shape:
        raise Failed(f"{name}: an output of shape {ours.shape} instead of {right.shape}")
    largest = float(np.abs(right).max())
    if largest == 0:
        raise Failed(f"{name}: nothing but zeros proves nothing")
    difference = np.abs(ours.astype(np.float64) - right.astype(np.float64))
    # Not a number is wrong, and would compare as right.
    return float(difference.max()) / largest if np.isfinite(difference).all() else math.inf


def saturate(check, path, model, batch, instances):
    """Items per second of a closed loop that always has the next batches waiting."""
    outstanding = 4 * batch * instances
    report = check.programs.load(
        path, check.seconds, "--model", model, "--concurrency", outstanding, "--connections", 4,
        "--shm",
    )  # fmt: skip
    total = report["total"]
    if total["ok"] == 0 or total["ok"] != total["sent"]:
        raise Failed(f"{model}: not every request was answered: {total} {report['errors']}")
    return total


def serve_one(check, name, batch, instances, **fields):
    policy = f"policy: Fixed(batch: {batch}, instances: {instances})"
    model = check.model(name, f"slo: Ms(60000), max_instances: {instances}, {policy}")
    config = check.programs.config([model], **fields)
    return check.programs.serving(config, f"serve_{name}_{batch}_{instances}.log")


def against_the_bare_loop(check):
    """Serving through the socket against enqueueing runs in a loop, in alternation."""
    for network in check.compared:
        for precision in MAX_RELATIVE_ERROR:
            name = f"{network}_{precision}"
            for batch in (b for b in COMPARED_BATCHES if b <= check.max_batch):
                ratios, rates = [], []
                with serve_one(check, name, batch, 1) as path:
                    for _ in range(check.rounds):
                        arguments = [check.plans / name / "model.plan", batch, check.seconds]
                        arguments += [check.programs.tensorrt] if check.programs.tensorrt else []
                        said = check.programs.run("plan_loop", *arguments, log="plan_loop.log")
                        bare = json.loads(said)["items_per_s"]
                        served = saturate(check, path, name, batch, 1)
                        rates.append((bare, served["throughput_per_s"], served["mean_batch"]))
                        ratios.append(served["throughput_per_s"] / bare)
                target = {"sense": ">=", "target": 0.97} if batch > 1 else {}
                ratio = statistics.median(ratios)
                check.row(f"{name} batch {batch}: served / bare loop, items/s", ratio, **target)
                check.details[f"{name} batch {batch}: bare, served, mean batch"] = rates


def several_streams(check):
    """The same load on one, two and four instances, each with streams of its own."""
    for network in check.compared:
        name, rates = f"{network}_fp16", {}
        for instances in (n for n in STREAMS if n <= check.instances):
            with serve_one(check, name, min(8, check.max_batch), instances) as path:
                runs = [saturate(check, path, name, 8, instances) for _ in range(check.rounds)]
            rates[instances] = statistics.median(run["throughput_per_s"] for run in runs)
        for instances, rate in list(rates.items())[1:]:
            check.row(f"{name} batch 8: {instances} streams / 1, items/s", rate / rates[1])
        check.details[f"{name}: items/s by streams"] = rates


def graphs(check):
    """One request at a time, with runs recorded as graphs and without."""
    for network in check.compared:
        name, latency = f"{network}_fp16", {}
        for on in ("true", "false"):
            with serve_one(check, name, 1, 1, gpu=f"(graphs: {on})") as path:
                # Recorded after some runs.
                check.programs.load(path, 0.5, "--model", name, "--concurrency", 1)
                runs = [
                    check.programs.load(path, check.seconds, "--model", name, "--concurrency", 1)
                    for _ in range(check.rounds)
                ]
            latency[on] = statistics.median(run["total"]["latency_us"]["p50"] for run in runs)
        check.row(f"{name} batch 1: median latency, graphs on / off", latency["true"] / latency["false"])
        check.details[f"{name}: latency_us_p50 by graphs"] = latency


def profile(check):
    """Surfaces of the FP16 plans, and what `evaluate` makes of them."""
    names = [f"{network}_fp16" for network in check.networks]
    config = check.out / "profile.ron"
    fields = f"max_instances: {check.instances}"
    config.write_text(check.programs.config([check.model(name, fields) for name in names]))
    quick = ["--quick"] if check.quick else ["--point-ms", 500, "--samples", 24]
    check.programs.run("bcedge", "profile", "--config", config, *quick, log="profile.log")
    points = 0
    for name in names:
        file = check.plans / name / "profile.ron"
        if not file.is_file():
            raise Failed(f"{file} was not written")
        points += file.read_text().count("latency_us_p50")
    check.row(f"profile: points of {len(names)} plans", points, "")
    check.programs.run(
        "bcedge", "evaluate", "--quick", "--platforms", "orin_nano", "--profiles", check.plans,
        "--policies", "sac,deadline,triton,fixed", "--json", check.out / "evaluate.json",
        *(["--runs", 1, "--loads", "steady 0.9"] if check.quick else []), log="evaluate.log",
    )  # fmt: skip
    outcome = json.loads((check.out / "evaluate.json").read_text())
    measured = [cell for cell in outcome["cells"] if not cell["modelled"]]
    if not measured:
        raise Failed("evaluate has no cell of the measured device")
    check.row("evaluate: cells of the measured device", len(measured), "")


def live(check):
    """The trained policy against the rules, on the device itself."""
    names = [f"{network}_fp16" for network in check.networks]
    fields = f"slo: Auto, max_instances: {check.instances}"
    models = [check.model(name, fields) for name in names]
    config = lambda policy: check.programs.config(models, policy=policy)  # noqa: E731
    with check.programs.serving(config("Deadline"), "live_capacity.log") as path:
        report = check.programs.load(
            path, max(check.seconds, 1), "--model", *names, "--concurrency", 64, "--shm",
            "--connections", 4, "--slo-us", 60_000_000,
        )  # fmt: skip
        rates = {m["name"]: max(m["throughput_per_s"], 1) for m in report["models"]}
    seconds = 2 if check.quick else 15
    for part in LIVE_LOADS:
        load = ["--model", *(f"{name}={part * rate:.3f}" for name, rate in rates.items())]
        found = {}
        for policy, text in {"sac": "Sac", **RULES}.items():
            with check.programs.serving(config(text), f"live_{policy}_{part}.log") as path:
                report = check.programs.load(path, seconds, *load, "--shm", "--connections", 4)
            total = report["total"]
            found[policy] = {
                "hit_rate": total["slo_met"] / max(total["sent"], 1),
                "utility": total["utility"],
            }
        best = max(found[rule]["hit_rate"] for rule in RULES)
        check.row(f"live at {part} of capacity: in time, sac", found["sac"]["hit_rate"], "")
        check.row(f"live at {part} of capacity: in time, the best rule", best, "")
        check.details[f"live at {part}"] = found


STEPS = [compare_outputs, against_the_bare_loop, several_streams, graphs, profile, live]


def text_of(row):
    target, verdict = "", ""
    if row["sense"]:
        target = f"{ {'>=': '≥', '<=': '≤'}[row['sense']] } {row['target']:g}"
        verdict = "pass" if row["met"] else "MISS"
    return f"{row['figure']:10.4g} {row['unit']:2} {target:9} {verdict:5} {row['what']}"


def pair(text):
    name, _, file = text.partition("=")
    if not pathlib.Path(file).is_file():
        raise argparse.ArgumentTypeError(f"NAME=FILE.onnx, where there is such a file, not {text!r}")
    return name, file


def parse(words):
    parser = argparse.ArgumentParser(prog="tests/gpu/run.sh")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder with both programs")
    parser.add_argument("--tensorrt", type=pathlib.Path, help="folder with its libraries")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="gets results and logs")
    parser.add_argument("--networks", type=pair, nargs="+", default=[], help="NAME=FILE.onnx instead of the six")
    parser.add_argument("--compare", nargs="+", default=["resnet18"], help="networks that are measured in detail")
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="short measurements")
    parser.add_argument("--rehearsal", action="store_true", help="where figures mean nothing: of the targets only right outputs count")
    parser.add_argument("--only", nargs="+", choices=[step.__name__ for step in STEPS])
    return parser.parse_args(words)


def main(words):
    arguments = parse(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failures = []
    try:
        check = Check(arguments)
        print("build: plans of every network, in FP32 and in FP16", flush=True)
        build(check, dict(arguments.networks))
    except Failed as failure:
        sys.exit(f"tests/gpu/run.sh: {failure}")
    for step in STEPS:
        if arguments.only and step.__name__ not in arguments.only:
            continue
        print(f"{step.__name__}: {step.__doc__.splitlines()[0]}", flush=True)
        try:
            step(check)
        except Failed as failure:  # the other steps are still worth their figures
            failures.append(f"{step.__name__}: {failure}")
            print(f"  FAILED {failure}", flush=True)
    result = {"rows": check.rows, "details": check.details, "failures": failures}
    (check.out / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print("\n" + "\n".join(text_of(row) for row in check.rows))
    for failure in failures:
        print(f"FAILED {failure.splitlines()[0]}")
    missed = [r for r in check.rows if not r["met"] and not (arguments.rehearsal and r["sense"] == ">=")]
    return 1 if failures or missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
