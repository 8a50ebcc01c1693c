#!/usr/bin/env bash
# `cuready selftest` and `cuready engine` on a machine with an NVIDIA GPU, with no network.
#
#   ci/gpu_selftest.sh [--library FILE] [--plan FILE]... [--simulated] [STEP...]
#
# STEP: quick, copies, bench, reports, soak, peers (all of them by default; peers needs two GPUs). cuready must be importable by
# $PYTHON (python3); ci/gpu.sh prepare installs it, and its folder is used when it is there. $OUT, when set, gets the
# reports, the JSON and the log. A C++17 compiler in $CXX (c++) builds the plain loops.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
site=${CUREADY_GPU_WORK:-/tmp/cuready-gpu}/site
if [ -d "$site" ]; then export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"; fi
exec "${PYTHON:-python3}" "$root/ci/gpu_selftest.py" "$@"
