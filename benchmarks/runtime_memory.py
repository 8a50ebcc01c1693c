"""Rows of benchmarks/runtime.py about memory and start-up, in processes of their own."""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime_peers import B0Context
from runtime_rows import MIB, Bench, Row, best_shapes, median

import cuready.runtime as rt


def memory(bench: Bench) -> Iterator[Row]:
    counted = bench.child("allocations", LD_PRELOAD=str(bench.native / "alloc_count.so"))
    yield {
        "what": f"heap allocations in {counted['calls']} prebound calls",
        "ours": counted["ours"],
        "peer": f"B0 {counted['b0']}",
        "result": f"{counted['ours'] - counted['b0']} of ours",
        "limit": "0",
        "value": counted["ours"] - counted["b0"],
        "met": counted["ours"] <= counted["b0"],
    }
    grown = bench.child("growth")
    yield {
        "what": f"memory after {grown['calls']} enqueues",
        "result": f"{grown['bytes'] / 1024:.0f} KiB more",
        "limit": "≤ 256 KiB",
        "value": grown["bytes"],
        "met": grown["bytes"] <= 256 * 1024,
    }
    lost = bench.child("cycles")
    yield {
        "what": f"GPU memory after {lost['cycles']} cycles of load, run, destroy",
        "result": f"{lost['bytes'] / MIB:.2f} MiB less free than after cycle 2",
        "limit": "≤ 2 MiB",
        "value": lost["bytes"],
        "met": lost["bytes"] <= 2 * MIB,
    }


def child_bench(arguments: argparse.Namespace) -> Bench:
    return Bench(arguments.library, arguments.engines, arguments.native, None, arguments.quick,
                 Path(__file__))  # fmt: skip


def count_allocations(arguments: argparse.Namespace) -> dict[str, int]:
    bench = child_bench(arguments)
    counter = ctypes.PyDLL(str(arguments.native / "alloc_count.so")).alloc_count
    counter.restype = ctypes.c_ulong
    engine = bench.engine("negate_scalar")
    peer = B0Context(bench.b0, engine.create_context(), best_shapes(engine))
    enqueue, enqueue_ns, handle = peer.context.enqueue, bench.b0.enqueue_ns, peer.handle
    totals = {"ours": 0, "b0": 0, "calls": 0}
    for _ in range(100):
        for key, call in (("ours", enqueue), ("b0", lambda: enqueue_ns(handle))):
            for warm in (True, False):
                before = counter()
                for _ in range(20):
                    call()
                if not warm:
                    totals[key] += counter() - before
                bench.b0.synchronize(handle)
        totals["calls"] += 20
    return totals


def measure_growth(arguments: argparse.Namespace) -> dict[str, int]:
    import psutil

    bench = child_bench(arguments)
    context = bench.engine("negate_scalar").create_context()
    context.bind(bench.plans["negate_scalar"].inputs)
    process, enqueue = psutil.Process(), context.enqueue

    def run(blocks: int) -> None:
        for _ in range(blocks):
            for _ in range(500):
                enqueue()
            context.synchronize()

    blocks = 100 if arguments.quick else 2000
    run(max(20, blocks // 20))
    before = process.memory_info().rss
    run(blocks)
    return {"bytes": process.memory_info().rss - before, "calls": blocks * 500}


def measure_cycles(arguments: argparse.Namespace) -> dict[str, int]:
    bench = child_bench(arguments)
    plan = bench.plans["negate_scalar"]
    data, inputs, device = plan.data(), plan.inputs, rt.Device(0)
    cycles, free_after_two = (50 if arguments.quick else 1000), 0
    for cycle in range(cycles):
        rt.Runtime(bench.runtime.library).load(data).create_context().run(inputs)
        if cycle == 1:
            free_after_two = device.memory[0]
    return {"bytes": free_after_two - device.memory[0], "cycles": cycles}


IMPORT_PROGRAM = """
import time
begin = time.perf_counter()
import cuready.runtime as rt
taken = time.perf_counter() - begin
print(taken, rt.context_is_current())
"""


def import_time(bench: Bench) -> Iterator[Row]:
    taken, made_context = [], False
    for _ in range(5 if bench.quick else 21):
        done = subprocess.run([sys.executable, "-c", IMPORT_PROGRAM], capture_output=True,
                              text=True, check=True, timeout=60)  # fmt: skip
        seconds, context = done.stdout.split()
        taken.append(float(seconds) * 1000)
        made_context |= context == "True"
    yield {
        "what": "import cuready.runtime",
        "ours": f"{median(taken):.1f} ms",
        "result": "creates a CUDA context" if made_context else "creates no CUDA context",
        "limit": "< 40 ms",
        "value": median(taken),
        "met": median(taken) < 40 and not made_context,
    }


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {"memory": memory, "import": import_time}
CHILDREN: dict[str, Callable[[argparse.Namespace], dict[str, int]]] = {
    "allocations": count_allocations,
    "growth": measure_growth,
    "cycles": measure_cycles,
}
