"""Proves that memory can be had, filled and given back, and that it holds what is written to it."""

from __future__ import annotations

import struct
import time

import cuready.runtime as rt
from cuready.errors import OutOfMemory
from cuready.selftest.job import Job, StageFailedError

MIB = 1 << 20
SIZES = (1, 255, 4096, 64 << 10, MIB, 16 * MIB, 128 * MIB)
BLOCK = 1 << 30
VECTOR = 16
THREADS = 256


def prove_memory(job: Job) -> None:
    """Allocate, fill and free many sizes; what was free before must be free again."""
    stream = job.stream()
    free_before, total = job.device.memory
    slowest = 0.0
    for size in SIZES:
        if size > free_before // 4:
            break
        begin = time.perf_counter()
        buffer = rt.DeviceBuffer(size, device=job.device)
        slowest = max(slowest, time.perf_counter() - begin)
        rt.fill(buffer, size % 251, stream=stream)
        stream.synchronize()
        del buffer
    free_after, _ = job.device.memory
    job.figure("free memory", free_after / MIB, "MiB")
    job.figure("slowest allocation", slowest * 1000, "ms")
    lost = free_before - free_after
    if lost > 64 * MIB:
        raise StageFailedError(
            f"{lost // MIB} of {total // MIB} MiB were not given back after they were freed "
            "(or another process took them meanwhile)", kind="memory_lost", lost=lost,
        )  # fmt: skip


def hold(job: Job, wanted: int) -> list[rt.DeviceBuffer]:
    """Blocks of up to 1 GiB that add up to ``wanted`` bytes, or to as much as there is."""
    held: list[rt.DeviceBuffer] = []
    block = min(BLOCK, max(VECTOR, wanted // VECTOR * VECTOR))
    while wanted >= VECTOR and block >= MIB // 16:
        try:
            size = min(block, wanted // VECTOR * VECTOR)
            held.append(rt.DeviceBuffer(size, device=job.device))
            wanted -= size
        except OutOfMemory:
            block //= 2  # fragmented, or others are using it: smaller pieces
    return held


def prove_pattern(job: Job) -> None:
    """Write an address-dependent pattern and its opposite over the share, and read it back."""
    write = job.kernel("base", "selftest_pattern_write", "PQQI")
    check = job.kernel("base", "selftest_pattern_check", "PQQIP")
    free, _ = job.device.memory
    held = hold(job, int(free * float(job.options["share"])))
    tested = sum(buffer.nbytes for buffer in held)
    if not held:
        raise StageFailedError("no memory was free for the pattern", kind="memory_lost")
    stream = job.stream()
    result = rt.DeviceBuffer(16, device=job.device)
    grid = max(1, int(job.device.describe()["multiprocessors"]) * 8)
    seeds = (0x2545F491,) if job.quick else (0x2545F491, 0xDABA0B6E)
    begin = time.perf_counter()
    for seed in seeds:
        result.copy_from(struct.pack("<QQ", 0, (1 << 64) - 1), stream=stream)
        for kernel, extra in ((write, ()), (check, (result,))):
            first = 0
            for buffer in held:
                vectors = buffer.nbytes // VECTOR
                kernel.launch(grid, THREADS, buffer, vectors, first, seed, *extra, stream=stream)
                first += vectors
        stream.synchronize()
        answer = bytearray(16)
        result.copy_to(answer, stream=stream)
        wrong, smallest = struct.unpack("<QQ", answer)
        if wrong:
            raise StageFailedError(
                f"{wrong} of {tested // VECTOR} 16-byte words do not hold what was written; the "
                f"first is {smallest * VECTOR} bytes into the tested memory",
                kind="memory_pattern", wrong=wrong, first=smallest * VECTOR,
            )  # fmt: skip
    seconds = time.perf_counter() - begin
    job.figure("memory tested", tested / MIB, "MiB")
    job.figure("share of free memory", 100 * tested / free, "%")
    job.figure("pattern rate", 2 * len(seeds) * tested / seconds / 1e9, "GB/s")
