"""The native module shows one symbol: whatever else it showed, TensorRT could bind to."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cuready._core


@pytest.mark.skipif(sys.platform != "linux", reason="ELF symbols")
def test_only_the_init_function_is_exported() -> None:
    """A standard library linked into the module once made TensorRT's number printing crash."""
    command = ["nm", "--dynamic", "--defined-only", "--extern-only", cuready._core.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["PyInit__core"]
