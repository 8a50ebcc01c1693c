"""How many runs the plain loop of ci/gpu_bench.py queues: as many as the host can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.gpu_suite.scripts import script

bench = script("gpu_bench")


def plan_of(capacity: int, calls: list[int], *, kept: int = 100) -> Callable[[int], int]:
    """A plain loop whose driver holds ``capacity`` runs."""

    def call(count: int) -> int:
        calls.append(count)
        return kept if count <= capacity else bench.HOST_STALLED

    return call


def test_each_stall_is_paid_for_once_in_all_contexts_of_a_plan() -> None:
    queue, calls = bench.Queue(), []
    call = plan_of(20, calls)
    assert [queue.fill(64, call) for _ in range(3)] == [100, 100, 100]
    assert calls == [64, 32, 16, 16, 16]
    assert str(queue) == "ours 64, plain 16; the host stalled with 64, 32"


def test_fewer_than_was_found_are_still_what_is_asked_for() -> None:
    queue, calls = bench.Queue(), []
    call = plan_of(20, calls)
    for at_once in (64, 8, 64):
        assert queue.fill(at_once, call) == 100
    assert calls == [64, 32, 16, 8, 16]
    assert str(queue) == "ours 8/64, plain 8/16; the host stalled with 64, 32"


@pytest.mark.parametrize("at_once", [2, 3, 64])
def test_a_host_that_stalls_with_two_is_asked_no_further(at_once: int) -> None:
    queue, calls = bench.Queue(), []
    assert queue.fill(at_once, plan_of(1, calls)) == bench.HOST_STALLED
    assert queue.hopeless
    assert calls[-1] == 2
    assert len(calls) == len(set(calls))


def test_another_error_is_given_at_once() -> None:
    queue, calls = bench.Queue(), []
    assert queue.fill(64, plan_of(64, calls, kept=-2)) == -2
    assert calls == [64]
    assert not queue.hopeless


@pytest.mark.parametrize(("capacity", "words"), [(5, "plain 4"), (1, "plain none")])
def test_the_other_figures_of_a_plan_stay(
    capacity: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sides with times of 1 ms, and a driver that holds ``capacity`` runs of this plan."""

    class Ours:
        queues = True

        def __init__(self, engine: Any) -> None:
            self.timed = self

        def run(self, seconds: float) -> None:
            pass

        run_queued = run

        def at_once(self) -> int:
            return 64

        def median(self, figure: str) -> float:
            return 1.0

    class Library:
        @staticmethod
        def plain_queued(count: int, seconds: float, most: int, gpu: Any) -> int:
            gpu[: count - 1] = [1.0] * (count - 1)
            return plan_of(capacity, [], kept=count - 1)(count)

    class Plain(bench.Plain):  # type: ignore[name-defined,misc]
        def __init__(self, engine: Any) -> None:
            self.call, self.samples = (), {name: [] for name in bench.FIGURES}

        def turn(self, warmup: float, seconds: float, *, keep: bool = False) -> None:
            for figure in ("gpu", "enqueue"):
                self.samples[figure].append(bench.np.ones(4))

        def begun_early(self, seconds: float) -> float:
            return 0.0

    monkeypatch.setattr(bench, "Ours", Ours)
    monkeypatch.setattr(bench, "Plain", Plain)
    monkeypatch.setattr(bench, "plain_library", Library)
    queued, running, enqueue = bench.bench_rows(None, "small", brief=True)
    assert queued["what"] == "small, GPU time, queued"
    assert queued["met"] is (True if capacity > 1 else None)
    assert [running["met"], enqueue["met"]] == [True, True]
    assert f"small, runs queued at once: ours 64, {words}" in queued["problems"][0]
