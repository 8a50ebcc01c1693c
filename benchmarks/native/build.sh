#!/bin/sh
# Builds what benchmarks/runtime.py measures with: b0.so, the yardstick, and alloc_count.so, which
# counts allocations when preloaded. usage: build.sh FOLDER   (any C++17 compiler in CXX; no CUDA
# or TensorRT header is used)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
for name in b0 alloc_count; do
  "${CXX:-c++}" -std=c++17 -O3 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror \
    "$here/$name.cpp" -o "$1/$name.so" -ldl -pthread
done
