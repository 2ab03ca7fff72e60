#!/usr/bin/env bash
# Builds bcedge for a Jetson as README.md says, and runs it here under qemu: the file's needs, its
# subcommands, a demo, its outputs against this machine's, and the tests of the GPU engine over mock
# libraries for that processor. `.ci/run` calls it; it fails when anything is missing.
#
# Needs rustup, python3 with venv, readelf, and from Debian: qemu-user libc6-arm64-cross.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=aarch64-unknown-linux-gnu
glibc=2.31
sysroot=/usr/aarch64-linux-gnu
runner="qemu-aarch64 -L $sysroot"

missing() {
  echo "tests/aarch64/run.sh: $1 is missing; $2" >&2
  exit 1
}
for tool in rustup python3 readelf qemu-aarch64; do
  command -v "$tool" >/dev/null || missing "$tool" "apt install qemu-user binutils python3-venv; rustup.rs"
done
[ -e "$sysroot/lib/libc.so.6" ] || missing "$sysroot/lib/libc.so.6" "apt install libc6-arm64-cross"

# The linker and the C library's symbols of that version, from PyPI.
tools=target/zig
wanted="cargo-zigbuild==0.24.1 ziglang==0.17.1"
if [ "$(cat "$tools/made-of" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  # shellcheck disable=SC2086 # two words
  "$tools/bin/pip" install --quiet --disable-pip-version-check $wanted
  echo "$wanted" >"$tools/made-of"
fi
export PATH="$PWD/$tools/bin:$PATH"
rustup target add "$target"

cargo zigbuild --release --locked --target "$target.$glibc"
# What the program's outputs are compared with.
cargo build --locked
program="$PWD/target/$target/release/bcedge"
export BCEDGE_MOCK_CC="$PWD/$tools/bin/python -m ziglang cc -target aarch64-linux-gnu.$glibc"
python3 tests/aarch64/check.py --runner "$runner" --glibc "$glibc" --mock-cc "$BCEDGE_MOCK_CC" \
  --native target/debug/bcedge "$program"
# The tests run here, and what they start is the cross-built program.
BCEDGE_PROGRAM="$runner $program" cargo test --locked --test tensorrt
