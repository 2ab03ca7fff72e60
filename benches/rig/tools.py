"""The programs under test and the tools that measure them, all under target/."""

import fcntl
import os
import pathlib
import platform
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TOOLS = TARGET / "pytools"
WORK = TARGET / "bench"

# Triton's Python backend (2.51) is built for numpy 1: with numpy 2 it runs, and gives empty
# tensors without an error.
REQUIREMENTS = ["numpy==1.26.4", "tritonclient[grpc]==2.73.0"]
SUPPORTED_PYTHON = [(3, 11), (3, 12)]
INSIDE = "BCEDGE_BENCH_ENVIRONMENT"

sys.path.insert(0, str(ROOT / "tests/support"))
import triton_tools  # noqa: E402  (the tests fetch perf_analyzer with the same module)


def once(name: str, recipe: str, build) -> pathlib.Path:
    """The folder target/pytools/`name`, filled by `build` unless it was for the same `recipe`."""
    folder = TOOLS / name
    stamp = folder / ".complete"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(TOOLS / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != recipe:
            subprocess.run(["rm", "-rf", folder], check=True)
            print(f"fetching {name} into {folder.relative_to(TARGET.parent)}", file=sys.stderr)
            build(folder)
            stamp.write_text(recipe)
    return folder


def enter_environment() -> None:
    """Goes on in a virtual environment that has REQUIREMENTS; replaces this process once."""
    if os.environ.get(INSIDE):
        return
    if sys.version_info[:2] not in SUPPORTED_PYTHON:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHON)
        sys.exit(f"Triton and its numpy need Python {wanted}; this is {platform.python_version()}")

    def build(folder):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "--disable-pip-version-check"]
        subprocess.run([*pip, "--quiet", *REQUIREMENTS], check=True, timeout=900)

    recipe = f"{sys.version} {REQUIREMENTS}"
    python = once("bench", recipe, build) / "bin/python"
    os.execve(python, [python, *sys.argv], {**os.environ, INSIDE: "1"})


def triton() -> pathlib.Path:
    """The folder with Triton's server and perf_analyzer."""
    source = pathlib.Path(triton_tools.__file__).read_text()
    return once("triton", sys.version + source, lambda to: triton_tools.fetch(to, server=True))


def libpython_folder() -> str:
    """Where the shared library of this Python is; Triton's Python backend loads it."""
    name = sysconfig.get_config_var("INSTSONAME")
    candidates = [sysconfig.get_config_var(key) for key in ("LIBDIR", "LIBPL")]
    candidates += ["/usr/lib/" + (sysconfig.get_config_var("MULTIARCH") or ""), "/usr/lib64"]
    for folder in filter(None, candidates):
        if name.endswith(".so.1.0") and pathlib.Path(folder, name).exists():
            return folder
    sys.exit(
        f"Triton's Python backend needs the shared library of Python ({name}): on Debian "
        f"`apt install libpython3.{sys.version_info.minor}`"
    )


def build(profile: str) -> pathlib.Path:
    """Builds the program and the bare loop; the folder with both is returned."""
    arguments = ["cargo", "build", "--bins", "--example", "bare_loop", "--profile", profile]
    subprocess.run(arguments, cwd=ROOT, check=True)
    return TARGET / ("debug" if profile == "dev" else profile)
