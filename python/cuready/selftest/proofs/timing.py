"""Proves that kernels on two streams overlap, and that events measure the time that passes."""

from __future__ import annotations

import os
import struct
import time

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError

SPIN_MS = 20.0
MILLION = 1_000_000


def spin(job: Job, stream: rt.Stream, result: rt.DeviceBuffer, milliseconds: float) -> None:
    kernel = job.kernel("base", "selftest_spin", "PQ")
    kernel.launch(1, 1, result, int(milliseconds * MILLION), stream=stream)


def prove_overlap(job: Job) -> None:
    """Two kernels of known length: one after the other takes both lengths, overlapped one."""
    first, second = job.stream(), job.stream()
    results = [rt.DeviceBuffer(16, device=job.device) for _ in range(2)]
    spin(job, first, results[0], 0.1)  # compiled and loaded before anything is timed
    spin(job, second, results[1], 0.1)
    first.synchronize()
    second.synchronize()
    one_by_one = both(job, (first, first), results)
    together = min(both(job, (first, second), results) for _ in range(3))
    ratio = one_by_one / together
    job.figure("one after the other", one_by_one, "ms")
    job.figure("on two streams", together, "ms")
    job.figure("overlap", ratio, "x")
    judge_overlap(ratio)


def both(job: Job, streams: tuple[rt.Stream, rt.Stream], results: list[rt.DeviceBuffer]) -> float:
    begin = time.perf_counter()
    for stream, result in zip(streams, results, strict=True):
        spin(job, stream, result, SPIN_MS)
    for stream in streams:
        stream.synchronize()
    return (time.perf_counter() - begin) * 1000


def judge_overlap(ratio: float) -> None:
    """Full overlap is 2; below 1.5 something makes the streams wait for each other."""
    if ratio >= 1.5:
        return
    causes = [
        f"{name}={os.environ[name]} is set"
        for name in ("CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_MAX_CONNECTIONS")
        if os.environ.get(name) not in (None, "", "0")
    ]
    why = "; ".join(causes) or "a busy GPU, a debugger or a profiler can be the cause"
    raise StageFailedError(
        f"two streams take {2 / ratio:.2f} times as long as one kernel instead of 1: {why}",
        kind="no_overlap", ratio=ratio,
    )  # fmt: skip


def prove_events(job: Job) -> None:
    """A kernel that runs for a known time, by the GPU's timer, by events and by the host."""
    stream = job.stream()
    result = rt.DeviceBuffer(16, device=job.device)
    spin(job, stream, result, 0.1)
    stream.synchronize()
    start, end = (rt.Event(timing=True, device=job.device) for _ in range(2))
    begin = time.perf_counter()
    start.record(stream)
    spin(job, stream, result, SPIN_MS)
    end.record(stream)
    end.synchronize()
    host = (time.perf_counter() - begin) * 1000
    answer = bytearray(16)
    result.copy_to(answer, stream=stream)
    nanoseconds, cycles = struct.unpack("<QQ", answer)
    events = end.milliseconds_since(start)
    timer = nanoseconds / MILLION
    job.figure("asked of the kernel", SPIN_MS, "ms")
    job.figure("by the GPU's timer", timer, "ms")
    job.figure("by events", events, "ms")
    job.figure("by the host", host, "ms")
    job.figure("clock while spinning", cycles / max(timer, 1e-6) / 1000, "MHz")
    judge_events(timer, events, host)


def judge_events(timer: float, events: float, host: float) -> None:
    """Events enclose the kernel, and the host encloses the events; 1 ms or 5 % of slack each."""
    slack = max(1.0, 0.05 * SPIN_MS)
    if timer < SPIN_MS * 0.95 or events < timer - slack or events > host + slack:
        raise StageFailedError(
            f"the clocks disagree: {timer:.2f} ms by the GPU's timer, {events:.2f} ms by events, "
            f"{host:.2f} ms by the host", kind="events_wrong",
            timer=timer, events=events, host=host,
        )  # fmt: skip
