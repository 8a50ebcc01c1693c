#!/usr/bin/env bash
# The C++ core on the simulated driver and TensorRT under AddressSanitizer + UndefinedBehaviorSanitizer, and under
# ThreadSanitizer. Any report fails. usage: ci/sanitizers.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/sanitizers}
mkdir -p "$build"
jobs=${CUREADY_JOBS:-$(nproc)}
# CMake and Ninja of the machine, or those of the virtual environment that the other checks use.
[ -d .venv/bin ] && PATH="$PATH:$PWD/.venv/bin"
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:check_initialization_order=1:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99
export TSAN_OPTIONS=halt_on_error=0:second_deadlock_stack=1:exitcode=99

for sanitizer in address thread; do
  echo "--- $sanitizer"
  cmake -S . -B "$build/$sanitizer" "${generator[@]}" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O0 -g1" \
    -DCUREADY_TESTS=ON -DCUREADY_SANITIZE="$sanitizer" >"$build/$sanitizer.log" 2>&1 || { tail -30 "$build/$sanitizer.log"; exit 1; }
  cmake --build "$build/$sanitizer" -j "$jobs" >>"$build/$sanitizer.log" 2>&1 || { grep -E -A8 "error:|FAILED:" "$build/$sanitizer.log" | head -60; exit 1; }
  ctest --test-dir "$build/$sanitizer" --output-on-failure -j "$jobs"
done
echo "sanitizers: no report"
