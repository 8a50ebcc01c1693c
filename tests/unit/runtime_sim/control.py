"""Control of simulated libraries that are loaded into this process, through ctypes.

The functions and their meaning are those of control.h and control_trt.h in cpp/tests/sim.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_float, c_int, c_long, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

HANG = -1
CORRUPT = -2
TEXT_BYTES = 1 << 16


def _bind(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


def _lines(function: Any) -> list[str]:
    buffer = ctypes.create_string_buffer(TEXT_BYTES)
    function(buffer, TEXT_BYTES)
    return buffer.value.decode().splitlines()


class SimDriver:
    """The simulated driver of this process. Use the same path as the code under test."""

    def __init__(self, path: Path | str) -> None:
        self._library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        bind = self._library
        self._fail = _bind(bind, "sim_fail", None, c_char_p, c_long, c_int, c_long)
        self._calls = _bind(bind, "sim_calls", c_long, c_char_p)
        self._live = _bind(bind, "sim_live", c_int, c_char_p, c_size_t)
        self._violations = _bind(bind, "sim_violations", c_int, c_char_p, c_size_t)
        self._delay = _bind(bind, "sim_set_delay_us", None, c_char_p, c_long)
        self._bytes = _bind(bind, "sim_live_bytes", c_size_t, c_int)
        self._devices = _bind(bind, "sim_set_devices", None, c_char_p)
        self._produce = _bind(
            bind, "sim_produce_f32", c_int, c_void_p, c_uint64, c_size_t, c_float, c_long
        )
        self.clear_faults = _bind(bind, "sim_clear_faults", None)
        self.release_hangs = _bind(bind, "sim_release_hangs", None)
        self.reset_calls = _bind(bind, "sim_reset_calls", None)
        self.clear_violations = _bind(bind, "sim_clear_violations", None)
        self.reset = _bind(bind, "sim_reset", c_int)

    def fail(self, point: str, code: int, *, nth: int = 1, times: int = 1) -> None:
        """Make the ``nth`` next call of a driver function, or piece of work ("op.d2h"), fail."""
        self._fail(point.encode(), nth, code, times)

    def calls(self, api: str) -> int:
        """How often a driver function was called since the last reset, by anybody."""
        return int(self._calls(api.encode()))

    def live(self) -> list[str]:
        """Objects and memory that are not freed."""
        return _lines(self._live)

    def live_bytes(self, device: int = 0) -> int:
        """Bytes of device memory that are allocated."""
        return int(self._bytes(device))

    def violations(self) -> list[str]:
        """Misuse seen so far: use after free, out of bounds, freed while in use, ..."""
        return _lines(self._violations)

    def set_delay(self, kind: str, microseconds: int) -> None:
        """Time that each "kernel", "copy", "memset" or "host" function takes; "launch": the host's
        time for launching a run."""
        self._delay(kind.encode(), microseconds)

    def set_devices(self, spec: str) -> None:
        """``NAME:CC:MIB[;...]``; takes effect before cuInit."""
        self._devices(spec.encode())

    def produce(
        self, stream: int, address: int, count: int, value: float, delay_us: int = 0
    ) -> None:
        """A slow producer: on ``stream``, wait and then write ``count`` float32 of ``value``."""
        code = self._produce(stream, address, count, value, delay_us)
        assert code == 0, f"sim_produce_f32 gave CUDA error {code}"

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        assert code == 0, f"{name} gave CUDA error {code}"

    def make_current(self, device: int = 0) -> None:
        """Initialise, retain the primary context and make it current, as another library would."""
        context = c_void_p()
        self._check("cuInit", 0)
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._check("cuCtxSetCurrent", context)

    def stream(self, *, nonblocking: bool = True) -> int:
        """A new stream of the current context."""
        handle = c_void_p()
        self._check("cuStreamCreateWithPriority", ctypes.byref(handle), int(nonblocking), 0)
        assert handle.value is not None
        return handle.value

    def destroy_stream(self, stream: int) -> None:
        self._check("cuStreamDestroy_v2", c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        self._check("cuStreamSynchronize", c_void_p(stream))

    def alloc(self, nbytes: int) -> int:
        """Device memory, as another library (torch, cupy) would own it."""
        address = c_uint64()
        self._check("cuMemAlloc_v2", ctypes.byref(address), c_size_t(nbytes))
        return int(address.value)

    def free(self, address: int) -> None:
        self._check("cuMemFree_v2", c_uint64(address))

    def write(self, address: int, data: bytes) -> None:
        self._check("cuMemcpyHtoD_v2", c_uint64(address), data, c_size_t(len(data)))

    def read(self, address: int, nbytes: int) -> bytes:
        buffer = ctypes.create_string_buffer(nbytes)
        self._check("cuMemcpyDtoH_v2", buffer, c_uint64(address), c_size_t(nbytes))
        return buffer.raw


class SimTensorRT:
    """A simulated TensorRT library that is loaded into this process."""

    def __init__(self, path: Path | str) -> None:
        self._library = ctypes.CDLL(str(path))
        bind = self._library
        self._fail = _bind(bind, "simtrt_fail", None, c_char_p, c_long, c_long, c_char_p, c_char_p)
        self._calls = _bind(bind, "simtrt_calls", c_long, c_char_p)
        self._live = _bind(bind, "simtrt_live", c_int, c_char_p, c_size_t)
        self.reset_calls = _bind(bind, "simtrt_reset_calls", None)
        self.clear_faults = _bind(bind, "simtrt_clear_faults", None)
        self.clear_plugins = _bind(bind, "simtrt_clear_plugins", None)

    def fail(
        self, method: str, text: str = "", *, action: str = "refuse", nth: int = 1, times: int = 1
    ) -> None:
        """Make the ``nth`` next call of a method fail; ``action``: refuse, silent, badptr, warn."""
        self._fail(method.encode(), nth, times, action.encode(), text.encode())

    def calls(self, method: str) -> int:
        """How often a method ("IExecutionContext::setInputShape") was called since the reset."""
        return int(self._calls(method.encode()))

    def live(self) -> list[str]:
        """TensorRT objects that are not destroyed, one kind per line."""
        return _lines(self._live)
