"""Proves that copies arrive unchanged, and measures how fast each kind is at each size."""

from __future__ import annotations

from typing import Any

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError

KIB, MIB = 1 << 10, 1 << 20
SIZES = (4 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB, 256 * MIB)
QUICK_SIZES = (64 * KIB, MIB, 16 * MIB, 128 * MIB)
DEVICE_SIZE = 1 << 30
PERIOD = 65521  # a prime: a page or a cache line in the wrong place shows


def prove_copies(job: Job) -> None:
    free, total = job.device.memory
    job.fact("memory", {"free": free, "total": total})
    sizes = [size for size in (QUICK_SIZES if job.quick else SIZES) if size <= free // 8]
    largest = sizes[-1]
    stream = job.stream()
    pageable = bytearray(pattern(largest, 1))
    pinned = rt.PinnedBuffer(largest, device=job.device)
    back = rt.PinnedBuffer(largest, device=job.device)
    there = rt.DeviceBuffer(largest, device=job.device)
    other = rt.DeviceBuffer(largest, device=job.device)

    verify(pageable, pinned, back, there, other, stream)
    hosts = {"pinned": pinned, "pageable": _Address(pageable)}
    for kind, host in hosts.items():
        measure(job, f"host to device, {kind}", there, host, sizes, stream)
        measure(job, f"device to host, {kind}", host, there, sizes, stream)
    between(job, min(DEVICE_SIZE, free // 8 // MIB * MIB or largest), sizes, stream)


class _Address:
    """The address of a bytearray, for the driver."""

    def __init__(self, data: bytearray) -> None:
        import ctypes

        self._view = (ctypes.c_char * len(data)).from_buffer(data)
        self.ptr = ctypes.addressof(self._view)


def pattern(size: int, seed: int) -> bytes:
    """Bytes that differ from their neighbours and repeat only after a prime number of them."""
    period = bytes((i * 167 + (i >> 8) * 59 + seed) & 255 for i in range(PERIOD))
    return (period * (size // PERIOD + 1))[:size]


def verify(
    pageable: bytearray,
    pinned: rt.PinnedBuffer,
    back: rt.PinnedBuffer,
    there: rt.DeviceBuffer,
    other: rt.DeviceBuffer,
    stream: rt.Stream,
) -> None:
    """Bytes go up, across and down, from and to both kinds of host memory."""
    wanted = bytes(pageable)
    up, down = memoryview(pinned).cast("B"), memoryview(back).cast("B")
    routes: tuple[tuple[str, Any, Any], ...] = (
        ("pinned", pinned, back),
        ("pageable", pageable, bytearray(len(pageable))),
    )
    for index, (kind, source, target) in enumerate(routes):
        wanted = pattern(len(pageable), index + 1)
        (up if kind == "pinned" else memoryview(pageable))[:] = wanted
        if kind == "pinned":
            down[:] = bytes(len(wanted))
        there.copy_from(source, stream=stream)
        other.copy_from(there, stream=stream)
        other.copy_to(target, stream=stream)
        stream.synchronize()
        got = bytes(memoryview(target))
        if got != wanted:
            blame(wanted, got, kind)


def blame(wanted: bytes, got: bytes, kind: str) -> None:
    """Fail with the number of wrong bytes and the place of the first."""
    wrong, first = difference(wanted, got)
    raise StageFailedError(
        f"{wrong} of {len(wanted)} bytes changed on the way to the GPU and back "
        f"({kind} host memory); the first is byte {first}",
        kind="copy_corrupt", wrong=wrong, first=first,
    )  # fmt: skip


def difference(wanted: bytes, got: bytes | bytearray) -> tuple[int, int]:
    """How many bytes differ, and the place of the first; -1 where none does."""
    wrong, first = 0, -1
    for start in range(0, len(wanted), MIB):
        piece, other = wanted[start : start + MIB], got[start : start + MIB]
        if piece == other:
            continue
        places = [i for i, (a, b) in enumerate(zip(piece, other, strict=True)) if a != b]
        wrong += len(places)
        first = first if first >= 0 else start + places[0]
    return wrong, first


def measure(
    job: Job, name: str, target: Any, source: Any, sizes: list[int], stream: rt.Stream
) -> None:
    """Bandwidth at each size: bytes moved over device time, in GB/s."""
    rates = [rate(job, target, source, size, stream) for size in sizes]
    job.line("bandwidth", name, sizes, rates, ("bytes", "GB/s"))
    job.figure(name, max(rates), "GB/s")


def rate(job: Job, target: Any, source: Any, size: int, stream: rt.Stream) -> float:
    """The median of three runs, each long enough for the clock to be exact."""
    once = rt.time_copies(target, source, size, 1, stream=stream, device=job.device)
    once = rt.time_copies(target, source, size, 1, stream=stream, device=job.device) or once
    count = max(2, min(200, int((10 if job.quick else 40) / max(once, 1e-3))))
    times = [
        rt.time_copies(target, source, size, count, stream=stream, device=job.device)
        for _ in range(3)
    ]
    return size * count / max(sorted(times)[1], 1e-6) / 1e6


def between(job: Job, largest: int, sizes: list[int], stream: rt.Stream) -> None:
    """Device to device; each byte is read and written, so it counts twice."""
    source = rt.DeviceBuffer(largest, device=job.device)
    target = rt.DeviceBuffer(largest, device=job.device)
    sizes = sorted({*(size for size in sizes if size <= largest), largest})
    rates = [2 * rate(job, target, source, size, stream) for size in sizes]
    job.line("bandwidth", "device to device", sizes, rates, ("bytes", "GB/s"))
    job.figure("device to device", rates[-1], "GB/s")
