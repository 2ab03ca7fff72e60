#!/usr/bin/env python3
"""The whole system against its targets and against Triton: see benches/README.md."""

import argparse
import json
import os
import pathlib
import platform
import sys

from rig import tools


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="abcdefgh", help="sections, such as a,b")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of what is compared")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the measured time; 1 to publish"
    )
    parser.add_argument("--profile", default="release", help="`dev` while developing")
    parser.add_argument("--json", type=pathlib.Path, default=tools.WORK / "whole.json")
    chosen = parser.parse_args()
    chosen.only = [name for name in chosen.only if name not in ", "]
    unknown = sorted(set(chosen.only) - set("abcdefgh"))
    if unknown:
        parser.error(f"unknown sections {unknown}; there are a to h")
    return chosen


def machine() -> dict:
    cpu = pathlib.Path("/proc/cpuinfo").read_text().partition("model name")[2]
    return {
        "cpu": cpu.partition("\n")[0].strip("\t :"),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average_at_start": os.getloadavg()[0],
    }


def print_table(rows) -> None:
    print(f"\n{'':2} {'figure':>9}    {'target':>9}  {'':4}  what")
    for row in rows:
        sign = {">=": "≥", "<=": "≤"}[row.sense]
        verdict = "pass" if row.passed else "MISS"
        print(
            f"{row.section:2} {row.figure:9.3f} {row.unit:2} {sign} {row.target:5} {row.unit:2}"
            f"  {verdict}  {row.name}"
        )


def main() -> int:
    chosen = arguments()
    tools.enter_environment()
    # Only in the environment are the sections' own imports there.
    from rig import sections

    tools.WORK.mkdir(parents=True, exist_ok=True)
    bench = sections.Bench(tools.build(chosen.profile), chosen.rounds, chosen.scale)
    about = machine()
    if about["load_average_at_start"] > 0.5:
        print(
            f"note: something else runs here (load {about['load_average_at_start']})",
            file=sys.stderr,
        )
    rows, failures = [], []
    for name in chosen.only:
        section = sections.SECTIONS[name]
        print(f"{name}: {section.__doc__.splitlines()[0]}", flush=True)
        try:
            for row in section(bench):
                rows.append(row)
                print(
                    f"   {row.name}: {row.figure:.3f} {row.unit} {json.dumps(row.detail)}",
                    flush=True,
                )
        except Exception as error:  # the other sections are still worth their figures
            failures.append(f"{name}: {error}")
            print(f"   not measured: {error}", file=sys.stderr)
    print_table(rows)
    result = {
        "machine": about,
        "profile": chosen.profile,
        "rounds": chosen.rounds,
        "scale": chosen.scale,
        "rows": [{**vars(row), "passed": row.passed} for row in rows],
        "not_measured": failures,
    }
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {chosen.json}")
    return 0 if not failures and all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
