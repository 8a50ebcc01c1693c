"""Proves that data reach the other GPUs unchanged, and measures how fast."""

from __future__ import annotations

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError, StageSkippedError
from cuready.selftest.proofs.copies import _pattern

MIB = 1 << 20


def prove_peers(job: Job) -> None:
    count = rt.device_count()
    if count < 2:
        raise StageSkippedError("there is one GPU")
    size = 16 * MIB if job.quick else 128 * MIB
    devices = [rt.Device(ordinal) for ordinal in range(count)]
    direct = 0
    pairs = [(a, b) for a in devices for b in devices if a != b]
    for source, target in pairs:
        reaches = rt.can_access_peer(target, source)
        if reaches:
            rt.enable_peer_access(target, source)
            direct += 1
        rate = transfer(source, target, size)
        how = "direct" if reaches else "through the host"
        job.figure(f"GPU {source.ordinal} to GPU {target.ordinal}, {how}", rate, "GB/s")
    job.reason = f"{len(pairs)} pairs, {direct} of them direct"


def transfer(source: rt.Device, target: rt.Device, size: int) -> float:
    """Copy a pattern from one GPU to the other, check it on the host; GB/s."""
    outgoing, incoming = rt.Stream(source), rt.Stream(target)
    wanted = _pattern(size, 1 + source.ordinal * 7 + target.ordinal)
    sent = rt.DeviceBuffer(size, device=source)
    arrived = rt.DeviceBuffer(size, device=target)
    sent.copy_from(wanted, stream=outgoing)
    outgoing.synchronize()
    rt.copy_peer(arrived, sent, stream=incoming)  # the first one sets the path up
    start, end = (rt.Event(timing=True, device=target) for _ in range(2))
    start.record(incoming)
    for _ in range(4):
        rt.copy_peer(arrived, sent, stream=incoming)
    end.record(incoming)
    end.synchronize()
    got = bytearray(size)
    arrived.copy_to(got, stream=incoming)
    if got != wanted:
        raise StageFailedError(
            f"bytes changed between GPU {source.ordinal} and GPU {target.ordinal}",
            kind="peer_corrupt", source=source.ordinal, target=target.ordinal,
        )  # fmt: skip
    return 4 * size / max(end.milliseconds_since(start), 1e-6) / 1e6
