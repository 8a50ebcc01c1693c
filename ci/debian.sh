#!/usr/bin/env bash
# Debian packages that the C++ tests, the sanitizers, the page tests and the examples need; nothing of the product.
set -euo pipefail
packages=(g++ make doctest-dev clang libclang-rt-14-dev python3-venv chromium chromium-driver
  python3-torch                                             # examples/torch_project, on the CPU
  libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1)  # examples/qt_live, off screen
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
