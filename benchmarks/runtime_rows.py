"""The rows of benchmarks/runtime.py: what is measured, against whom, and what is good enough."""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gpu_plans import Plan, read_plans
from runtime_peers import B0, B1, B0Context, time_ns

import cuready.runtime as rt

Row = dict[str, Any]
MIB = 1 << 20
median = statistics.median


class Bench:
    """What the rows share: one library, one runtime, B0, and B1 where it was given."""

    def __init__(
        self,
        library: Path,
        engines: list[Path],
        native: Path,
        b1_folder: Path | None,
        quick: bool,
        script: Path,
    ) -> None:
        self.library_path, self.engine_folders = library, engines
        self.native, self.b1_folder, self.quick, self.script = native, b1_folder, quick, script
        self.runtime = rt.Runtime(rt.load(library))
        version = self.runtime.library.version
        release = f"{version.major}.{version.minor}"
        self.plans: dict[str, Plan] = {
            plan.short: plan for plan in read_plans(engines) if plan.release == release
        }
        self.b0 = B0(native / "b0.so")

    @cached_property
    def b1(self) -> B1 | None:
        return B1(self.b1_folder) if self.b1_folder else None

    def count(self, full: int) -> int:
        return max(20, full // 100) if self.quick else full

    def engine(self, name: str) -> rt.Engine:
        return self.runtime.load(self.plans[name].data())

    def child(self, name: str, **environment: str) -> Any:
        """A row's part that needs a process of its own; it prints JSON."""
        command = [sys.executable, str(self.script), "--child", name,
                   "--library", str(self.library_path), "--native", str(self.native),
                   "--engines", *map(str, self.engine_folders)]  # fmt: skip
        if self.quick:
            command.append("--quick")
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False,
                              env={**os.environ, **environment})  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def best_shapes(engine: rt.Engine) -> dict[str, tuple[int, ...]]:
    """The shapes that profile 0 was tuned for; static ones as they are."""
    optimum = engine.profiles[0].opt if engine.profiles else {}
    return {
        name: info.shape if -1 not in info.shape else tuple(optimum[name])
        for name, info in engine.inputs.items()
    }


def empty_python_ns(count: int) -> float:
    """What perf_counter_ns around nothing costs: taken off what was timed with it."""
    values = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        values.append(time.perf_counter_ns() - begin)
    return median(values)


