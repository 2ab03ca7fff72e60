#!/usr/bin/env bash
# Packs what tests/gpu/run.sh needs on a machine that has a GPU but no compiler and no network:
#
#   tests/gpu/pack.sh .gpu      .gpu/bin    the program and the bare loop, for glibc 2.31 and newer
#                               .gpu/part.* TensorRT 8.6.0 (x86-64, CUDA 12), in parts of 60 MiB
#   tests/gpu/pack.sh .gpu --programs-only
#
# TensorRT comes from PyPI under NVIDIA's licence: use, no redistribution. Nothing of it goes into the
# repository (.gpu is ignored). Needs rustup, python3 with venv and pip, cc, unzip, xz; 3 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
kit=${1:?usage: tests/gpu/pack.sh DIR [--programs-only]}
mkdir -p "$kit/bin"

target=x86_64-unknown-linux-gnu
glibc=2.31
tools=target/zig
wanted="cargo-zigbuild==0.24.1 ziglang==0.17.1"
if [ "$(cat "$tools/made-of" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  # shellcheck disable=SC2086 # two words
  "$tools/bin/pip" install --quiet --disable-pip-version-check $wanted
  echo "$wanted" >"$tools/made-of"
fi
PATH="$PWD/$tools/bin:$PATH" cargo zigbuild --release --locked --target "$target.$glibc" \
  --bin bcedge --example plan_loop
cp "target/$target/release/bcedge" "target/$target/release/examples/plan_loop" "$kit/bin/"
ls -l "$kit/bin"
[ "${2:-}" = --programs-only ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --python-version 3.10 --implementation cp --abi none --platform manylinux_2_17_x86_64 \
  --dest "$work" tensorrt==8.6.0
unzip -q -j "$work"/tensorrt-8.6.0-*.whl 'tensorrt/libnvinfer.so*' \
  'tensorrt/libnvinfer_builder_resource.so*' 'tensorrt/libnvonnxparser.so*' -d "$work/trt"
rm "$work"/tensorrt-8.6.0-*.whl
# The parser wants one function of the plugins, which the six networks do without: this stands in for
# them, and for cuBLAS and cuDNN, which they would need.
cat >"$work/plugin.c" <<'C'
#include <stdbool.h>
bool initLibNvInferPlugins(void *logger, const char *name) { (void)logger; (void)name; return true; }
C
cc -shared -fPIC -O2 -Wl,-soname,libnvinfer_plugin.so.8 -o "$work/trt/libnvinfer_plugin.so.8" "$work/plugin.c"
rm -f "$kit"/part.*
tar -C "$work" -cf - trt | xz -T0 -5 | split -b 60M -d -a 2 - "$kit/part."
(cd "$kit" && sha256sum part.* >SHA256SUMS && ls -l)
