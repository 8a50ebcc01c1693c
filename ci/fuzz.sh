#!/usr/bin/env bash
# Coverage-guided fuzzing of every parser of foreign bytes. usage: ci/fuzz.sh [SECONDS [TARGET...]]
# SECONDS are for all targets together (default 90). $PYTHON needs atheris (dependency group "ci").
# Inputs found on the way stay in build/fuzz, from where a later run goes on; an input that breaks
# a parser is kept there too, and named.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-90}
shift $(($# < 1 ? $# : 1))
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls tests/data/fuzz)
python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] || python=.venv/bin/python
"$python" -c 'import atheris' 2>/dev/null || {
  echo "fuzz: $python has no atheris; pip install --group ci, with Python 3.11 to 3.13" >&2
  exit 2
}
each=$((seconds / ${#targets[@]}))
for target in "${targets[@]}"; do
  mkdir -p "build/fuzz/$target"
  log="build/fuzz/$target.log"
  if ! "$python" tests/fuzz/fuzz.py "$target" -max_total_time="$((each > 1 ? each : 1))" -timeout=10 \
    -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$target-broken-" \
    "build/fuzz/$target" "tests/data/fuzz/$target" >"$log" 2>&1; then
    tail -40 "$log"
    echo "fuzz: $target broke (see build/fuzz)" >&2
    exit 1
  fi
  printf 'fuzz: %-12s %9s inputs, %4s MB, coverage %s\n' "$target" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")" \
    "$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)"
done
