"""The scripts of the GPU suite as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

CI = Path(__file__).resolve().parents[3] / "ci"


def script(name: str) -> ModuleType:
    """``script("gpu_bench")``: they import each other from their own folder, as when they run."""
    sys.path.insert(0, str(CI))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(CI))
