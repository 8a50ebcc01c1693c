"""The driver as any other library of this process uses it."""

from __future__ import annotations

import ctypes
import os
from typing import Any

__all__ = ["Driver", "PassingStream"]


class Driver:
    """Contexts and streams that are none of cuready's."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL(os.environ.get("CUREADY_LIBCUDA") or "libcuda.so.1")

    def _ask(self, name: str, *arguments: Any) -> None:
        result = getattr(self._cuda, name)(*arguments)
        assert result == 0, f"{name}: CUDA error {result}"

    def primary(self, ordinal: int) -> int:
        context = ctypes.c_void_p()
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), ordinal)
        return context.value or 0

    def set_current(self, context: int | None) -> None:
        self._ask("cuCtxSetCurrent", ctypes.c_void_p(context))

    def current(self) -> int:
        context = ctypes.c_void_p()
        self._ask("cuCtxGetCurrent", ctypes.byref(context))
        return context.value or 0

    def stream(self) -> int:
        """A new stream, with the primary context of GPU 0."""
        before, stream = self.current(), ctypes.c_void_p()
        self.set_current(self.primary(0))
        self._ask("cuStreamCreate", ctypes.byref(stream), 1)
        self.set_current(before)
        return stream.value or 0

    def destroy_stream(self, stream: int) -> None:
        self._ask("cuStreamDestroy_v2", ctypes.c_void_p(stream))


class PassingStream:
    """Like CuPy's: the stream is destroyed with the object."""

    def __init__(self) -> None:
        self._driver = Driver()
        self.ptr = self._driver.stream()

    def __del__(self) -> None:
        self._driver.destroy_stream(self.ptr)
