"""TensorRT from Python: plans in, arrays in, arrays out, with nothing between you and the stream.

>>> import cuready.runtime as rt
>>> engine = rt.Runtime().load("model.plan")
>>> context = engine.create_context()
>>> outputs = context.run({"x": x})  # numpy in, numpy out; torch, cupy, DLPack: zero copy

Importing this creates no CUDA context and needs no GPU, no driver, no TensorRT and no numpy.
"""

from __future__ import annotations

from typing import Any

from cuready._cmake import cmake_dir
from cuready._core import (
    Benchmark,
    Bindings,
    ContextPool,
    Device,
    DeviceBuffer,
    Engine,
    Event,
    ExecutionContext,
    Future,
    GraphCache,
    Kernel,
    Library,
    LibraryInfo,
    Module,
    PinnedBuffer,
    PlanInfo,
    Runtime,
    StagingRing,
    Stream,
    TensorInfo,
    Workspace,
    can_access_peer,
    context_is_current,
    copy_peer,
    device_count,
    driver_report,
    enable_peer_access,
    fill,
    time_copies,
)
from cuready.runtime._libraries import find_libraries, load, probe
from cuready.runtime._types import BenchmarkReport, Percentiles, Profile, Version

__all__ = [
    "Benchmark",
    "BenchmarkReport",
    "Bindings",
    "ContextPool",
    "Device",
    "DeviceBuffer",
    "Engine",
    "Event",
    "ExecutionContext",
    "Future",
    "GraphCache",
    "Kernel",
    "Library",
    "LibraryInfo",
    "Module",
    "Percentiles",
    "PinnedBuffer",
    "PlanInfo",
    "Profile",
    "Runtime",
    "StagingRing",
    "Stream",
    "TensorInfo",
    "Version",
    "Workspace",
    "benchmark",
    "can_access_peer",
    "cmake_dir",
    "context_is_current",
    "copy_peer",
    "device_count",
    "driver_report",
    "enable_peer_access",
    "fill",
    "find_libraries",
    "load",
    "probe",
    "time_copies",
]


def benchmark(engine: Engine, **options: Any) -> BenchmarkReport:
    """Time an engine as trtexec does; see ``Engine.benchmark`` for the options."""
    return engine.benchmark(**options)
