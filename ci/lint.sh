#!/usr/bin/env bash
# Style and types of the Python code. usage: ci/lint.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
