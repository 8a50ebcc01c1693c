"""The plain C++ loops of benchmarks/native/plain.cpp, as Python calls them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


@cache
def plain_library() -> ctypes.CDLL:
    target = Path(tempfile.mkdtemp(prefix="cuready-plain-")) / "plain.so"
    source = ROOT / "benchmarks" / "native" / "plain.cpp"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O3", "-fPIC", "-shared",
                    str(source), "-o", str(target), "-ldl", "-pthread"], check=True)  # fmt: skip
    library = ctypes.CDLL(str(target))
    address, size, pointer = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
    count, number = ctypes.c_int, ctypes.c_double
    numbers, counter = ctypes.POINTER(number), ctypes.POINTER(count)
    library.plain_copies.argtypes = [address, address, size, count, pointer]
    library.plain_copies.restype = ctypes.c_float
    library.plain_peer_copies.argtypes = [address, pointer, address, pointer, size, count, pointer]
    library.plain_peer_copies.restype = ctypes.c_float
    library.plain_engine.argtypes = [pointer, pointer, pointer, number, number, count,
                                     numbers, numbers, counter]  # fmt: skip
    library.plain_queued.argtypes = [pointer, pointer, pointer, count, number, count, numbers]
    return library


@cache
def driver() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ.get("CUREADY_LIBCUDA") or "libcuda.so.1")


def make_current(device: Any) -> ctypes.c_void_p:
    """The plain loops need the primary context on this thread, as any CUDA program has it."""
    context = ctypes.c_void_p()
    for result in (driver().cuDevicePrimaryCtxRetain(ctypes.byref(context), device.ordinal),
                   driver().cuCtxSetCurrent(context)):  # fmt: skip
        if result != 0:
            raise RuntimeError(f"GPU {device.ordinal}: CUDA error {result}")
    return context


def compared(what: str, ours: float, peer: float, share: float, unit: str) -> Row:
    off = abs(ours / peer - 1)
    return {"what": what, "ours": f"{ours:.5g} {unit}", "peer": f"{peer:.5g} {unit}",
            "result": f"{100 * (ours / peer - 1):+.2f} %", "limit": f"{100 * share:g} %",
            "met": off <= share}  # fmt: skip
