#!/usr/bin/env bash
# Builds the wheel and looks into it: portable, nothing of the vendor's, under 3 MB, importable
# in an environment that has nothing else. usage: ci/wheel.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$python" -m build --wheel --outdir "$out" . >"$out/build.log" 2>&1 || { tail -40 "$out/build.log"; exit 1; }
"$python" ci/check_wheel.py "$out"/cuready-*.whl
"$python" -m venv "$out/bare"
"$out/bare/bin/pip" install --quiet "$out"/cuready-*.whl
cd "$out" # away from the sources, so that only the installed wheel can be imported
"$out/bare/bin/python" -c 'import cuready._core'
cmake_dir=$("$out/bare/bin/python" -m cuready --cmake-dir)
test -f "$cmake_dir/cuready-config.cmake"
"$out/bare/bin/cuready" doctor
