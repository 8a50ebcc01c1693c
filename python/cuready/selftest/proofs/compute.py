"""Proves that the driver compiles kernels and their numbers are right: fp32, fp16, tensor."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError

COUNT = 1 << 16
BLOCK = 256
TILES = 64
SIDE = 16
RATE_BLOCKS_PER_SM = 8
HALF_ONE, HALF_TINY = 0x3C00, 0x1400  # 1 and 2^-10


def prove_compute(job: Job) -> None:
    stream = job.stream()
    fp32(job, stream)
    rate_fp32(job, stream)
    checked = ["fp32"]
    if job.compute_capability >= (5, 3):
        fp16(job, stream)
        checked.append("fp16")
    if job.compute_capability >= (7, 0):
        tensor(job, stream)
        checked.append("tensor cores")
    if job.compute_capability >= (8, 0):
        rate_tensor(job, stream)
    job.fact("checked", checked)
    major, minor = job.compute_capability
    missing = [name for name in ("fp16", "tensor cores") if name not in checked]
    job.reason = (
        ", ".join(checked)
        + " right"
        + (f"; compute capability {major}.{minor} has no {', '.join(missing)}" if missing else "")
    )


def upload(job: Job, data: bytes, stream: rt.Stream) -> rt.DeviceBuffer:
    buffer = rt.DeviceBuffer(len(data), device=job.device)
    buffer.copy_from(data, stream=stream)
    return buffer


def download(buffer: rt.DeviceBuffer, stream: rt.Stream) -> bytes:
    data = bytearray(buffer.nbytes)
    buffer.copy_to(data, stream=stream)
    return bytes(data)


def compare(what: str, got: Sequence[float], wanted: Sequence[float]) -> None:
    """All of these results are exact in their type: any difference is an error."""
    wrong = [i for i, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b]
    if wrong:
        first = wrong[0]
        raise StageFailedError(
            f"{what}: {len(wrong)} of {len(wanted)} results are wrong; number {first} is "
            f"{got[first]!r} and should be {wanted[first]!r}",
            kind="compute_wrong", what=what, wrong=len(wrong), first=first,
        )  # fmt: skip


def fp32(job: Job, stream: rt.Stream) -> None:
    """y = a x + y where every product and sum has at most 24 bits."""
    a = 1.5
    x = array("f", [(i * 37 % 8191) / 64 for i in range(COUNT)])
    y = array("f", [(i * 101 % 4093) / 128 - 16 for i in range(COUNT)])
    kernel = job.kernel("base", "selftest_fma_f32", "PPfI")
    device_y, device_x = upload(job, y.tobytes(), stream), upload(job, x.tobytes(), stream)
    kernel.launch(COUNT // BLOCK, BLOCK, device_y, device_x, a, COUNT, stream=stream)
    stream.synchronize()  # the first kernel of all: what it does wrong is said here
    got = array("f", download(device_y, stream))
    compare("fp32", got, [a * p + q for p, q in zip(x, y, strict=True)])


def fp16(job: Job, stream: rt.Stream) -> None:
    """The same in halves, two a thread; results of at most 11 bits."""
    x = [(i * 7 % 61) / 4 for i in range(COUNT)]
    y = [(i * 13 % 29) / 4 - 3 for i in range(COUNT)]
    layout = f"<{COUNT}e"
    kernel = job.kernel("half", "selftest_fma_f16x2", "PPII")
    device_y = upload(job, struct.pack(layout, *y), stream)
    device_x = upload(job, struct.pack(layout, *x), stream)
    two = struct.unpack("<I", struct.pack("<2e", 2.0, 2.0))[0]
    kernel.launch(COUNT // 2 // BLOCK, BLOCK, device_y, device_x, two, COUNT // 2, stream=stream)
    got = struct.unpack(layout, download(device_y, stream))
    compare("fp16", got, [2 * p + q for p, q in zip(x, y, strict=True)])


def tensor(job: Job, stream: rt.Stream) -> None:
    """16 x 16 x 16 products of halves, summed in float32: exact for these numbers."""
    file = "tensor_sm80" if job.compute_capability >= (8, 0) else "tensor_sm70"
    size = TILES * SIDE * SIDE
    a = [((i * 29 + i // 251) % 33 - 16) / 8 for i in range(size)]
    b = [((i * 31 + i // 127) % 17 - 8) / 4 for i in range(size)]
    layout = f"<{size}e"
    kernel = job.kernel(file, "selftest_tensor_f16", "PPPI")
    device_d = rt.DeviceBuffer(4 * size, device=job.device)
    rt.fill(device_d, 0xFF, stream=stream)  # NaN where nothing is written
    device_a = upload(job, struct.pack(layout, *a), stream)
    device_b = upload(job, struct.pack(layout, *b), stream)
    kernel.launch(TILES, 32, device_d, device_a, device_b, TILES, stream=stream)
    compare("tensor cores", array("f", download(device_d, stream)), products(a, b))


def products(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """d[tile][row][column] on the CPU; ``b`` is stored column by column."""
    wanted: list[float] = []
    for tile in range(TILES):
        base = tile * SIDE * SIDE
        rows = [a[base + r * SIDE : base + (r + 1) * SIDE] for r in range(SIDE)]
        columns = [b[base + c * SIDE : base + (c + 1) * SIDE] for c in range(SIDE)]
        wanted += [
            sum(p * q for p, q in zip(row, column, strict=True))
            for row in rows
            for column in columns
        ]
    return wanted


def timed(job: Job, stream: rt.Stream, launch: object) -> float:
    """Milliseconds of device time of the second of two launches."""
    assert callable(launch)  # noqa: S101 - ours
    launch()
    start, end = (rt.Event(timing=True, device=job.device) for _ in range(2))
    start.record(stream)
    launch()
    end.record(stream)
    end.synchronize()
    return end.milliseconds_since(start)


def rate_fp32(job: Job, stream: rt.Stream) -> None:
    """Speed of multiply-and-add, from eight independent chains in each thread."""
    blocks = int(job.device.describe()["multiprocessors"]) * RATE_BLOCKS_PER_SM
    rounds = 4096 if job.quick else 16384
    kernel = job.kernel("base", "selftest_rate_f32", "PffI")
    out = rt.DeviceBuffer(4 * blocks * BLOCK, device=job.device)
    ms = timed(job, stream, lambda: kernel.launch(blocks, BLOCK, out, 0.5, 1.0, rounds,
                                                  stream=stream))  # fmt: skip
    got = array("f", download(out, stream))
    compare("fp32 in a loop", got, [16.0] * len(got))
    job.figure("fp32", 2 * 8 * rounds * blocks * BLOCK / max(ms, 1e-6) / 1e9, "TFLOP/s")


def rate_tensor(job: Job, stream: rt.Stream) -> None:
    """Speed of mma.sync m16n8k16; since Hopper wgmma is faster, so this is no peak there."""
    blocks = int(job.device.describe()["multiprocessors"]) * RATE_BLOCKS_PER_SM
    rounds = 4096 if job.quick else 16384
    kernel = job.kernel("tensor_sm80", "selftest_rate_tensor", "PIII")
    out = rt.DeviceBuffer(4 * blocks * BLOCK, device=job.device)
    one, tiny = HALF_ONE * 0x10001, HALF_TINY * 0x10001
    ms = timed(job, stream, lambda: kernel.launch(blocks, BLOCK, out, one, tiny, rounds,
                                                  stream=stream))  # fmt: skip
    got = array("f", download(out, stream))
    compare("tensor cores in a loop", got, [4 * rounds / 64] * len(got))
    warps = blocks * BLOCK // 32
    flop = 2 * 16 * 8 * 16 * 4 * rounds * warps
    job.figure("tensor cores fp16, mma.sync", flop / max(ms, 1e-6) / 1e9, "TFLOP/s")
