"""Streams of somebody else: what is still to be waited for on them, and who keeps them until then.

A driver crashes when it is given a stream that was destroyed; the simulated one records it, and the
``driver`` fixture fails the test.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runtime_sim import SimDriver, plans
from tests.unit.runtime.producers import PassingStream

import cuready.runtime as rt
from cuready import errors

X = np.arange(16, dtype=np.float32).reshape(4, 4)


@pytest.fixture
def passing(driver: SimDriver) -> Callable[[], PassingStream]:
    return lambda: PassingStream(driver)


def device_x() -> rt.DeviceBuffer:
    buffer = rt.DeviceBuffer((4, 4), "float32")
    buffer.copy_from(X)
    return buffer


def test_a_context_may_go_after_the_stream_of_its_last_run(
    driver: SimDriver, load: Any, passing: Any
) -> None:
    context = load(plans.affine()).create_context()
    stream = passing()
    gone = weakref.ref(stream)
    context.bind(x=device_x())
    driver.set_delay("kernel", 20000)
    context.enqueue(stream)
    del stream
    assert gone() is not None, "the run is not waited for"
    del context
    gc.collect()
    assert gone() is None


def test_a_context_may_go_after_a_stream_that_it_knows_by_its_handle(
    driver: SimDriver, load: Any
) -> None:
    for call in ("enqueue", "run", "enqueue_bindings", "profile_layers"):
        context = load(plans.affine()).create_context()
        x = device_x()
        handle = driver.stream()
        bindings = context.bind(x=x)
        if call == "run":
            context.run(x=x, stream=handle)
        elif call == "enqueue_bindings":
            context.enqueue_bindings(bindings, handle)
        else:
            getattr(context, call)(stream=handle)
        driver.destroy_stream(handle)
        del context, bindings
        gc.collect()
        assert driver.violations() == [], call


@pytest.mark.parametrize("call", ["enqueue", "enqueue_bindings", "run"])
@pytest.mark.parametrize("then", ["bind", "output", "take_output", "synchronize", "enqueue", "run"])
def test_what_comes_after_a_run_may_come_after_its_stream(
    load: Any, passing: Any, call: str, then: str
) -> None:
    context = load(plans.affine()).create_context()
    x = device_x()
    bindings = context.bind(x=x)
    if call == "run":
        context.run(x=x, stream=passing())
        context.bind(x=x)  # run() leaves no array of the caller's bound
    elif call == "enqueue":
        context.enqueue(passing())
    else:
        context.enqueue_bindings(bindings, passing())
    gc.collect()
    if then == "bind":
        context.bind(x=device_x())
    elif then == "run":
        context.run(x=x)
        context.bind(x=x)
    elif then.endswith("output") and call != "run":
        np.testing.assert_array_equal(getattr(context, then)("y").numpy(), 2 * X + 1)
    elif then == "synchronize":
        context.synchronize()
    context.enqueue()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * X + 1)


@pytest.mark.parametrize("call", ["enqueue", "run"])
def test_a_run_that_fails_lets_nothing_go(load: Any, passing: Any, call: str) -> None:
    context = load(plans.affine()).create_context()
    context.bind(x=device_x())
    context.enqueue(passing())
    other = passing()
    for stream in (passing(), rt.Stream(), other.ptr):
        with pytest.raises(errors.CureadyError):
            if call == "run":
                context.run(x=np.zeros((99, 4), np.float32), stream=stream)
            else:
                context.enqueue(0)  # the legacy stream is refused
    context.bind(x=device_x())
    context.enqueue()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * X + 1)


def test_a_run_that_fails_leaves_a_shared_workspace_without_its_old_stream(
    load: Any, passing: Any
) -> None:
    engine, workspace = load(plans.affine()), rt.Workspace()
    first, second = (engine.create_context(workspace=workspace) for _ in range(2))
    first.run(x=device_x(), stream=passing())  # leaves x unbound
    with pytest.raises(errors.BindingError):
        first.enqueue(rt.Stream())
    gc.collect()
    np.testing.assert_array_equal(second.run(x=X)["y"], 2 * X + 1)


def test_a_stream_is_kept_for_its_own_runs_only(load: Any, passing: Any) -> None:
    context = load(plans.affine()).create_context()
    context.bind(x=device_x())
    first, second = passing(), passing()
    context.enqueue(first)
    gone = weakref.ref(first)
    del first
    context.enqueue(second)
    assert gone() is None


@pytest.mark.parametrize("stream_of_the_run", [False, True])
def test_what_bind_put_on_a_stream_is_waited_for_after_it(
    driver: SimDriver, load: Any, passing: Any, stream_of_the_run: bool
) -> None:
    context = load(plans.affine()).create_context()
    driver.set_delay("copy", 20000)
    context.bind(x=X, stream=passing())
    gc.collect()
    context.enqueue(*([passing()] if stream_of_the_run else []))
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * X + 1)


def test_what_two_binds_put_on_two_streams_is_waited_for(
    driver: SimDriver, load: Any, passing: Any
) -> None:
    context = load(plans.copies(2)).create_context()
    x = [np.full(16, value, np.float32) for value in (3, 4)]
    context.run({"x0": np.zeros(16, np.float32), "x1": np.zeros(16, np.float32)})
    busy, idle = passing(), passing()
    driver.set_delay("copy", 50000)
    context.bind({"x0": x[0], "x1": np.zeros(16, np.float32)}, stream=busy)
    driver.set_delay("copy", 0)
    context.bind({"x1": x[1]}, stream=idle)
    del busy
    context.enqueue(idle)
    for index in (0, 1):
        np.testing.assert_array_equal(context.output(f"y{index}").numpy(), x[index])


def test_a_buffer_keeps_the_stream_that_it_is_ordered_on(driver: SimDriver, passing: Any) -> None:
    driver.set_delay("copy", 20000)
    buffer = rt.DeviceBuffer((4, 4), "float32", stream=passing())
    gc.collect()
    buffer.copy_from(X)
    buffer.copy_from(2 * X, stream=passing())
    gc.collect()
    np.testing.assert_array_equal(buffer.numpy(), 2 * X)
    stream = passing()
    gone = weakref.ref(stream)
    buffer.copy_from(X, stream=stream)
    del stream
    assert gone() is not None
    del buffer
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("use", ["read", "write", "upload", "fill"])
def test_memory_of_one_stream_is_freed_after_what_another_does_with_it(
    driver: SimDriver, passing: Any, use: str
) -> None:
    driver.set_delay("copy", 20000)
    for _ in range(3):
        buffer = rt.DeviceBuffer((4, 4), "float32", stream=rt.Stream())
        target = rt.DeviceBuffer((4, 4), "float32", stream=rt.Stream())
        if use == "write":
            buffer.copy_from(target, stream=passing())
        elif use == "upload":
            rt.StagingRing().upload(buffer, X, stream=passing())
        elif use == "fill":
            rt.fill(buffer, 1, stream=passing())
        else:
            buffer.copy_to(target, stream=passing())
        del buffer, target
        gc.collect()
    rt.Device(0).memory  # noqa: B018 - a call of the driver, which may have something to report
    driver.set_delay("copy", 0)


def test_whoever_reads_a_buffer_comes_after_what_was_copied_into_it(
    driver: SimDriver, passing: Any
) -> None:
    source, target = device_x(), device_x()
    source.copy_from(2 * X)
    driver.set_delay("copy", 20000)
    source.copy_to(target, stream=passing())
    np.testing.assert_array_equal(target.numpy(), 2 * X)
    rt.fill(target, 0, stream=passing())
    np.testing.assert_array_equal(target.numpy(), 0 * X)


def test_a_request_keeps_the_stream_that_it_waits_for(
    driver: SimDriver, load: Any, passing: Any
) -> None:
    with load(plans.slow(20000)).create_pool(1) as pool:
        futures = []
        for value in range(4):
            x = rt.DeviceBuffer(16, "float32")
            stream = passing()
            x.copy_from(np.full(16, value, np.float32), stream=stream)
            futures.append(pool.submit({"x": x}, stream=stream))
            del stream
        for value, future in enumerate(futures):
            assert set(future.result(timeout=30)["y"].numpy()) == {2 * value + 1}
