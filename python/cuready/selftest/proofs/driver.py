"""Proves that the driver answers, and that a context, a stream and an event can be made."""

from __future__ import annotations

import time
from pathlib import Path

import cuready.runtime as rt
from cuready.errors import CudaError, DriverNotFound
from cuready.selftest.job import Job, StageFailedError, StageSkippedError

NVIDIA = "0x10de"
DISPLAY_CLASSES = ("0x03", "0x0302")
NO_DEVICE = 100


def gpu_hardware() -> str:
    """What shows that a GPU is in this machine although the driver says nothing; "" for none."""
    for entry in sorted(Path("/sys/bus/pci/devices").glob("*")):
        try:
            vendor = (entry / "vendor").read_text().strip()
            kind = (entry / "class").read_text().strip()
        except OSError:
            continue
        if vendor == NVIDIA and kind.startswith(DISPLAY_CLASSES):
            return f"PCI device {entry.name}"
    for node in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/nvhost-gpu"):
        if Path(node).exists():
            return node
    return ""


def prove_driver(job: Job) -> None:
    try:
        report = rt.driver_report()
    except DriverNotFound as error:
        step = str(error.details.get("step", ""))
        hardware = gpu_hardware()
        absent = step == "open" or error.code == NO_DEVICE
        if absent and not hardware:
            reason = f"no NVIDIA GPU in this machine: {error.message}"
            raise StageSkippedError(reason, unanswered=True) from None
        raise
    job.fact("driver", {key: str(report[key]) for key in ("library", "found_by", "cuda_version")
                        if key in report})  # fmt: skip
    devices = report["devices"]
    job.fact("devices", devices)
    if not devices:
        if not gpu_hardware():
            raise StageSkippedError("no NVIDIA GPU: the driver names none", unanswered=True)
        raise StageFailedError("the driver answers and names no GPU", kind="no_device")
    ordinal = int(job.options["device"])
    if ordinal >= len(devices):
        raise StageFailedError(
            f"there is no GPU {ordinal}: the driver names {len(devices)}", kind="no_device"
        )


def prove_context(job: Job) -> None:
    begin = time.perf_counter()
    try:
        device = job.device
        stream = job.stream()
        event = stream.record()
        event.synchronize()
        stream.synchronize()
    except CudaError as error:
        error.details["kind"] = "context"
        raise
    job.figure("time to a first context", (time.perf_counter() - begin) * 1000, "ms")
    free, total = device.memory
    job.fact("memory", {"free": free, "total": total})
    job.fact("device", device.describe())
