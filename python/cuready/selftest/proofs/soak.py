"""Proves that results stay right while the GPU works for minutes, and watches it through NVML."""

from __future__ import annotations

import time
from array import array
from typing import Any

import cuready.runtime as rt
from cuready.selftest.job import Job, StageFailedError
from cuready.selftest.watch import Watch

BLOCK = 256
PERIOD_S = 1.0


def prove_soak(job: Job) -> None:
    """Tensor cores or float32 and memory at full load; every round's result is checked."""
    end_at = time.monotonic() + float(job.options["minutes"]) * 60
    load = Load(job)
    rounds = 0
    with Watch(job.device.describe()["uuid"]) as watch:
        watch.sample()
        next_sample = time.monotonic() + PERIOD_S
        while time.monotonic() < end_at:
            load.round()
            rounds += 1
            if time.monotonic() >= next_sample:
                sample = watch.sample()
                job.say({"event": "progress", "stage": job.stage, "sample": sample})
                next_sample = time.monotonic() + PERIOD_S
                problem = watch.problem()
                if problem is not None:
                    report(job, watch, rounds)
                    raise StageFailedError(problem.text, kind=problem.kind, **problem.details)
        watch.sample()
        problem = watch.problem()
        report(job, watch, rounds)
    if problem is not None:
        raise StageFailedError(problem.text, kind=problem.kind, **problem.details)
    job.reason = f"{rounds} rounds, every result right" + watch.remark()


class Load:
    """Work that keeps the arithmetic units and the memory busy, with a result to check."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stream = job.stream()
        self.blocks = int(job.device.describe()["multiprocessors"]) * 8
        self.out = rt.DeviceBuffer(4 * self.blocks * BLOCK, device=job.device)
        free, _ = job.device.memory
        size = min(1 << 30, free // 8 // 65536 * 65536)
        self.pair = [rt.DeviceBuffer(size, device=job.device) for _ in range(2)]
        self.tensor = job.compute_capability >= (8, 0)
        name = "selftest_rate_tensor" if self.tensor else "selftest_rate_f32"
        file = "tensor_sm80" if self.tensor else "base"
        self.kernel = job.kernel(file, name, "PIII" if self.tensor else "PffI")
        self.rounds = 16384
        self.wanted = 4 * self.rounds / 64 if self.tensor else 16.0

    def round(self) -> None:
        rt.fill(self.out, 0xFF, stream=self.stream)
        arguments: tuple[Any, ...] = (
            (0x3C003C00, 0x14001400, self.rounds) if self.tensor else (0.5, 1.0, self.rounds)
        )
        for _ in range(4):
            self.kernel.launch(self.blocks, BLOCK, self.out, *arguments, stream=self.stream)
            self.pair[0].copy_from(self.pair[1], stream=self.stream)
        got = array("f", bytes(self.out.nbytes))
        self.out.copy_to(got, stream=self.stream)
        if got.count(self.wanted) != len(got):
            wrong = len(got) - got.count(self.wanted)
            raise StageFailedError(
                f"{wrong} of {len(got)} results became wrong under load",
                kind="soak_wrong", wrong=wrong,
            )  # fmt: skip


def report(job: Job, watch: Watch, rounds: int) -> None:
    job.figure("rounds", rounds, "")
    for name, unit, values in watch.curves():
        times = [round(at, 2) for at, _ in values]
        numbers = [number for _, number in values]
        job.line(f"over time, {unit}", name, times, numbers, ("s", unit))
        job.figure(f"{name}, highest", max(numbers), unit)
    job.fact("watch", watch.summary())
