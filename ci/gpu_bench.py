"""`engine bench` and a plain C++ loop over one plan, in turns of some milliseconds.

A round makes new contexts for each side, since where their memory lies can make a difference; its
turns alternate. The plain loop runs twice in each: what it differs from itself is the noise below
which nothing can be told. Three figures are compared:

- GPU time, queued: runs that the host queued before the GPU began with them. The GPU's own time.
- GPU time, running: the time between trtexec's two events while two runs are under way. Where the
  host submits more slowly than the GPU computes, the GPU has begun such a run before the host has
  queued it, and the time between the events is the host's. Such a plan's figure is shown and not
  judged: it says how fast the host is, as the enqueue time does.
- enqueue: host time of the call.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gpu_plain import Row, plain_library

GPU_SHARE, ENQUEUE_SHARE = 0.01, 0.05
# Seconds. A plan takes ROUNDS × 3 × (WARMUP_S + TURNS × (TURN_S + QUEUED_S)), and the making.
ROUNDS, TURNS, TURN_S, QUEUED_S, WARMUP_S = 7, 8, 0.025, 0.015, 0.05
MOST_RUNS = 200_000
HOST_STALLED = -3  # the plain loop's word for a batch that the host could not queue in time
LEAST_QUEUED = 2  # the first run of each batch is not kept
HOST_BOUND = 0.5  # share of runs that the GPU began before they were queued
FIGURES = {"gpu_queued": ("GPU time, queued", GPU_SHARE), "gpu": ("GPU time, running", GPU_SHARE),
           "enqueue": ("enqueue", ENQUEUE_SHARE)}  # fmt: skip

Samples = dict[str, list[np.ndarray]]


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Every side on the same core: cores differ in clock and in what else they do."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def middle(samples: np.ndarray) -> float:
    """The mid-distribution median: stamps come in steps, and half of a step can be a percent."""
    values, counts = np.unique(samples, return_counts=True)
    return float(np.interp(len(samples) / 2, np.cumsum(counts) - counts / 2, values))


@dataclass
class Queue:
    """How many runs of one plan the plain loop queues at once, in all its contexts and rounds.

    What fits into the driver's queue is less for some plans than what ours asks for. The GPU's time
    of a run does not depend on how many wait behind it, so that the plain loop may queue fewer.
    """

    most: int | None = None  # the smallest number that was found; a stall costs its 100 ms once
    asked: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)
    stalls: list[int] = field(default_factory=list)

    @property
    def hopeless(self) -> bool:
        return LEAST_QUEUED in self.stalls

    def fill(self, at_once: int, call: Callable[[int], int]) -> int:
        """What ``call`` gives with as many runs of ``at_once`` as do not stall the host."""
        self.asked.add(at_once)
        count = min(at_once, self.most or at_once)
        while (runs := call(count)) == HOST_STALLED:
            self.stalls.append(count)
            if count <= LEAST_QUEUED:
                return runs
            count = self.most = max(LEAST_QUEUED, count // 2)
        self.used.add(count)
        return runs

    def __str__(self) -> str:
        ours, plain = ("/".join(map(str, sorted(numbers))) or "none"
                       for numbers in (self.asked, self.used))  # fmt: skip
        stalled = f"; the host stalled with {', '.join(map(str, self.stalls))}" * bool(self.stalls)
        return f"ours {ours}, plain {plain}{stalled}"


class Plain:
    """TensorRT's own call on a context, with buffers and a stream, as a C++ program has them."""

    def __init__(self, engine: Any) -> None:
        import cuready.runtime as rt

        self.context, self.stream = engine.create_context(profile=0), rt.Stream(engine.device)
        opt = engine.profiles[0].opt
        feeds = {name: rt.DeviceBuffer(opt.get(name, info.shape), info.dtype, device=engine.device)
                 for name, info in engine.inputs.items()}  # fmt: skip
        for buffer in feeds.values():
            rt.fill(buffer, 0, stream=self.stream)
        shapes = self.context.shapes({name: buffer.shape for name, buffer in feeds.items()})
        outputs = {name: rt.DeviceBuffer(shapes[name], info.dtype, device=engine.device)
                   for name, info in engine.outputs.items()}  # fmt: skip
        self.context.run(feeds, outputs, stream=self.stream)  # binds what the plain loop runs on
        self.stream.synchronize()
        self.kept = feeds, outputs
        self.call = (*self.context._native_handle(), self.stream.handle)
        self.samples: Samples = {name: [] for name in FIGURES}
        self.turn(WARMUP_S, 0.0)

    def turn(self, warmup: float, seconds: float, *, keep: bool = False) -> None:
        enqueue, gpu = ((ctypes.c_double * MOST_RUNS)() for _ in range(2))
        runs = plain_library().plain_engine(*self.call, warmup, seconds, MOST_RUNS, enqueue, gpu,
                                            None)  # fmt: skip
        if runs < 0:
            raise RuntimeError(f"the plain loop gave {runs}")
        if keep:
            self.samples["enqueue"].append(np.array(enqueue[:runs]))
            self.samples["gpu"].append(np.array(gpu[:runs]))

    def turn_queued(self, seconds: float, at_once: int, queue: Queue) -> None:
        if queue.hopeless:
            return
        gpu = (ctypes.c_double * MOST_RUNS)()
        runs = queue.fill(at_once, lambda count: int(
            plain_library().plain_queued(*self.call, count, seconds, MOST_RUNS, gpu)))  # fmt: skip
        if runs == HOST_STALLED:
            return
        if runs < 0:
            raise RuntimeError(f"the plain loop gave {runs} with its runs queued")
        self.samples["gpu_queued"].append(np.array(gpu[:runs]))

    def begun_early(self, seconds: float) -> float:
        """Share of runs that the GPU began before the host had queued all of them."""
        enqueue, gpu = ((ctypes.c_double * MOST_RUNS)() for _ in range(2))
        early = ctypes.c_int()
        runs = plain_library().plain_engine(*self.call, 0.0, seconds, MOST_RUNS, enqueue, gpu,
                                            ctypes.byref(early))  # fmt: skip
        if runs <= 0:
            raise RuntimeError(f"the plain loop gave {runs}")
        return early.value / runs

    def median(self, figure: str) -> float:
        return middle(np.concatenate(self.samples[figure]))


