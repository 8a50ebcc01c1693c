#!/usr/bin/env bash
# The GPU suite, on any Linux machine with an NVIDIA GPU, with no network.
#
#   ci/gpu.sh [--from DIR] [--work DIR] [--installed] [--simulated] [--builder RELEASE] [--seconds N] STEP...
#
# STEP: prepare, build (with every TensorRT builder that was given; what it built is run), correctness,
# refusals, examples, benchmark, all. Each can be run in a call of its own: what was prepared and measured stays in
# the work folder, and every call prints one table of all of it. A step that fails does not stop
# the next ones. $OUT, when set, gets the JSON and the logs. $PYTHON chooses the interpreter (python3).
# What DIR may hold stands in ci/gpu_prepare.py.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-python3}" "$root/ci/gpu_suite.py" "$@"
