"""Order of destruction, memory growth, and a thousand cycles of load, run and destroy."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from gpu_driver import Driver, PassingStream
from gpu_plans import Plan

import cuready.runtime as rt
from cuready.errors import ContextBusy

MIB = 1 << 20


def test_handles_keep_their_parents_alive(library: rt.Library, plans: dict[str, Plan]) -> None:
    plan = plans["affine"]
    context = rt.Runtime(library).load(plan.data()).create_context()
    gc.collect()
    context.bind(plan.inputs)
    context.enqueue()
    output = context.output("y")
    context.synchronize()
    del context
    gc.collect()
    plan.check({"y": output.numpy()})


def test_bound_arrays_live_until_the_gpu_is_done(
    runtime: rt.Runtime, plans: dict[str, Plan]
) -> None:
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    (name, array), *_ = plan.inputs.items()
    for _ in range(300):
        x = rt.DeviceBuffer(array.shape, "float32", stream=context.stream)
        x.copy_from(array, stream=context.stream)
        context.bind({name: x})
        context.enqueue()
        del x
    context.synchronize()
    plan.check({"y": context.output("y").numpy()})


def test_a_thousand_cycles_leave_no_gpu_memory(library: rt.Library, plans: dict[str, Plan]) -> None:
    plan = plans["negate_scalar"]
    data, inputs = plan.data(), plan.inputs
    device = rt.Device(0)
    free_after_two = 0
    for cycle in range(1000):
        result = rt.Runtime(library).load(data).create_context().run(inputs)
        plan.check(result)
        if cycle == 1:
            free_after_two = device.memory[0]
    lost = free_after_two - device.memory[0]
    assert lost <= 2 * MIB, f"{lost / MIB:.1f} MiB of GPU memory are gone"


def test_a_million_enqueues_do_not_grow(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    plan = plans["negate_scalar"]
    context = runtime.load(plan.data()).create_context()
    context.bind(plan.inputs)
    context.graph("auto")
    enqueue, process = context.enqueue, psutil.Process()

    def run(count: int) -> None:
        for _ in range(count // 1000):
            for _ in range(1000):
                enqueue()
            context.synchronize()

    run(50_000)
    gc.collect()
    before = process.memory_info().rss
    run(1_000_000)
    gc.collect()
    grown = process.memory_info().rss - before
    assert grown <= 256 * 1024, f"{grown} bytes"


def test_a_second_thread_in_a_context_gets_context_busy(
    runtime: rt.Runtime, plans: dict[str, Plan]
) -> None:
    """The two calls overlap in some of many tries; whatever happens, nothing else is raised."""
    plan = plans["cnn"]
    context = runtime.load(plan.data()).create_context()
    context.gil_policy = "release"
    others: list[BaseException] = []
    busy = threading.Event()

    def worker() -> None:
        for _ in range(400):
            try:
                context.run(plan.inputs)
            except ContextBusy:
                busy.set()
            except BaseException as error:
                others.append(error)

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not others
    assert busy.is_set()
    plan.check(context.run(plan.inputs))


def test_the_interpreter_ends_cleanly_with_everything_alive(
    library: rt.Library, plans: dict[str, Plan], tmp_path: Path
) -> None:
    plan = plans["affine"]
    path = tmp_path / "affine.plan"
    path.write_bytes(plan.data())
    np.savez(tmp_path / "inputs.npz", **plan.inputs)
    program = f"""
import numpy as np
import cuready.runtime as rt
inputs = dict(np.load({str(tmp_path / "inputs.npz")!r}))
engine = rt.Runtime({library.path!r}).load({str(path)!r})
context, pool, future = engine.create_context(), None, None
if rt.load({library.path!r}).version.major > 8:
    pool = engine.create_pool(1)
    future = pool.submit(inputs)
context.bind(inputs)
for _ in range(100):
    context.enqueue()
import builtins
builtins.kept = (engine, context, pool, future)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


