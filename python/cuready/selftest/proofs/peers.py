"""Proves that data reach the other GPUs unchanged, and measures how fast: one way and both ways."""

from __future__ import annotations

import itertools
import os

import cuready.runtime as rt
from cuready.errors import CudaError
from cuready.selftest.job import Job, StageFailedError, StageSkippedError
from cuready.selftest.proofs.copies import difference, pattern

MIB = 1 << 20
# CUresult: the compute mode or another process keeps this GPU to itself; and a context can have
# as many peers as the hardware has links for, the others are reached through the host.
DEVICE_UNAVAILABLE, TOO_MANY_PEERS = 46, 711


def prove_peers(job: Job) -> None:
    devices, kept_away = usable(rt.device_count())
    job.fact("gpus", [{key: device.describe().get(key) for key in ("name", "uuid", "pci_bus_id")}
                      | {"ordinal": device.ordinal} for device in devices])  # fmt: skip
    if len(devices) < 2:
        raise StageSkippedError(alone(kept_away))
    direct = 0
    for first, second in itertools.combinations(devices, 2):
        free = min(device.memory[0] for device in (first, second))
        size = min((16 if job.quick else 128) * MIB, free // 8 // MIB * MIB or MIB)
        pair = (Route(first, second, size), Route(second, first, size))
        for route in pair:
            job.figure(f"{route.name}, {route.how}", route.measure(job.quick), "GB/s")
            route.check()
            direct += route.direct
        how = pair[0].how if pair[0].how == pair[1].how else "direct one way"
        name = f"GPU {first.ordinal} and GPU {second.ordinal}, both ways at once, {how}"
        job.figure(name, both_ways(pair, job.quick), "GB/s")
        for route in pair:
            route.check()
    pairs = len(devices) * (len(devices) - 1)
    job.reason = f"{pairs} ways between {len(devices)} GPUs, {direct} of them direct"
    job.reason += "".join(f"; {words}" for words in kept_away)


def usable(count: int) -> tuple[list[rt.Device], list[str]]:
    """The GPUs that give us a context, and words on those that others keep to themselves."""
    devices, kept_away = [], []
    for ordinal in range(count):
        try:
            device = rt.Device(ordinal)
            rt.Stream(device).synchronize()
        except CudaError as error:
            if error.code != DEVICE_UNAVAILABLE:
                raise
            kept_away.append(f"GPU {ordinal} is kept by its compute mode or another process")
        else:
            devices.append(device)
    return devices, kept_away


def alone(kept_away: list[str]) -> str:
    if kept_away:
        return f"there is one GPU to use: {'; '.join(kept_away)}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "there is one GPU" if visible is None else f"CUDA_VISIBLE_DEVICES={visible}: one GPU"


class Route:
    """The way from one GPU to another, with a pattern to send. The target's stream does the copy,
    so the target must reach the source for the copy to be direct."""

    def __init__(self, source: rt.Device, target: rt.Device, size: int) -> None:
        self.source, self.target, self.size = source, target, size
        self.name = f"GPU {source.ordinal} to GPU {target.ordinal}"
        self.direct = connect(target, source)
        self.how = "direct" if self.direct else "through the host"
        self.stream = rt.Stream(target)
        self.wanted = pattern(size, 1 + source.ordinal * 7 + target.ordinal)
        self.sent = rt.DeviceBuffer(size, device=source)
        self.arrived = rt.DeviceBuffer(size, device=target)
        outgoing = rt.Stream(source)
        self.sent.copy_from(self.wanted, stream=outgoing)
        outgoing.synchronize()

    def copy(self, times: int = 1) -> None:
        for _ in range(times):
            rt.copy_peer(self.arrived, self.sent, stream=self.stream)

    def timed(self, times: int) -> float:
        """Milliseconds on the target's stream."""
        start, end = (rt.Event(timing=True, device=self.target) for _ in range(2))
        start.record(self.stream)
        self.copy(times)
        end.record(self.stream)
        end.synchronize()
        return max(end.milliseconds_since(start), 1e-6)

    def measure(self, quick: bool) -> float:
        """GB/s, the best of three: of copies that last long enough for the clock to be exact."""
        rt.fill(self.arrived, 0, stream=self.stream)  # so that a copy that never happens shows
        self.timed(1)  # the first one sets the way up
        times = repeats(self.timed(1), quick)
        return times * self.size / min(self.timed(times) for _ in range(3)) / 1e6

    def check(self) -> None:
        got = bytearray(self.size)
        self.arrived.copy_to(got, stream=self.stream)
        self.stream.synchronize()
        if got == self.wanted:
            return
        wrong, first = difference(self.wanted, got)
        raise StageFailedError(
            f"{wrong} of {self.size} bytes changed from {self.name}, {self.how}; the first is "
            f"byte {first}", kind="peer_corrupt", source=self.source.ordinal,
            target=self.target.ordinal, direct=self.direct, wrong=wrong, first=first,
        )  # fmt: skip


def connect(device: rt.Device, peer: rt.Device) -> bool:
    """Whether ``device`` reads the memory of ``peer`` itself from now on."""
    if not rt.can_access_peer(device, peer):
        return False
    try:
        rt.enable_peer_access(device, peer)
    except CudaError as error:
        if error.code != TOO_MANY_PEERS:
            raise
        return False
    return True


def repeats(once_ms: float, quick: bool) -> int:
    return max(2, min(200, int((5 if quick else 40) / once_ms)))


def both_ways(pair: tuple[Route, Route], quick: bool) -> float:
    """GB/s of both directions together, while both are under way."""
    one, other = pair
    times = repeats(one.timed(1) + other.timed(1), quick)
    for route in pair:
        rt.fill(route.arrived, 0, stream=route.stream)
        route.stream.synchronize()
    start, end = (rt.Event(timing=True, device=one.target) for _ in range(2))
    start.record(one.stream)
    other.stream.wait(start)
    for _ in range(times):  # in turn, so that neither direction has begun much before the other
        one.copy()
        other.copy()
    one.stream.wait(other.stream.record())
    end.record(one.stream)
    end.synchronize()
    return 2 * times * one.size / max(end.milliseconds_since(start), 1e-6) / 1e6
