"""Times engines: one, or two interleaved in one process, where alone they can be compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cuready.runtime as rt

__all__ = ["Compared", "compare", "measure"]

ROUNDS = 7
STAGES = ("enqueue", "h2d", "gpu", "d2h", "latency")


@dataclass(frozen=True)
class Compared:
    """Two engines. ``ratios``: the second's median over the first's, one value for each figure."""

    first: list[rt.BenchmarkReport]
    second: list[rt.BenchmarkReport]

    @property
    def ratios(self) -> dict[str, float]:
        made = {}
        for name in STAGES:
            base, other = (_middle(side, name) for side in (self.first, self.second))
            if base > 0:
                made[name] = other / base
        base = statistics.median(one.throughput for one in self.first)
        if base > 0:
            made["throughput"] = statistics.median(one.throughput for one in self.second) / base
        return made

    def to_dict(self) -> dict[str, Any]:
        return {"first": [one.to_dict() for one in self.first],
                "second": [one.to_dict() for one in self.second],
                "ratios": self.ratios}  # fmt: skip

    def lines(self, names: tuple[str, str]) -> list[str]:
        made = [f"first: {names[0]}", f"second: {names[1]}",
                f"{'median':12}{'first':>12}{'second':>12}{'ratio':>8}"]  # fmt: skip
        for name in STAGES:
            base, other = (_middle(side, name) for side in (self.first, self.second))
            ratio = f"{other / base:8.3f}" if base > 0 else "       -"
            made.append(f"{name:12}{base:9.4f} ms{other:9.4f} ms{ratio}")
        first, second = (
            statistics.median(one.throughput for one in side) for side in (self.first, self.second)
        )
        made.append(f"{'runs/s':12}{first:12.1f}{second:12.1f}{self.ratios['throughput']:8.3f}")
        made.append(f"{len(self.first)} rounds of each, one after the other in turn")
        return made


def _middle(side: list[rt.BenchmarkReport], name: str) -> float:
    medians: list[float] = [getattr(one, name).median for one in side]
    return statistics.median(medians)


def measure(engine: rt.Engine, duration: float, options: Mapping[str, Any]) -> rt.BenchmarkReport:
    return engine.benchmark(duration=duration, **options)


def compare(
    first: rt.Engine,
    second: rt.Engine,
    duration: float,
    options: tuple[Mapping[str, Any], Mapping[str, Any]],
    on_round: Callable[[int, int], None] | None = None,
) -> Compared:
    """Rounds in turn, A B B A …, so that a GPU that warms up or slows down is fair to both."""
    sides: tuple[list[rt.BenchmarkReport], list[rt.BenchmarkReport]] = ([], [])
    engines = (first, second)
    for number in range(ROUNDS):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            report = measure(engines[index], duration / ROUNDS, options[index])
            sides[index].append(report)
        if on_round is not None:
            on_round(number + 1, ROUNDS)
    return Compared(*sides)
