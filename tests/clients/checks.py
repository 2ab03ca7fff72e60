"""Runs a script's checks one after the other and prints a line for each."""

import asyncio
import inspect
import sys
import time
import traceback

_checks = []


def check(function):
    """Marks a function without parameters, plain or async, as a check; it fails by raising."""
    _checks.append(function)
    return function


def expect(actual, wanted, what=""):
    if actual != wanted:
        raise AssertionError(f"{what}: got {actual!r}, expected {wanted!r}")


def run() -> None:
    """Never returns; the exit status tells whether every check passed."""
    failures = 0
    for function in _checks:
        name = function.__name__.replace("_", " ")
        start = time.monotonic()
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(asyncio.wait_for(function(), timeout=60))
            else:
                function()
        except Exception:
            failures += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        else:
            print(f"ok      {name} ({time.monotonic() - start:.2f} s)", flush=True)
    print(f"{len(_checks) - failures} of {len(_checks)} checks passed")
    sys.exit(1 if failures or not _checks else 0)