def interleaved(
    count: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Values of both, alternately, and each first in half of the pairs."""
    left, right = [], []
    for index in range(count):
        if index % 2 == 0:
            left.append(ours())
            right.append(peer())
        else:
            right.append(peer())
            left.append(ours())
    if min(right) < 0:
        raise RuntimeError("a call of B0 failed")
    return left, right


def overhead_row(
    bench: Bench, what: str, ours: Callable[[], float], peer: Callable[[], float]
) -> Row:
    """Ours, timed around a Python statement, over B0's, timed in C++; both clocks taken off."""
    interleaved(bench.count(500), ours, peer)
    count = bench.count(10_000)
    left, right = interleaved(count, ours, peer)
    clocks = empty_python_ns(count) - median([bench.b0.empty_ns() for _ in range(count)])
    raw = median([a - b for a, b in zip(left, right, strict=True)])
    over = (raw - clocks) / 1000
    return {
        "what": what,
        "ours": f"{median(left) / 1000:.2f} µs",
        "peer": f"B0 {median(right) / 1000:.2f} µs",
        "result": f"+{over:.3f} µs (raw +{raw / 1000:.3f})",
        "limit": "≤ 0.15 µs over B0",
        "value": over,
        "pairs": count,
        "met": over <= 0.15,
    }


def prebound(bench: Bench) -> Iterator[Row]:
    """The same context, stream and bindings: only the way to enqueueV3 differs."""
    engine = bench.engine("negate_scalar")
    peer = B0Context(bench.b0, engine.create_context(), best_shapes(engine))
    enqueue, handle, synchronize = peer.context.enqueue, peer.handle, bench.b0.synchronize
    enqueue_ns = bench.b0.enqueue_ns

    def ours() -> float:
        begin = time.perf_counter_ns()
        enqueue()
        taken = time.perf_counter_ns() - begin
        synchronize(handle)
        return taken

    def theirs() -> float:
        taken: float = enqueue_ns(handle)
        synchronize(handle)
        return taken

    yield overhead_row(bench, "prebound enqueue() from Python", ours, theirs)


def graph_replay(bench: Bench) -> Iterator[Row]:
    for name in ("multi_io", "wide"):
        if name not in bench.plans:
            continue
        engine = bench.engine(name)
        shapes = best_shapes(engine)
        peer = B0Context(bench.b0, engine.create_context(), shapes)
        executable = bench.b0.capture(peer.handle)
        if not executable:
            raise RuntimeError(f"B0 could not capture {name}")
        context = replaying_context(engine, shapes)
        enqueue, stream = context.enqueue, peer.context.stream.handle
        ours_handle = context.synchronize

        def ours(enqueue: Any = enqueue, wait: Any = ours_handle) -> float:
            begin = time.perf_counter_ns()
            enqueue()
            taken = time.perf_counter_ns() - begin
            wait()
            return taken

        def theirs(executable: Any = executable, stream: int = stream, peer: Any = peer) -> float:
            taken: float = bench.b0.graph_launch_ns(executable, stream)
            bench.b0.synchronize(peer.handle)
            return taken

        tensors = len(engine.inputs) + len(engine.outputs)
        yield overhead_row(bench, f"CUDA graph replay, {tensors} tensors", ours, theirs)
        if bench.b1 is not None:
            yield submit_row(bench, name, context, tensors)


def replaying_context(engine: rt.Engine, shapes: Any) -> rt.ExecutionContext:
    context = engine.create_context(graph="require")
    context.bind(device_arrays(context, shapes, 1)[0])
    for _ in range(4):
        context.enqueue()
    context.synchronize()
    if not context.graph_stats.hits:
        raise RuntimeError(f"no replay: {context.graph_stats!r}")
    return context


def device_arrays(context: rt.ExecutionContext, shapes: Any, sets: int) -> list[dict[str, Any]]:
    """Arrays for every tensor: torch tensors where torch has a GPU, else our own buffers."""
    engine = context.engine
    every = context.shapes({name: list(shapes[name]) for name in engine.inputs})
    tensors = {**engine.inputs, **engine.outputs}
    torch = usable_torch()
    made = []
    for _ in range(sets):
        arrays: dict[str, Any] = {}
        for name, info in tensors.items():
            if torch is not None:
                arrays[name] = torch.zeros(every[name], device="cuda").to(
                    getattr(torch, info.dtype)
                )
            else:
                arrays[name] = rt.DeviceBuffer(every[name], info.dtype)
        made.append(arrays)
    if torch is not None:
        torch.cuda.synchronize()
    return made


def usable_torch() -> Any:
    """torch with a GPU, unless the simulated driver is in use."""
    if os.environ.get("CUREADY_LIBCUDA"):
        return None
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def submit_row(bench: Bench, name: str, context: rt.ExecutionContext, tensors: int) -> Row:
    """What it takes to submit other arrays with B1, against one replay of ours."""
    assert bench.b1 is not None
    theirs = bench.b1.context(bench.plans[name].data())
    sets = device_arrays(context, best_shapes(context.engine), 2)
    stream = rt.Stream()
    ours_ns, theirs_ns = [], []
    context.bind(sets[0])
    for _ in range(4):
        context.enqueue()
    for index in range(bench.count(2000)):
        ours_ns.append(time_ns(context.enqueue))
        context.synchronize()
        begin = time.perf_counter_ns()
        theirs.bind(sets[index % 2])
        theirs.enqueue(stream.handle)
        theirs_ns.append(time.perf_counter_ns() - begin)
        stream.synchronize()
    ratio = median(theirs_ns) / median(ours_ns)
    return {
        "what": f"submitting {tensors} tensors: graph replay against B1's calls",
        "ours": f"{median(ours_ns) / 1000:.2f} µs",
        "peer": f"B1 {median(theirs_ns) / 1000:.2f} µs",
        "result": f"{ratio:.1f} × cheaper",
        "limit": "≥ 50 × (128 tensors)" if tensors >= 128 else "",
        "value": ratio,
        "met": ratio >= 50 if tensors >= 128 else None,
    }


def rebind(bench: Bench) -> Iterator[Row]:
    """Other arrays at every call: what that adds to a bare submission, against what B1 adds.

    B0 and B1 set every shape and every address. The floor is C++ that sets only the addresses,
    which is what is left to do when shapes stay: no binding can add less.

    First with arrays whose producer works on the engine's stream, since B1 orders nothing. Then
    with arrays of another stream: ours makes its stream wait, and so must a program that uses B1.
    """
    torch = usable_torch()
    for name in ("multi_io", "wide"):
        if name not in bench.plans:
            continue
        yield rebind_row(bench, name, torch, ordered=False)
        if torch is not None:
            yield rebind_row(bench, name, torch, ordered=True)


def rebind_row(bench: Bench, name: str, torch: Any, *, ordered: bool) -> Row:
    engine = bench.engine(name)
    shapes = best_shapes(engine)
    context = engine.create_context()
    sets = device_arrays(context, shapes, 2)
    peer = B0Context(bench.b0, engine.create_context(), shapes, sets=2)
    nvidia = bench.b1.context(bench.plans[name].data()) if bench.b1 is not None else None
    if ordered or torch is None:
        values = rebind_values(bench, context, sets, peer, nvidia, torch if ordered else None)
    else:
        with torch.cuda.stream(torch.cuda.ExternalStream(context.stream.handle)):
            values = rebind_values(bench, context, sets, peer, nvidia, None)
    tensors = len(engine.inputs) + len(engine.outputs)
    added = values["ours"] - values["ours_bare"]
    b0_added = values["b0"] - values["b0_bare"]
    floor = values["floor"] - values["b0_bare"]
    where = ", of another stream" if ordered else ""
    row: Row = {
        "what": f"other arrays{where} at every call, {tensors} tensors: what it adds",
        "ours": f"+{added / 1000:.2f} µs",
        "peer": f"B0 +{b0_added / 1000:.2f} µs, floor +{floor / 1000:.2f} µs",
        "limit": "≤ 1/5 of B1's",
        "over_floor_ns": added - floor,
        "values_ns": values,
        "arrays": type(next(iter(sets[0].values()))).__module__,
        "result": "B1 was not given",
        "met": None,
    }
    if nvidia is not None:
        b1_added = values["b1"] - values["b1_bare"]
        row["peer"] += f", B1 +{b1_added / 1000:.2f} µs"
        row["value"] = added / b1_added
        row["result"] = f"{added / b1_added:.3f} of B1's (the floor: {floor / b1_added:.3f})"
        row["met"] = added <= b1_added / 5
    return row


def rebind_values(
    bench: Bench,
    context: rt.ExecutionContext,
    sets: list[dict[str, Any]],
    peer: B0Context,
    nvidia: Any,
    ordering: Any,
) -> dict[str, float]:
    """Medians in ns. ``ordering``: torch, where B1 must wait for the stream of the arrays."""
    taken: dict[str, list[float]] = {
        key: [] for key in ("ours", "ours_bare", "b0", "b0_bare", "floor", "b1", "b1_bare")
    }
    bind, enqueue, handle = context.bind, context.enqueue, peer.handle
    stream = rt.Stream()
    external = ordering.cuda.ExternalStream(stream.handle) if ordering is not None else None
    context.bind(sets[0])
    for index in range(bench.count(3000)):
        arrays = sets[index % 2]
        taken["ours_bare"].append(time_ns(enqueue))
        context.synchronize()
        begin = time.perf_counter_ns()
        bind(arrays)
        enqueue()
        taken["ours"].append(time.perf_counter_ns() - begin)
        context.synchronize()
        taken["b0_bare"].append(bench.b0.enqueue_ns(handle))
        bench.b0.synchronize(handle)
        taken["b0"].append(bench.b0.rebind_ns(handle, index % 2))
        bench.b0.synchronize(handle)
        taken["floor"].append(bench.b0.readdress_ns(handle, (index + 1) % 2))
        bench.b0.synchronize(handle)
        if nvidia is not None:
            if index == 0:
                nvidia.bind(arrays)
            taken["b1_bare"].append(time_ns(nvidia.enqueue, stream.handle))
            stream.synchronize()
            begin = time.perf_counter_ns()
            if external is not None:
                external.wait_stream(ordering.cuda.current_stream())
            nvidia.bind(arrays)
            nvidia.enqueue(stream.handle)
            taken["b1"].append(time.perf_counter_ns() - begin)
            stream.synchronize()
    return {key: median(values) for key, values in taken.items() if values}


def numpy_run(bench: Bench) -> Iterator[Row]:
    """run() with numpy in and out, against the same copies and calls in C++."""
    plan = bench.plans["negate_scalar"]
    engine = bench.runtime.load(plan.data())
    context = engine.create_context()
    inputs = plan.inputs
    peer = B0Context(bench.b0, engine.create_context(), {n: a.shape for n, a in inputs.items()})
    arrays = {**inputs, **{name: np.empty_like(array) for name, array in plan.outputs.items()}}
    pointers = peer.host_pointers(arrays)
    run, run_ns, handle = context.run, bench.b0.run_ns, peer.handle

    def ours() -> float:
        begin = time.perf_counter_ns()
        run(inputs)
        return time.perf_counter_ns() - begin

    interleaved(bench.count(500), ours, lambda: run_ns(handle, pointers))
    left, right = interleaved(bench.count(10_000), ours, lambda: run_ns(handle, pointers))
    ratio = median(left) / median(right)
    plan.check(context.run(inputs))
    yield {
        "what": "run(): numpy in, numpy out, smallest engine",
        "ours": f"{median(left) / 1000:.2f} µs",
        "peer": f"B0 {median(right) / 1000:.2f} µs",
        "result": f"{ratio:.3f} ×",
        "limit": "≤ 1.05 ×",
        "value": ratio,
        "met": ratio <= 1.05,
    }


# --- throughput -------------------------------------------------------------------------------


class Contenders:
    """K contexts of B0 and one pool of K contexts, on one engine, with pinned arrays."""

    def __init__(self, bench: Bench, name: str, count: int) -> None:
        self.bench, self.count = bench, count
        engine = bench.engine(name)
        self.shapes = best_shapes(engine)
        self.peers = [
            B0Context(bench.b0, engine.create_context(), self.shapes) for _ in range(count)
        ]
        self.handles = (ctypes.c_void_p * count)(*(peer.handle for peer in self.peers))
        self.pool = engine.create_pool(count)
        self.requests = [self._request(engine) for _ in range(4 * count)]

    def _request(self, engine: rt.Engine) -> tuple[dict[str, Any], dict[str, Any]]:
        like = self.peers[0].pinned
        return (
            {n: rt.PinnedBuffer(like[n].shape, like[n].dtype) for n in engine.inputs},
            {n: rt.PinnedBuffer(like[n].shape, like[n].dtype) for n in engine.outputs},
        )

    def b0(self, iterations: int, *, wait_each: bool) -> float:
        rate: float = self.bench.b0.throughput(
            self.handles, self.count, iterations, 1, int(wait_each)
        )
        if rate < 0:
            raise RuntimeError("a call of B0 failed")
        return rate

    def submitted(self, total: int) -> float:
        """Runs per second when one Python thread keeps the pool full."""
        under_way: list[Any] = []
        begin = time.perf_counter()
        for index in range(total):
            if len(under_way) >= len(self.requests):
                under_way.pop(0).result()
            inputs, outputs = self.requests[index % len(self.requests)]
            under_way.append(self.pool.submit(inputs, outputs))
        for future in under_way:
            future.result()
        return total / (time.perf_counter() - begin)

    def threads(self, iterations: int) -> float:
        """Runs per second of N Python threads that share the pool."""
        barrier = threading.Barrier(self.count + 1)
        failures: list[BaseException] = []

        def work(index: int) -> None:
            inputs, outputs = self.requests[index]
            barrier.wait()
            try:
                for _ in range(iterations):
                    self.pool.run(inputs, outputs)
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(self.count)]
        for worker in workers:
            worker.start()
        barrier.wait()
        begin = time.perf_counter()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]
        return self.count * iterations / (time.perf_counter() - begin)


