"""Engines on two GPUs in one process, while another GPU is the thread's current one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu_driver import Driver
from gpu_plans import Plan

import cuready.runtime as rt
from cuready.errors import DeviceMismatch

pytestmark = pytest.mark.skipif(rt.device_count() < 2, reason="there is one GPU")

ROUNDS = 40


@pytest.fixture
def first_is_current() -> Iterator[None]:
    """GPU 0 is current before the test, and must be when it ends."""
    driver = Driver()
    before, first = driver.current(), driver.primary(0)
    driver.set_current(first)
    yield
    assert driver.current() == first
    driver.set_current(before)


@pytest.fixture(scope="module")
def runtimes(library: rt.Library) -> list[rt.Runtime]:
    return [rt.Runtime(library, device=ordinal) for ordinal in (0, 1)]


def buffer_of(array: np.ndarray[Any, Any], stream: rt.Stream) -> rt.DeviceBuffer:
    buffer = rt.DeviceBuffer(array.shape, str(array.dtype), stream=stream)
    buffer.copy_from(array, stream=stream)
    return buffer


@pytest.mark.usefixtures("first_is_current")
@pytest.mark.parametrize("name", ["affine", "mlp", "cnn", "multi_io"])
def test_the_second_gpu_computes_while_the_first_is_current(
    runtimes: list[rt.Runtime], plans: dict[str, Plan], name: str
) -> None:
    plan = plans[name]
    engine = runtimes[1].load(plan.data())
    assert engine.device.ordinal == 1
    context = engine.create_context()
    plan.check(context.run(plan.inputs))
    context.graph("auto")
    stream = rt.Stream(1)
    context.bind({key: buffer_of(array, stream) for key, array in plan.inputs.items()})
    stream.synchronize()
    for _ in range(6):
        context.enqueue()
    context.synchronize()
    assert context.graph_stats.hits > 0, repr(context.graph_stats)
    plan.check({key: context.output(key).numpy() for key in engine.outputs})


@pytest.mark.usefixtures("first_is_current")
def test_pools_of_both_gpus_are_used_by_one_thread(
    runtimes: list[rt.Runtime], plans: dict[str, Plan]
) -> None:
    plan = plans["cnn"]
    pools = [runtime.load(plan.data()).create_pool(2) for runtime in runtimes]
    futures = [pool.submit(plan.inputs) for _ in range(ROUNDS) for pool in pools]
    for future in futures:
        plan.check(future.result())
    for pool in pools:
        plan.check(pool.run(plan.inputs))
        assert pool.stats["failed"] == 0
        pool.close()


def test_threads_on_both_gpus_at_once(runtimes: list[rt.Runtime], plans: dict[str, Plan]) -> None:
    """Each thread has the other GPU current, and makes and drops contexts in between."""
    plan = plans["mlp"]
    problems: list[BaseException] = []

    def work(runtime: rt.Runtime, other: int) -> None:
        try:
            driver = Driver()
            driver.set_current(driver.primary(other))
            engine = runtime.load(plan.data())
            for _ in range(4):
                context = engine.create_context()
                for _ in range(ROUNDS // 4):
                    plan.check(context.run(plan.inputs))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(runtimes[number % 2], 1 - number % 2))
               for number in range(4)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


@pytest.mark.usefixtures("first_is_current")
def test_an_engine_takes_what_another_gpu_s_engine_made(
    runtimes: list[rt.Runtime], plans: dict[str, Plan]
) -> None:
    """GPU 0 → copy between the GPUs → GPU 1, ordered by events alone: −(−x) = x."""
    plan = plans["negate_scalar"]
    (given,), (made,) = plan.inputs, plan.outputs
    contexts = [runtime.load(plan.data()).create_context() for runtime in runtimes]
    streams = [rt.Stream(0), rt.Stream(1)]
    shape, dtype = plan.inputs[given].shape, str(plan.inputs[given].dtype)
    between = rt.DeviceBuffer(shape, dtype, device=1)
    inputs = [rt.DeviceBuffer(shape, dtype, device=0), between]
    outputs = [rt.DeviceBuffer(shape, dtype, device=ordinal) for ordinal in (0, 1)]
    for number in range(20):
        x = np.full(shape, number + 0.5, dtype)
        inputs[0].copy_from(x, stream=streams[0])
        contexts[0].run({given: inputs[0]}, {made: outputs[0]}, stream=streams[0])
        streams[1].wait(streams[0].record())
        rt.copy_peer(between, outputs[0], stream=streams[1])
        contexts[1].run({given: between}, {made: outputs[1]}, stream=streams[1])
        answer = np.zeros(shape, dtype)
        outputs[1].copy_to(answer, stream=streams[1])
        streams[1].synchronize()
        assert np.array_equal(answer, x)


def test_an_array_of_the_other_gpu_is_refused(
    runtimes: list[rt.Runtime], plans: dict[str, Plan]
) -> None:
    plan = plans["mlp"]
    context = runtimes[1].load(plan.data()).create_context()
    array = next(iter(plan.inputs.values()))
    wrong = {name: buffer_of(array, rt.Stream(0)) for name in plan.inputs}
    with pytest.raises(DeviceMismatch):
        context.bind(wrong)
