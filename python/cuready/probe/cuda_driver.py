"""What libcuda says of itself and its devices. Runs in a child process: cuInit can hang or crash.

The native core asks it where the core loads; where it does not, the same few calls go through
ctypes: a machine on which our own extension is broken still wants a diagnosis. Neither creates a
CUDA context.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["ask", "ask_by_ctypes"]

_STEPS = {"open": "load", "init": "cuInit", "version": "cuDriverGetVersion"}


def ask() -> dict[str, Any]:
    """A :class:`~cuready.snapshot.NativeProbe` as JSON."""
    try:
        from cuready import _core
    except ImportError:
        return ask_by_ctypes()
    from cuready.errors import DriverNotFound

    try:
        report = _core.driver_report()
    except DriverNotFound as error:
        step = str(error.details.get("step", ""))
        return {
            "status": "failed",
            "step": str(error.details.get("call") or _STEPS.get(step, step)),
            "error_name": error.name or None,
            "error_code": error.code or None,
            "error_text": " ".join([error.message, *error.messages]),
        }
    return {
        "status": "ok",
        "library": report["library"],
        "cuda_version": report["cuda_version"],
        "devices": [
            {
                "index": device["ordinal"],
                "name": device["name"],
                "uuid": device["uuid"],
                "compute_capability": device["compute_capability"],
                "memory_bytes": device["total_memory"],
                "pci_address": device["pci_bus_id"].lower() or None,
            }
            for device in report["devices"]
        ],
    }


class _CallError(Exception):
    def __init__(self, call: str, code: int) -> None:
        super().__init__(call)
        self.call = call
        self.code = code


class _Driver:
    """libcuda's C functions; a result other than 0 raises."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise _CallError(name, code)

    def number(self, name: str, *arguments: Any) -> int:
        value = ctypes.c_int()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def describe(self, code: int) -> tuple[str, str]:
        """Name and text of an error, in the driver's own words."""
        words = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            found = getattr(self._library, function)(code, ctypes.byref(text)) == 0 and text.value
            words.append(found.decode("utf-8", "replace") if found else "")
        return words[0] or f"CUDA error {code}", words[1]


def ask_by_ctypes(library: str | None = None) -> dict[str, Any]:
    """The same without the native core."""
    name = library or ("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    try:
        driver = _Driver(name)
    except OSError as error:
        return {"status": "failed", "step": "load", "error_text": str(error)}
    answer: dict[str, Any] = {"status": "ok", "library": name}
    try:
        version = driver.number("cuDriverGetVersion")
        answer["cuda_version"] = f"{version // 1000}.{version % 1000 // 10}"
        driver.call("cuInit", 0)
        count = driver.number("cuDeviceGetCount")
        answer["devices"] = [_device(driver, index) for index in range(count)]
    except _CallError as error:
        error_name, text = driver.describe(error.code)
        answer |= {"status": "failed", "step": error.call, "error_name": error_name,
                   "error_code": error.code, "error_text": text}  # fmt: skip
    except AttributeError as error:  # not a libcuda, or one from before CUDA 6
        answer |= {"status": "failed", "step": "symbol", "error_text": str(error)}
    return answer


_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def _device(driver: _Driver, index: int) -> dict[str, Any]:
    device = driver.number("cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    driver.call("cuDeviceGetName", name, 255, device)
    address = ctypes.create_string_buffer(32)
    driver.call("cuDeviceGetPCIBusId", address, 31, device)
    memory = ctypes.c_size_t()
    driver.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major = driver.number("cuDeviceGetAttribute", _MAJOR, device)
    minor = driver.number("cuDeviceGetAttribute", _MINOR, device)
    return {
        "index": index,
        "name": name.value.decode("utf-8", "replace"),
        "uuid": _uuid(driver, device),
        "compute_capability": f"{major}.{minor}",
        "memory_bytes": memory.value,
        "pci_address": address.value.decode("ascii", "replace").lower(),
    }


def _uuid(driver: _Driver, device: int) -> str:
    raw = (ctypes.c_ubyte * 16)()
    driver.call("cuDeviceGetUuid", ctypes.byref(raw), device)
    text = bytes(raw).hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
