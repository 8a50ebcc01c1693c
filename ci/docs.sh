#!/usr/bin/env bash
# Builds the documentation; a warning is an error. usage: ci/docs.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
"$python" -m mkdocs build --strict --quiet --site-dir site
