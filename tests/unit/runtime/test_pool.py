"""Contexts behind one queue: futures, awaiting, back-pressure, closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runtime_sim import SimDriver, SimTensorRT, plans

import cuready.runtime as rt
from cuready import errors

X = np.arange(16, dtype=np.float32).reshape(4, 4)


def in_four_threads(work: Callable[[int], None]) -> None:
    """``work(0)``, ``work(100)``, … side by side."""
    threads = [threading.Thread(target=work, args=(100 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_results_come_back_to_whoever_asked(load: Any) -> None:
    with load(plans.affine()).create_pool(3) as pool:
        futures = [pool.submit({"x": X + value}) for value in range(50)]
        for value, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(10)["y"], 2 * (X + value) + 1)
            assert future.done()
            assert future.exception() is None


def test_threads_share_a_pool(load: Any) -> None:
    wrong: list[int] = []
    with load(plans.affine()).create_pool(2) as pool:

        def work(base: int) -> None:
            for value in range(base, base + 40):
                got = pool.submit({"x": X + value}).result(20)["y"]
                if not np.array_equal(got, 2 * (X + value) + 1):
                    wrong.append(value)

        in_four_threads(work)
        assert pool.stats["completed"] == 160
    assert not wrong


def test_threads_run_on_a_pool(load: Any) -> None:
    wrong: list[int] = []
    with load(plans.affine()).create_pool(2) as pool:

        def work(base: int) -> None:
            out = np.empty_like(X)
            for value in range(base, base + 40):
                got = pool.run({"x": X + value}, {"y": out} if value % 2 else None)["y"]
                if not np.array_equal(got, 2 * (X + value) + 1) or (value % 2 and got is not out):
                    wrong.append(value)

        in_four_threads(work)
        with pytest.raises(errors.DtypeError, match="'x' takes float32"):
            pool.run({"x": X.astype(np.float64)})
        assert pool.stats["completed"] == 160
    assert not wrong
    with pytest.raises(errors.Cancelled, match="closed"):
        pool.run({"x": X})


def test_futures_can_be_awaited(load: Any) -> None:
    async def run(pool: rt.ContextPool) -> list[dict[str, Any]]:
        async def one(value: int) -> dict[str, Any]:
            return await pool.submit({"x": X + value})

        return await asyncio.wait_for(asyncio.gather(*map(one, range(20))), 30)

    with load(plans.affine()).create_pool(2) as pool:
        for value, result in enumerate(asyncio.run(run(pool))):
            np.testing.assert_array_equal(result["y"], 2 * (X + value) + 1)


def loops() -> list[Any]:
    """asyncio's own event loop, and uvloop's where it is installed."""
    made: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    with contextlib.suppress(ImportError):
        import uvloop

        made.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
    return made


@pytest.mark.parametrize("new_loop", loops())
def test_awaiting_outlives_cancelled_tasks_and_closed_loops(load: Any, new_loop: Any) -> None:
    slow = load(plans.slow(20_000))
    x = np.arange(16, dtype=np.float32)

    async def cancelled(pool: rt.ContextPool) -> None:
        tasks = [asyncio.ensure_future(_result(pool, x)) for _ in range(6)]
        await asyncio.sleep(0.005)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, False] * 3

    forgotten: list[Any] = []

    async def left_behind(pool: rt.ContextPool) -> None:
        forgotten.append(asyncio.ensure_future(_result(pool, x)))
        await asyncio.sleep(0.005)

    with slow.create_pool(2, max_pending=16) as pool:
        for work in (cancelled, left_behind, cancelled):  # a loop of its own for each
            loop = new_loop()
            try:
                loop.run_until_complete(asyncio.wait_for(work(pool), 30))
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            finally:
                loop.close()
        pool.drain()
        assert pool.stats["completed"] == 13
    gone = weakref.ref(loop)
    forgotten.clear()
    del loop
    gc.collect()
    assert gone() is None, "a closed loop is kept"


async def _result(pool: rt.ContextPool, x: np.ndarray) -> dict[str, Any]:
    return await pool.submit({"x": x})


def test_one_loop_awaits_many_pools_and_another_thread_s_loop_too(load: Any) -> None:
    pools = [load(plans.affine()).create_pool(1, max_pending=64) for _ in range(2)]

    async def run() -> list[dict[str, Any]]:
        jobs = (_result(pools[value % 2], X + value) for value in range(40))
        return await asyncio.wait_for(asyncio.gather(*jobs), 30)

    got: dict[int, list[dict[str, Any]]] = {}
    threads = [
        threading.Thread(target=lambda index=index: got.update({index: asyncio.run(run())}))
        for index in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in got.values():
        for value, result in enumerate(results):
            np.testing.assert_array_equal(result["y"], 2 * (X + value) + 1)
    assert len(got) == 3
    for pool in pools:
        pool.close()


def test_a_thread_that_does_not_wait_can_launch_what_it_submits(
    load: Any, driver: SimDriver
) -> None:
    """Only the next request, on an idle context, and only where launches are quick."""
    with load(plans.affine()).create_pool(2, spin=False) as pool:
        assert not pool.submit({"x": X})._start()  # how long it takes is not known yet
        pool.drain()
        started = 0
        for number in range(300):
            future = pool.submit({"x": X + number})
            started += future._start()
            assert np.array_equal(future.result()["y"], 2 * (X + number) + 1)
            assert not future._start()
        assert started > 0
        driver.set_delay("launch", 2000)
        pool.run({"x": X})
        slow = [pool.submit({"x": X}) for _ in range(3)]
        assert not any(future._start() for future in slow)
        for future in slow:
            assert np.array_equal(future.result()["y"], 2 * X + 1)
    assert pool.stats["failed"] == 0


def test_what_an_event_loop_launches_fails_as_the_rest(load: Any, tensorrt: SimTensorRT) -> None:
    async def ask(pool: Any) -> Any:
        return await pool.submit({"x": X})

    with load(plans.affine()).create_pool(1, spin=False) as pool:
        for _ in range(50):
            assert np.array_equal(asyncio.run(ask(pool))["y"], 2 * X + 1)
        tensorrt.fail("IExecutionContext::enqueueV3", "not today", action="refuse")
        with pytest.raises(errors.CureadyError) as caught:
            asyncio.run(ask(pool))
        assert (
            "not today" in caught.value.messages[-1]
        )  # in the text from Python 3.11 on, as a note
        assert np.array_equal(asyncio.run(ask(pool))["y"], 2 * X + 1)


def test_callbacks_are_called_once(load: Any) -> None:
    called: list[rt.Future] = []
    both = threading.Barrier(2, timeout=20)
    with load(plans.affine()).create_pool(1) as pool:
        future = pool.submit({"x": X})

        def note(done: rt.Future) -> None:
            called.append(done)
            both.wait()

        future.add_done_callback(note)
        both.wait()
        assert called == [future]


def test_device_arrays_stay_on_the_device(load: Any, driver: SimDriver) -> None:
    producer = rt.Stream()
    x = rt.DeviceBuffer((4, 4), "float32", stream=producer)
    with load(plans.affine()).create_pool(2) as pool:
        for value in range(10):
            driver.produce(producer.handle, x.ptr, 16, float(value), delay_us=1500)
            result = pool.submit({"x": x}).result(10)["y"]
            assert isinstance(result, rt.DeviceBuffer)
            assert (result.numpy() == 2 * value + 1).all()


def test_an_array_of_another_shape_is_refused_as_run_does(load: Any) -> None:
    other = np.zeros((2, 8), np.float32)
    engine = load(plans.affine())
    with pytest.raises(errors.ShapeError) as of_run:
        engine.create_context().run({"x": X}, {"y": other})
    with engine.create_pool(1) as pool:
        future = pool.submit({"x": X}, {"y": other})
        with pytest.raises(errors.ShapeError) as of_pool:
            future.result(10)
        assert isinstance(future.exception(), errors.ShapeError)
    told = "output 'y' has shape (4, 4); the array has (2, 8)"
    assert of_run.value.message == f"run: {told}"
    assert of_pool.value.message == f"submit: {told}"


def test_outputs_of_the_caller_are_written(load: Any) -> None:
    target = np.zeros((4, 4), np.float32)
    with load(plans.affine()).create_pool(1) as pool:
        result = pool.submit({"x": X}, {"y": target}).result(10)
        assert result["y"] is target
    np.testing.assert_array_equal(target, 2 * X + 1)


def test_map_keeps_the_order(load: Any) -> None:
    with load(plans.affine()).create_pool(3) as pool:
        results = list(pool.map(({"x": X + value} for value in range(30)), depth=5))
        with pytest.raises(ValueError, match="depth"):
            list(pool.map([], depth=0))
    for value, result in enumerate(results):
        np.testing.assert_array_equal(result["y"], 2 * (X + value) + 1)


def test_a_full_queue_pushes_back(load: Any, driver: SimDriver) -> None:
    driver.set_delay("kernel", 200_000)
    with load(plans.affine()).create_pool(1, max_pending=1, in_flight=1) as pool:
        futures = []
        with pytest.raises(errors.ContextBusy):
            for _ in range(10):
                futures.append(pool.submit({"x": X}, timeout=0.01))
        assert 1 <= len(futures) < 10
        with pytest.raises(TimeoutError):
            futures[0].result(0.0)
        driver.set_delay("kernel", 0)
        for future in futures:
            future.result(20)


def test_wrong_requests_are_refused_at_once(load: Any) -> None:
    with load(plans.affine()).create_pool(1) as pool:
        with pytest.raises(errors.ShapeError):
            pool.submit({"x": np.zeros((9, 4), np.float32)})
        with pytest.raises(errors.DtypeError, match="x"):
            pool.submit({"x": X.astype(np.float64)})
        with pytest.raises(errors.BindingError, match="not given"):
            pool.submit({})
        with pytest.raises(errors.BindingError, match="nothing"):
            pool.submit({"nothing": X})
        np.testing.assert_array_equal(pool.submit({"x": X}).result(10)["y"], 2 * X + 1)


def test_a_failed_run_is_its_future_s_error(load: Any, tensorrt: SimTensorRT) -> None:
    with load(plans.affine()).create_pool(1) as pool:
        tensorrt.fail("IExecutionContext::enqueueV3", "the vendor's own words")
        future = pool.submit({"x": X})
        with pytest.raises(errors.TensorRTError) as caught:
            future.result(10)
        assert "the vendor's own words" in " ".join(caught.value.messages)
        assert isinstance(future.exception(), errors.TensorRTError)
        np.testing.assert_array_equal(pool.submit({"x": X}).result(10)["y"], 2 * X + 1)


def test_a_closed_pool_takes_nothing(load: Any) -> None:
    pool = load(plans.affine()).create_pool(1)
    pool.submit({"x": X}).result(10)
    pool.close()
    pool.close()
    with pytest.raises(errors.Cancelled):
        pool.submit({"x": X})


def test_contexts_are_lent(load: Any) -> None:
    with load(plans.affine()).create_pool(1) as pool:
        with pool.acquire() as context:
            np.testing.assert_array_equal(context.run({"x": X})["y"], 2 * X + 1)
            with pytest.raises(TimeoutError), pool.acquire(timeout=0.01):
                pass
        with pool.acquire(timeout=5) as again:
            assert again is context


def test_arrays_are_let_go_while_the_main_thread_waits(load: Any) -> None:
    """As in a server, whose main thread waits for its workers for as long as it lives."""
    alive: list[int] = []
    with load(plans.affine()).create_pool(1) as pool:

        def work() -> None:
            arrays = []
            for value in range(20):
                x = X + value
                arrays.append(weakref.ref(x))
                pool.submit({"x": x}).result(20)
                del x
            alive.append(sum(array() is not None for array in arrays))

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert alive[0] <= 1