class Ours:
    """`engine bench`'s own loop; its figures are those of its report."""

    def __init__(self, engine: Any) -> None:
        import cuready.runtime as rt

        self.timed = rt.Benchmark(engine, warmup=WARMUP_S, transfers=False)
        self.timed.run_queued(0.0)  # finds how many runs can be queued
        self.queues = not self.timed.report().queued_reason

    def at_once(self) -> int:
        return int(self.timed.report().queued_at_once)

    def median(self, figure: str) -> float:
        return float(getattr(self.timed.report(), figure).median)


def one_round(
    engine: Any, number: int, seconds: tuple[float, float], queue: Queue
) -> tuple[Row, Plain]:
    """Medians of the three sides, and one of the plain sides with its samples."""
    ours = Ours(engine)
    sides: dict[str, Plain] = {"plain": Plain(engine), "again": Plain(engine)}
    names = ["ours", *sides]
    for turn in range(TURNS):
        first = (turn + number) % 3
        order = names[first:] + names[:first]
        order = order if (turn + number) % 2 == 0 else order[::-1]
        for name in order:
            if name == "ours":
                ours.timed.run(seconds[0])
            else:
                # Its own threads are new in each turn, as ours are: some runs are for them.
                sides[name].turn(0.0, seconds[0], keep=True)
        if not ours.queues:
            continue
        for name in order:
            if name == "ours":
                ours.timed.run_queued(seconds[1])
            else:
                sides[name].turn_queued(seconds[1], ours.at_once(), queue)
    queued = ours.queues and not queue.hopeless
    figures = [name for name in FIGURES if queued or name != "gpu_queued"]
    made = {figure: {"ours": ours.median(figure),
                     **{name: side.median(figure) for name, side in sides.items()}}
            for figure in figures}  # fmt: skip
    return made, sides["plain"]


