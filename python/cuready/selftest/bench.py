"""Times engines: one, or two interleaved in one process, where alone they can be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cuready.runtime as rt

__all__ = ["Compared", "compare", "measure"]

ROUNDS, TURNS = 7, 10
STAGES = ("enqueue", "h2d", "gpu", "gpu_queued", "d2h", "latency")
QUEUED_SHARE = 1 / 6  # of the duration, as `Engine.benchmark` spends


@dataclass(frozen=True)
class Compared:
    """Two engines, round by round.

    ``ratios``: for each figure the median, over the rounds, of the second's over the first's.
    Inside a round both had the same clocks and the same neighbours on the machine: it is made of
    turns of some milliseconds each.
    """

    first: list[rt.BenchmarkReport]
    second: list[rt.BenchmarkReport]

    @property
    def ratios(self) -> dict[str, float]:
        made = {}
        for name in (*STAGES, "throughput"):
            pairs = [(_figure(a, name), _figure(b, name))
                     for a, b in zip(self.first, self.second, strict=True)]  # fmt: skip
            shares = [other / base for base, other in pairs if base > 0]
            if shares:
                made[name] = statistics.median(shares)
        return made

    def to_dict(self) -> dict[str, Any]:
        return {"first": [one.to_dict() for one in self.first],
                "second": [one.to_dict() for one in self.second],
                "ratios": self.ratios}  # fmt: skip

    def lines(self, names: tuple[str, str]) -> list[str]:
        made = [f"first: {names[0]}", f"second: {names[1]}",
                f"{'median':12}{'first':>12}{'second':>12}{'ratio':>8}"]  # fmt: skip
        ratios = self.ratios
        for name in STAGES:
            base, other = (_middle(side, name) for side in (self.first, self.second))
            ratio = f"{ratios[name]:8.3f}" if name in ratios else "       -"
            made.append(f"{name.replace('_', ', '):12}{base:9.4f} ms{other:9.4f} ms{ratio}")
        first, second = (_middle(side, "throughput") for side in (self.first, self.second))
        made.append(f"{'runs/s':12}{first:12.1f}{second:12.1f}{ratios['throughput']:8.3f}")
        made.append(f"{len(self.first)} rounds of {TURNS} turns of each, one after the other")
        return made


def _figure(report: rt.BenchmarkReport, name: str) -> float:
    """A stage's median in milliseconds, or runs a second."""
    value: float = report.throughput if name == "throughput" else getattr(report, name).median
    return value


def _middle(side: list[rt.BenchmarkReport], name: str) -> float:
    return statistics.median(_figure(one, name) for one in side)


def measure(engine: rt.Engine, duration: float, options: Mapping[str, Any]) -> rt.BenchmarkReport:
    return engine.benchmark(duration=duration, **options)


def compare(
    first: rt.Engine,
    second: rt.Engine,
    duration: float,
    options: tuple[Mapping[str, Any], Mapping[str, Any]],
    on_round: Callable[[int, int], None] | None = None,
) -> Compared:
    """Rounds of turns, A B B A …, so that a GPU that warms up or slows down is fair to both."""
    sides: tuple[list[rt.BenchmarkReport], list[rt.BenchmarkReport]] = ([], [])
    turn = duration / ROUNDS / TURNS
    for number in range(ROUNDS):
        # New contexts in each round: where their memory lies can make a difference, too.
        timed = [rt.Benchmark(engine, **given)
                 for engine, given in zip((first, second), options, strict=True)]  # fmt: skip
        spent = 0.0  # on queued runs: a batch of a slow plan can take longer than its turn
        for part in range(TURNS):
            order = timed if (number + part) % 2 == 0 else timed[::-1]
            for one in order:
                one.run(turn)
            if spent <= 2 * QUEUED_SHARE * turn * part:
                begin = time.monotonic()
                for one in order:
                    one.run_queued(turn * QUEUED_SHARE)
                spent += time.monotonic() - begin
        for side, one in zip(sides, timed, strict=True):
            side.append(one.report())
        if on_round is not None:
            on_round(number + 1, ROUNDS)
    return Compared(*sides)
