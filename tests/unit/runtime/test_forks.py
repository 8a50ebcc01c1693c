"""Processes that were forked from one that used CUDA: told so, and never left to wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runtime_sim import SimLibraries, plans

PROGRAM = """
import asyncio, gc, os, sys, threading
import numpy as np
import cuready.runtime as rt
from cuready.errors import CudaContextError

x = np.ones(16, np.float32)
runtime = rt.Runtime()
engine = runtime.load(sys.argv[1])
context = engine.create_context()
context.run(x=x)
stream = rt.Stream()
buffer = rt.DeviceBuffer(16, "float32", stream=stream)
bindings = context.bind(x=buffer)
context.enqueue(stream)
pool = engine.create_pool(2)
pool.run({"x": x})
pending = [pool.submit({"x": x}) for _ in range(8)]
calls = {
    "run": lambda: context.run(x=x),
    "enqueue": lambda: context.enqueue(),
    "bind": lambda: context.bind(x=x),
    "synchronize": lambda: context.synchronize(),
    "create_context": lambda: engine.create_context(),
    "create_pool": lambda: engine.create_pool(1),
    "load": lambda: runtime.load(sys.argv[1]),
    "Runtime": lambda: rt.Runtime(),
    "Device": lambda: rt.Device(0).memory,
    "DeviceBuffer": lambda: rt.DeviceBuffer(16, "float32"),
    "numpy": lambda: buffer.numpy(),
    "pool.run": lambda: pool.run({"x": x}),
    "submit": lambda: pool.submit({"x": x}),
    "result": lambda: pending[-1].result(),
    "exception": lambda: pending[-1].exception(),
    "add_done_callback": lambda: pending[-1].add_done_callback(print),
    "await": lambda: asyncio.run(wait_for(pending[-1])),
    "drain": lambda: pool.drain(),
    "stats": lambda: pool.stats(),
}

async def wait_for(future):
    return await future

child = os.fork()
if not child:
    for name, call in calls.items():
        try:
            call()
        except CudaContextError as error:
            assert "forked" in str(error) and "spawn" in error.hint, (name, error)
        else:
            print(name, "went well", flush=True)
    pool.close()
    del calls, context, bindings, buffer, pool, pending, engine, runtime, stream
    gc.collect()
    print("all refused", flush=True)
    sys.exit(0)  # with all that runs at the end of an interpreter
_, status = os.waitpid(child, 0)
print("child ended with", os.waitstatus_to_exitcode(status), flush=True)
assert set(pool.run({"x": x})["y"]) == {3}
for future in pending:
    future.result()
print("the parent goes on", flush=True)
"""

FIRST_IN_THE_CHILD = """
import os, sys
import cuready.runtime as rt
assert rt.Library
child = os.fork()
if not child:
    rt.Runtime().load(sys.argv[1]).create_context()
    sys.exit(0)
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "slow.plan"
    path.write_bytes(plans.slow(20_000))
    return str(path)


def run(libraries: SimLibraries, program: str, plan: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, plan], capture_output=True, text=True, timeout=60,
        check=False, env=libraries.environment("10.6"),
    )  # fmt: skip


def test_a_forked_process_is_told_and_ends(libraries: SimLibraries, plan: str) -> None:
    done = run(libraries, PROGRAM, plan)
    assert done.stdout.splitlines() == [
        "all refused", "child ended with 0", "the parent goes on",
    ], done.stdout + done.stderr  # fmt: skip


def test_a_process_that_was_forked_before_cuda_was_used_may_use_it(
    libraries: SimLibraries, plan: str
) -> None:
    done = run(libraries, FIRST_IN_THE_CHILD, plan)
    assert done.stdout == "child ended with 0\n", done.stdout + done.stderr