def paired(ours: list[float], peers: list[float]) -> float:
    """How far the median of the ratios of what was measured side by side is from 1."""
    return statistics.median(a / b for a, b in zip(ours, peers, strict=True)) - 1


def judged(name: str, figure: str, rounds: list[Row], *, host_bound: bool) -> Row:
    words, share = FIGURES[figure]
    ours, plain, again = ([one[figure][side] for one in rounds]
                          for side in ("ours", "plain", "again"))  # fmt: skip
    peers = [(a + b) / 2 for a, b in zip(plain, again, strict=True)]
    off, noise = paired(ours, peers), paired(again, plain)
    return {
        "what": f"{name}, {words}",
        "ours": f"{1000 * statistics.median(ours):.5g} µs",
        "peer": f"{1000 * statistics.median(peers):.5g} µs",
        "result": f"{100 * off:+.2f} % (plain against itself {100 * noise:+.2f} %)",
        "limit": "none: the host's time" if host_bound else f"{100 * share:g} %",
        "met": None if host_bound else abs(off) <= share,
        "rounds": [{"ours": a, "plain": b, "again": c}
                   for a, b, c in zip(ours, plain, again, strict=True)],
    }  # fmt: skip


def stalled_row(name: str) -> Row:
    return {"what": f"{name}, {FIGURES['gpu_queued'][0]}", "met": None,
            "result": f"the plain loop's host stalled with {LEAST_QUEUED} runs queued: "
                      "there is nothing to compare with"}  # fmt: skip


def stamps(samples: np.ndarray) -> Row:
    """How coarse the times are: the step between them in ns, and the commonest of them."""
    nanoseconds = np.rint(samples * 1e6).astype(np.int64)
    steps = np.diff(np.unique(nanoseconds))
    values = Counter(nanoseconds.tolist())
    return {"runs": len(samples), "step_ns": int(steps.min()) if len(steps) else 0,
            "steps_between": {int(k): v for k, v in Counter(steps.tolist()).most_common(4)},
            "commonest_ns": {int(k): round(v / len(samples), 4)
                             for k, v in values.most_common(10)}}  # fmt: skip


def bench_rows(engine: Any, name: str, *, brief: bool) -> list[Row]:
    """The rows of one plan; ``brief`` for a trial of the script without a GPU."""
    rounds_wanted, seconds = (2, (0.005, 0.002)) if brief else (ROUNDS, (TURN_S, QUEUED_S))
    rounds, queue = [], Queue()
    with one_core():
        for number in range(rounds_wanted):
            made, plain = one_round(engine, number, seconds, queue)
            rounds.append(made)
        early = plain.begun_early(10 * seconds[0])
    pooled = {figure: np.concatenate(plain.samples[figure]) for figure in ("gpu_queued", "gpu")
              if plain.samples[figure]}  # fmt: skip
    diagnosis = {figure: stamps(samples) for figure, samples in pooled.items()}
    figures = [figure for figure in FIGURES if all(figure in one for one in rounds)]
    host_bound = early > HOST_BOUND and "gpu_queued" in figures
    rows = [judged(name, figure, rounds, host_bound=host_bound and figure == "gpu")
            for figure in figures]  # fmt: skip
    if queue.hopeless:
        rows.insert(0, stalled_row(name))
    rows[0]["problems"] = [
        f"{name}, runs queued at once: {queue}",
        f"{name}: {100 * early:.0f} % of the plain loop's runs were begun by the GPU before the "
        "host had queued them",
        *(f"{name}, {figure}: {one['runs']} runs in the last round, stamps in steps of "
          f"{one['step_ns']} ns, commonest {one['commonest_ns']}"
          for figure, one in diagnosis.items()),
    ]  # fmt: skip
    rows[0]["diagnosis"] = {"begun_early": early, **diagnosis}
    return rows


def plan_name(path: Path) -> str:
    return path.name.partition(".")[0]