def throughput(bench: Bench) -> Iterator[Row]:
    yield from _rates(bench, "resnet50_fp16", threads=False, limit=0.98)


def python_threads(bench: Bench) -> Iterator[Row]:
    yield from _rates(bench, "resnet50_fp16", threads=True, limit=0.90)
    yield from _rates(bench, "cnn", threads=True, limit=None)


def _rates(bench: Bench, name: str, *, threads: bool, limit: float | None) -> Iterator[Row]:
    if name not in bench.plans:
        yield {"what": f"throughput of {name}", "result": "the plan was not given", "met": None}
        return
    for count in (1, 2, 4, 8):
        pair = Contenders(bench, name, count)
        guess = pair.b0(20, wait_each=threads)
        iterations = max(10, int(guess / count * (0.05 if bench.quick else 0.7)))
        ours: list[float] = []
        theirs: list[float] = []
        for index in range(2 if bench.quick else 6):
            for which in ("ours", "b0") if index % 2 == 0 else ("b0", "ours"):
                if which == "b0":
                    theirs.append(pair.b0(iterations, wait_each=threads))
                elif threads:
                    ours.append(pair.threads(iterations))
                else:
                    ours.append(pair.submitted(iterations * count))
        pair.pool.close()
        ratio = median(ours) / median(theirs)
        kind = f"{count} Python threads on one pool" if threads else f"{count} contexts"
        yield {
            "what": f"{name} with copies, {kind}",
            "ours": f"{median(ours):.0f}/s",
            "peer": f"B0 {median(theirs):.0f}/s",
            "result": f"{100 * ratio:.1f} %",
            "limit": f"≥ {100 * limit:.0f} %" if limit else "",
            "value": ratio,
            "met": ratio >= limit if limit else None,
        }


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "prebound": prebound,
    "rebind": rebind,
    "graph": graph_replay,
    "run": numpy_run,
    "throughput": throughput,
    "threads": python_threads,
}
