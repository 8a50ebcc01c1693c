#!/usr/bin/env bash
# The web example in Python against the one in C++ on a machine with an NVIDIA GPU, with no network.
#
#   ci/gpu_web.sh [--from DIR] [--library FILE] [--first LOAD] [--loads LOAD,LOAD] [--seconds N] [--short N]
#                 [--native-share X] [--simulated]
#
# Prints one line of JSON, which $OUT gets as gpu-web.json; under five minutes. DIR holds the wheels that the machine
# lacks (granian, uvloop, click, …) and whatever else `ci/gpu.sh prepare` takes, which is run first.
# $PYTHON chooses the interpreter (python3).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-python3}" "$root/ci/gpu_web.py" "$@"
