#!/bin/sh
# Builds the yardstick of benchmarks/runtime.py. usage: build.sh OUTPUT.so   (any C++17 compiler in CXX; no CUDA or TensorRT header is used)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$1")"
exec "${CXX:-c++}" -std=c++17 -O3 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror "$here/b0.cpp" -o "$1" -ldl -pthread
