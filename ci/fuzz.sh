#!/usr/bin/env bash
# Coverage-guided fuzzing of every parser of foreign bytes.
#
#   ci/fuzz.sh [SECONDS [TARGET...]]         SECONDS for all targets together (default 90)
#   ci/fuzz.sh --runs 1000 --jobs 2          a thousand inputs for each target, the same every time
#   ci/fuzz.sh --each 3600 --jobs 16         an hour for each target, 16 processes at a time
#   ci/fuzz.sh --each 3600 --slice 600 --jobs 128 --until 590
#                                            the same hour as six processes of ten minutes side by
#                                            side, which share what they find; stops in time
#   ci/fuzz.sh --each 3600 --rest --jobs 16  what tests/fuzz/hours.json still lacks of the hour
#   ci/fuzz.sh --record build/fuzz/ledger.json   adds what was run here to tests/fuzz/hours.json
#
# $PYTHON needs cuready's dependencies and atheris (dependency group "ci"); no network is used, and
# nothing has to be compiled. For a machine without an index, carry a folder there and name it in
# PYTHONPATH:
#
#   uv pip install --target SITE --python-version 3.12 --python-platform x86_64-manylinux_2_28 \
#     --only-binary :all: atheris certifi click filelock 'httpx[socks]' jsonschema \
#     nvidia-ml-py packaging platformdirs psutil pyelftools pyyaml rich tomlkit installer \
#     'py-rattler>=0.28,<0.29' zstandard
#
# Inputs found on the way stay in build/fuzz, from where a later run goes on; an input that breaks
# a parser is kept there too, and named. build/fuzz/ledger.json adds up the processor time that each
# target has had in this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] || python=.venv/bin/python
[ "${1:-}" = --record ] || "$python" -c 'import atheris' 2>/dev/null || {
  echo "fuzz: $python has no atheris; pip install --group ci, with Python 3.11 to 3.13" >&2
  exit 2
}
PYTHONPATH=$PWD/python${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m tests.fuzz.campaign "$@"
