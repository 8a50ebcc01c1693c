"""Finds and opens TensorRT libraries, the running environment's own wheels first."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cuready._core import Library, LibraryInfo, PlanInfo

    PathLike = str | os.PathLike[str]
    Plan = PathLike | bytes | bytearray | memoryview

__all__ = ["find_libraries", "load", "probe", "resolve", "wheel_directories"]

#: Packages of NVIDIA's wheels that hold libraries, in the order in which they are tried:
#: https://docs.nvidia.com/deeplearning/tensorrt/latest/installing-tensorrt/installing.html
WHEEL_PACKAGES = (
    "tensorrt_libs",
    "tensorrt",
    "tensorrt_lean_libs",
    "tensorrt_lean",
    "tensorrt_dispatch_libs",
    "tensorrt_dispatch",
    "tensorrt_rtx_libs",
    "tensorrt_rtx",
)


LIBRARY_PREFIXES = ("libnvinfer", "libtensorrt")


def wheel_directories() -> list[str]:
    """Folders of NVIDIA's wheels on ``sys.path`` that hold a library; nothing is imported."""
    from pathlib import Path

    found: dict[str, None] = {}
    for package in WHEEL_PACKAGES:
        for entry in sys.path:
            folder = Path(entry or ".") / package
            try:
                names = [file.name for file in folder.iterdir()]
            except OSError:  # not there, not a folder, or a zip file
                continue
            if any(name.startswith(LIBRARY_PREFIXES) and ".so" in name for name in names):
                found[str(folder)] = None
    return list(found)


def find_libraries(
    path: PathLike | None = None, *, kind: str | None = None, major: int = 0
) -> list[LibraryInfo]:
    """Every TensorRT library here, in the order in which `load` would try them.

    Nothing is loaded. The order: ``path`` alone when given; ``CUREADY_TENSORRT``; the wheels of
    this environment; the conda prefix; ``LD_LIBRARY_PATH``; the ld.so cache; usual SDK places.
    """
    from cuready import _core

    return _core.find_libraries(
        os.fspath(path) if path is not None else "",
        search_dirs=wheel_directories(),
        kind=kind,
        major=major,
    )


def load(path: PathLike | None = None, *, kind: str | None = None, major: int = 0) -> Library:
    """Open the first TensorRT library that works.

    Args:
        path: a library file or a folder with one; nothing else is looked at.
        kind: ``"full"``, ``"lean"`` or ``"dispatch"``; any of them by default.
        major: only this major version.

    Raises:
        LibraryNotFound: there is none; the message lists the places.
        UnsupportedLibrary: the one that was asked for cannot be driven.
    """
    from cuready import _core

    _follow_log_level()
    return _core.open_library(
        os.fspath(path) if path is not None else "",
        search_dirs=wheel_directories(),
        kind=kind,
        major=major,
    )


def probe(plan: Plan) -> PlanInfo:
    """Which TensorRT built a plan, from its header; no library is loaded and no GPU is needed.

    Raises:
        PlanInvalid: the file cannot be read. One that is no plan has the kind ``"unknown"``.
    """
    from cuready import _core

    if isinstance(plan, (bytes, bytearray, memoryview)):
        return _core.probe_bytes(plan)
    return _core.probe_path(os.fspath(plan))


def resolve(library: Library | PathLike | None) -> Library:
    """What a caller of ``Runtime`` gave for a library, opened."""
    from cuready import _core

    if isinstance(library, _core.Library):
        _follow_log_level()
        return library
    return load(library)


def _follow_log_level() -> None:
    """Keep only those of TensorRT's log records that Python's logging would show."""
    import logging

    from cuready import _core

    _core.set_log_threshold(logging.getLogger("cuready.tensorrt").getEffectiveLevel())
