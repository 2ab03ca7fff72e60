#!/usr/bin/env bash
# The check on a machine with an NVIDIA GPU, in one call: builds plans of the six reference networks in
# FP32 and FP16, compares their outputs with ONNX Runtime's, serves them on the socket under load, and
# compares serving with a bare loop over the same plan. A table comes last; plans, profiles, logs and
# results.json are left in $OUT.
#
#   tests/gpu/pack.sh .gpu                      where there is a compiler and PyPI: programs, TensorRT
#   OUT=results tests/gpu/run.sh --kit .gpu     on the machine with the GPU
#
# --kit DIR       what pack.sh made: DIR/bin, and TensorRT in DIR/part.* (or in several folders' parts,
#                 copied into one, where a transfer takes only so much)
# --tensorrt DIR  TensorRT's libraries, instead of the kit's
# --quick         short measurements: the order of things, not figures to publish
# More options: python3 tests/gpu/check.py --help
#
# Needs python3 (3.10 or newer) with numpy and onnxruntime. The exit status is 0 when every output is
# right and every target is met.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

out=${OUT:-gpu-results}
kit=""
tensorrt=""
more=()
while [ $# -gt 0 ]; do
  case $1 in
    --kit) kit=$(cd "${2:?--kit needs a folder}" && pwd) && shift 2 ;;
    --tensorrt) tensorrt=$(cd "${2:?--tensorrt needs a folder}" && pwd) && shift 2 ;;
    *) more+=("$1") && shift ;;
  esac
done

fail() {
  echo "tests/gpu/run.sh: $1" >&2
  exit 1
}
mkdir -p "$out"
if [ -n "$kit" ]; then
  more+=(--programs "$kit/bin")
  if [ -z "$tensorrt" ]; then
    compgen -G "$kit/part.*" >/dev/null || fail "$kit has no part.*; make it with tests/gpu/pack.sh $kit"
    tensorrt=${BCEDGE_GPU_UNPACKED:-/tmp/bcedge-gpu}/trt
    if [ ! -e "$tensorrt/.complete" ]; then
      mkdir -p "$(dirname "$tensorrt")"
      if [ -e "$kit/SHA256SUMS" ]; then
        (cd "$kit" && sha256sum --quiet --check SHA256SUMS) || fail "a part of $kit is damaged or missing"
      fi
      cat "$kit"/part.* | xz -dc | tar -x -C "$(dirname "$tensorrt")"
      touch "$tensorrt/.complete"
    fi
  fi
fi
if [ -n "$tensorrt" ]; then
  # Its libraries look for each other.
  export LD_LIBRARY_PATH="$tensorrt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  more+=(--tensorrt "$tensorrt")
fi
python3 -c 'import numpy, onnxruntime' 2>/dev/null ||
  fail "python3 has no numpy or onnxruntime: pip install numpy onnxruntime"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,compute_cap,clocks.sm,power.limit --format=csv \
    >"$out/gpu.csv" || fail "nvidia-smi finds no GPU"
  cat "$out/gpu.csv"
fi
exec python3 "$here/check.py" --out "$out" "${more[@]}"
