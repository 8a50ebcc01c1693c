"""Where the CMake package of this install is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cmake_dir"]


def cmake_dir() -> Path:
    """Folder with ``cuready-config.cmake``: what ``-Dcuready_DIR=`` of a C++ project wants.

    It is installed with the native module, which an editable install keeps apart from the sources.
    """
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("cuready._core")
    beside = spec.origin if spec is not None and spec.origin else __file__
    return Path(beside).resolve().parent / "lib" / "cmake" / "cuready"
