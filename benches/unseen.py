#!/usr/bin/env python3
"""What a policy loses on a device or a network that it was not trained with: see benches/README.md."""

import argparse
import concurrent.futures
import json
import math
import pathlib
import statistics
import subprocess
import sys

from rig import tools

# `bcedge train --without` refuses a name it does not know, so these can't go stale in silence.
PLATFORMS = ["nano", "tx2", "xavier_nx", "orin_nano"]
NETWORKS = ["yolov5s", "mobilenet_v3_small", "resnet18", "efficientnet_b0", "inception_v3", "tinybert"]
TARGET = 0.97


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="of each training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="seeds of each cell")
    parser.add_argument("--only", default=",".join(PLATFORMS + NETWORKS), help="what is left out")
    parser.add_argument("--threads", type=int, default=2, help="trainings side by side")
    parser.add_argument("--json", type=pathlib.Path, default=tools.WORK / "unseen.json")
    chosen = parser.parse_args()
    chosen.only = [name for name in chosen.only.split(",") if name]
    unknown = sorted(set(chosen.only) - set(PLATFORMS + NETWORKS))
    if unknown:
        parser.error(f"unknown {unknown}; there are {PLATFORMS + NETWORKS}")
    return chosen


def call(command, log: pathlib.Path) -> None:
    with log.open("w") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    if status.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed; see {log}")


def train(bcedge, work: pathlib.Path, chosen, without: str | None) -> pathlib.Path:
    """Trains a policy, without one platform or network if one is named."""
    policy = work / f"without_{without or 'nothing'}.safetensors"
    command = [bcedge, "train", "--out", policy, "--restart", "--seed", str(chosen.seed)]
    command += ["--steps", str(chosen.steps)]
    command += ["--without", without] if without else []
    call(command, policy.with_suffix(".train.log"))
    return policy


def evaluate(bcedge, policy: pathlib.Path, chosen, platforms) -> dict:
    """The utility of each cell on these platforms, by platform, SLO set and load."""
    result = policy.with_suffix(".json")
    command = [bcedge, "evaluate", "--policy", policy, "--policies", "sac", "--json", result]
    command += ["--platforms", ",".join(platforms), "--runs", str(chosen.runs)]
    call(command, policy.with_suffix(".evaluate.log"))
    cells = json.loads(result.read_text())["cells"]
    return {
        (cell["platform"], cell["slo"], cell["load"]): row["utility"]
        for cell in cells
        for row in cell["rows"]
        if row["policy"] == "sac"
    }


def main() -> int:
    chosen = arguments()
    bcedge = tools.build("release") / "bcedge"
    work = tools.WORK / "unseen"
    work.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(chosen.threads) as pool:
        names = [None, *chosen.only]
        policies = dict(zip(names, pool.map(lambda n: train(bcedge, work, chosen, n), names)))
    with_all = evaluate(bcedge, policies[None], chosen, PLATFORMS)
    rows = []
    for name in chosen.only:
        cells = evaluate(bcedge, policies[name], chosen, [name] if name in PLATFORMS else PLATFORMS)
        losses = [utility - with_all[cell] for cell, utility in cells.items()]
        ratio, worst = math.exp(statistics.fmean(losses)), math.exp(min(losses))
        rows.append({"without": name, "ratio": ratio, "worst_cell": worst, "cells": len(losses)})
        verdict = "pass" if ratio >= TARGET else "MISS"
        print(
            f"{name:16} {ratio:.4f} of the utility with it in {len(losses)} cells, "
            f"worst cell {worst:.3f}; ≥ {TARGET} {verdict}",
            flush=True,
        )
    chosen.json.write_text(json.dumps({"steps": chosen.steps, "rows": rows}, indent=1))
    return 0 if all(row["ratio"] >= TARGET for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
