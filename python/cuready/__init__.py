"""cuready: why a CUDA install is broken, an environment that works, and proof on the GPU.

Importing this package imports nothing else of it: ``cuready.runtime`` needs the native core,
``cuready.doctor`` must work where that core cannot load.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
