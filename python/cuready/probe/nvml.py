"""What NVML says of the driver and its devices. Runs in a child process: NVML can hang or crash."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

__all__ = ["ask"]

_FABRIC_STATES = ("not supported", "not started", "in progress", "completed")


def ask() -> dict[str, Any]:
    """A :class:`~cuready.snapshot.NativeProbe` as JSON."""
    try:
        import pynvml
    except ImportError as error:
        return {"status": "skipped", "step": "import", "error_text": f"nvidia-ml-py: {error}"}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        name = _name(pynvml, error)
        step = "load" if name == "NVML_ERROR_LIBRARY_NOT_FOUND" else "nvmlInit_v2"
        return {"status": "failed", "step": step, **_error(pynvml, error)}
    answer: dict[str, Any] = {"status": "ok", "library": "libnvidia-ml.so.1"}
    _put(answer, "driver_version", pynvml, lambda: _text(pynvml.nvmlSystemGetDriverVersion()))
    _put(answer, "cuda_version", pynvml, lambda: _cuda(pynvml.nvmlSystemGetCudaDriverVersion_v2()))
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        failed = {"status": "failed", "step": "nvmlDeviceGetCount_v2", **_error(pynvml, error)}
        return {**answer, **failed}
    answer["devices"] = [_device(pynvml, index) for index in range(count)]
    return answer


def _device(nvml: Any, index: int) -> dict[str, Any]:
    device: dict[str, Any] = {"index": index}
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return {**device, "error": _name(nvml, error)}
    asked: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(nvml.nvmlDeviceGetName(handle)),
        "uuid": lambda: _text(nvml.nvmlDeviceGetUUID(handle)),
        "pci_address": lambda: _address(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "memory_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        "compute_capability": lambda: _pair(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
        "mig_mode": lambda: nvml.nvmlDeviceGetMigMode(handle)[0] == 1,
        "fabric_state": lambda: _fabric(nvml, handle),
    }
    for key, question in asked.items():
        problem = _put(device, key, nvml, question)
        # "Not supported" is an answer of a device that works; being lost is not.
        if problem not in (None, "NVML_ERROR_NOT_SUPPORTED", "NVML_ERROR_FUNCTION_NOT_FOUND"):
            device.setdefault("error", problem)
    if device.get("mig_mode"):
        device["mig_uuids"] = _mig_uuids(nvml, handle)
    return device


def _mig_uuids(nvml: Any, handle: Any) -> list[str]:
    found = []
    try:
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                found.append(_text(nvml.nvmlDeviceGetUUID(instance)))
            except nvml.NVMLError_NotFound:
                continue
    except nvml.NVMLError:
        pass  # what was found until then stands
    return found


def _fabric(nvml: Any, handle: Any) -> str | None:
    info = nvml.c_nvmlGpuFabricInfo_t()
    # By reference: the binding hands on what it gets, and NVML writes through it.
    nvml.nvmlDeviceGetGpuFabricInfo(handle, ctypes.byref(info))
    return _FABRIC_STATES[info.state] if info.state < len(_FABRIC_STATES) else str(info.state)


def _put(answer: dict[str, Any], key: str, nvml: Any, question: Callable[[], Any]) -> str | None:
    """Store the answer under ``key``; the error's name when there is none."""
    try:
        answer[key] = question()
    except nvml.NVMLError as error:
        return _name(nvml, error)
    except (AttributeError, TypeError, ValueError):  # an older binding without the function
        return None
    return None


def _error(nvml: Any, error: Any) -> dict[str, Any]:
    return {
        "error_name": _name(nvml, error),
        "error_code": int(error.value),
        "error_text": _words(nvml, error),
    }


def _words(nvml: Any, error: Any) -> str:
    """NVML's own text, which is what nvidia-smi prints; the binding has other words for some."""
    try:
        return _text(nvml.nvmlErrorString(error.value))
    except (nvml.NVMLError, AttributeError):  # the library did not load
        return str(error)


def _name(nvml: Any, error: Any) -> str:
    for name in dir(nvml):
        if name.startswith("NVML_ERROR_") and getattr(nvml, name) == error.value:
            return name
    return f"NVML_ERROR_{error.value}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _cuda(number: int) -> str:
    """``12040`` → ``12.4``."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _pair(value: tuple[int, int]) -> str:
    return f"{value[0]}.{value[1]}"


def _address(bus_id: str) -> str:
    """``00000000:65:00.0`` → ``0000:65:00.0``, as the kernel writes it."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
