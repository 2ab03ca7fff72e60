"""Fetches NVIDIA's lean TensorRT runtime from PyPI: `python lean_tensorrt.py VERSION FOLDER` leaves
`libnvinfer_lean.so.MAJOR` in FOLDER. Nothing is installed; the wheel is thrown away."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PROJECT = "tensorrt-lean-cu13-libs"


def fetch(version: str, folder: pathlib.Path) -> None:
    major = version.split(".")[0]
    library = f"tensorrt_lean_libs/libnvinfer_lean.so.{major}"
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            + ["--no-deps", "--only-binary", ":all:", "--dest", temporary]
            + [f"{PROJECT}=={version}"],
            check=True,
            timeout=600,
        )
        (wheel,) = pathlib.Path(temporary).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive, archive.open(library) as source:
            with open(folder / library.split("/")[1], "wb") as target:
                shutil.copyfileobj(source, target)


if __name__ == "__main__":
    fetch(sys.argv[1], pathlib.Path(sys.argv[2]))