@pytest.mark.parametrize("graph", ["off", "auto"])
def test_contexts_may_be_dropped_while_they_run(
    runtime: rt.Runtime, plans: dict[str, Plan], graph: str
) -> None:
    plan = plans["cnn"]
    for _ in range(20):
        context = runtime.load(plan.data()).create_context()
        context.graph("off" if graph == "off" else "auto")
        context.bind(plan.inputs)
        for _ in range(10):
            context.enqueue()
        del context


def test_streams_of_others_may_be_dropped_before_what_ran_on_them(
    runtime: rt.Runtime, plans: dict[str, Plan]
) -> None:
    """A driver that is asked to wait for a stream that is gone ends the process."""
    plan = plans["affine"]
    (name, array), *_ = plan.inputs.items()
    engine = runtime.load(plan.data())
    for _ in range(50):
        x = rt.DeviceBuffer(array.shape, "float32", stream=PassingStream())
        x.copy_from(array, stream=PassingStream())
        context = engine.create_context()
        context.bind({name: array}, stream=PassingStream())
        context.enqueue(PassingStream())
        context.bind({name: x}, stream=PassingStream())
        context.enqueue(PassingStream())
        plan.check({"y": context.take_output("y").numpy()})
        context.enqueue(PassingStream())
        del context
    with engine.create_pool(1) as pool:
        futures = [pool.submit({name: x}, stream=PassingStream()) for _ in range(50)]
        for future in futures:
            plan.check({"y": future.result(timeout=60)["y"].numpy()})


@pytest.mark.parametrize("call", ["enqueue", "run"])
def test_a_context_may_be_dropped_after_a_stream_that_it_knows_by_its_handle(
    runtime: rt.Runtime, plans: dict[str, Plan], call: str
) -> None:
    plan, driver = plans["affine"], Driver()
    engine = runtime.load(plan.data())
    for _ in range(50):
        context = engine.create_context()
        handle = driver.stream()
        if call == "run":
            plan.check(context.run(plan.inputs, stream=handle))
        else:
            context.bind(plan.inputs)
            context.enqueue(handle)
        driver.destroy_stream(handle)
        del context


def test_a_forked_process_is_refused_and_ends(
    library: rt.Library, plans: dict[str, Plan], tmp_path: Path
) -> None:
    """With everything that the parent had, and without a hang."""
    plan = plans["affine"]
    path = tmp_path / "affine.plan"
    path.write_bytes(plan.data())
    np.savez(tmp_path / "inputs.npz", **plan.inputs)
    program = f"""
import gc, os, sys
import numpy as np
import cuready.runtime as rt
from cuready.errors import CudaContextError
inputs = dict(np.load({str(tmp_path / "inputs.npz")!r}))
runtime = rt.Runtime({library.path!r})
engine, other = runtime.load({str(path)!r}), runtime.load({str(path)!r})
context, pool, stream = engine.create_context(), other.create_pool(1), rt.Stream()
expected = context.run(inputs)["y"]
buffer = rt.DeviceBuffer(expected.shape, "float32", stream=stream)
context.bind(inputs)
context.enqueue(stream)
pool.run(inputs)
child = os.fork()
if not child:
    for call in (
        lambda: context.run(inputs), context.enqueue, context.synchronize, buffer.numpy,
        lambda: pool.run(inputs), lambda: pool.submit(inputs), lambda: rt.Runtime({library.path!r}),
        lambda: runtime.load({str(path)!r}), engine.create_context, lambda: rt.DeviceBuffer(4),
    ):
        try:
            call()
        except CudaContextError as error:
            assert "spawn" in error.hint, error
        else:
            raise AssertionError("nothing was refused")
    pool.close()
    del context, pool, engine, other, runtime, buffer, stream, call
    gc.collect()
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (context.run(inputs)["y"] == expected).all()
assert (pool.run(inputs)["y"] == expected).all()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
