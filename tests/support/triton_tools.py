"""Fetches what the tests and benchmarks need of Triton, from PyPI, unmodified.

`python triton_tools.py FOLDER` leaves `FOLDER/perf_analyzer` and, for its LD_LIBRARY_PATH,
`FOLDER/lib`; with `--server` also `FOLDER/pytriton/tritonserver` and `FOLDER/nvidia_pytriton.libs`.
Nothing is installed and root is not needed: the program lies in the wheel of tritonclient 2.51
(the last one that runs with glibc 2.36), the two libraries it wants and few systems have (libb64,
the CUDA runtime) lie in the wheel of pytriton, which carries Triton's server as well.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

TRITONCLIENT = "tritonclient==2.51.0"
PYTRITON = "nvidia-pytriton==0.7.0"
PERF_ANALYZER = "tritonclient-2.51.0.data/data/bin/perf_analyzer"
LIBRARIES = "nvidia_pytriton.libs/"
SERVER = "pytriton/tritonserver/"


def download(requirement: str, folder: pathlib.Path) -> pathlib.Path:
    """The path of the requirement's wheel, in `folder`. `sys.executable` must have pip."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        + ["--no-deps", "--only-binary", ":all:", "--dest", folder, requirement],
        check=True,
        timeout=600,
    )
    (wheel,) = folder.glob(requirement.split("==")[0].replace("-", "_") + "-*.whl")
    return wheel


def extract(wheel: zipfile.ZipFile, member: str, to: pathlib.Path, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(member) as source, open(to, "wb") as target:
        shutil.copyfileobj(source, target)
    to.chmod(mode)


def unpack_perf_analyzer(client: zipfile.ZipFile, pytriton: zipfile.ZipFile, to) -> None:
    extract(client, PERF_ANALYZER, to / "perf_analyzer", 0o755)
    # The wheel's tools gave the libraries names with a checksum; the program asks for the plain.
    for name in ["libb64.so.0d", "libcudart.so.12"]:
        stem, version = name.split(".so.")
        (member,) = [
            member
            for member in pytriton.namelist()
            if member.startswith(LIBRARIES + stem + "-") and f".so.{version}" in member
        ]
        extract(pytriton, member, to / "lib" / name)


def fetch(folder: pathlib.Path, server: bool) -> None:
    """Fills `folder`; with `server`, also with Triton's server and its Python backend."""
    with tempfile.TemporaryDirectory() as temporary:
        wheels = pathlib.Path(temporary)
        with (
            zipfile.ZipFile(download(TRITONCLIENT, wheels)) as client,
            zipfile.ZipFile(download(PYTRITON, wheels)) as pytriton,
        ):
            unpack_perf_analyzer(client, pytriton, folder)
            if server:
                unpack_server(pytriton, folder)


def unpack_server(pytriton: zipfile.ZipFile, folder: pathlib.Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = f"{SERVER}python_backend_stubs/{python}/triton_python_backend_stub"
    # The programs find their libraries relative to themselves, so the wheel's layout is kept.
    extract(pytriton, SERVER + "bin/tritonserver", folder / SERVER / "bin/tritonserver", 0o755)
    backend = folder / SERVER / "backends/python"
    extract(pytriton, stub, backend / "triton_python_backend_stub", 0o755)
    for member in pytriton.namelist():
        if member.startswith(LIBRARIES) and not member.endswith("/"):
            extract(pytriton, member, folder / member)
        if member.startswith(SERVER + "backends/python/") and not member.endswith("/"):
            extract(pytriton, member, folder / member)


if __name__ == "__main__":
    fetch(pathlib.Path(sys.argv[1]), server="--server" in sys.argv[2:])
