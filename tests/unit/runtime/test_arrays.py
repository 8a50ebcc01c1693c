"""How arrays come in and go out: each protocol, in order on the right stream, checked by name."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from runtime_sim import SimDriver, plans
from tests.unit.runtime.producers import (
    ExchangeArray,
    OnlyCudaArrayInterface,
    OnlyDlpack,
    RefusesAll,
    RefusingBuffer,
    RefusingDlpack,
)

import cuready.runtime as rt
from cuready.errors import BindingError, DtypeError, InvalidArgument, ShapeError

X = np.arange(16, dtype=np.float32).reshape(4, 4)


def on_device(array: Any, stream: rt.Stream | None = None) -> rt.DeviceBuffer:
    buffer = rt.DeviceBuffer(array.shape, str(array.dtype), stream=stream)
    buffer.copy_from(array, stream=stream)
    return buffer


@pytest.mark.parametrize(
    "wrap",
    [
        lambda b: b,
        OnlyDlpack,
        OnlyCudaArrayInterface,
        ExchangeArray,
        RefusingBuffer,  # device protocols come before the buffer
        RefusingDlpack,  # a protocol that refuses is followed by the next
    ],
)
def test_every_protocol_is_used_in_place(load: Any, wrap: Any) -> None:
    context = load(plans.affine()).create_context()
    source = on_device(X)
    context.bind({"x": wrap(source)})
    context.enqueue()
    context.synchronize()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * X + 1)
    source.copy_from(X + 1)  # the same memory: the next run sees it
    context.enqueue()
    context.synchronize()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * (X + 1) + 1)


def test_every_refusal_is_told_when_no_protocol_is_left(load: Any) -> None:
    context = load(plans.affine()).create_context()
    with pytest.raises(BindingError) as caught:
        context.run({"x": RefusesAll()})
    for words in ("'x'", "the device is a secret", "only on a GPU"):
        assert words in str(caught.value)


def test_a_numpy_array_without_a_buffer_is_refused_with_the_reason(load: Any) -> None:
    context = load(plans.affine()).create_context()
    with pytest.raises(BindingError, match=r"'x'.*buffer cannot be read"):
        context.run({"x": np.zeros((4, 4), "M8[s]")})


def test_a_producer_from_before_dlpack_1_0_works(load: Any) -> None:
    context = load(plans.affine()).create_context()
    for _ in range(2):
        result = context.run({"x": OnlyDlpack(on_device(X), old=True)})
        np.testing.assert_array_equal(result["y"].numpy(), 2 * X + 1)


def test_dlpack_producers_are_told_the_consumer_s_stream(load: Any) -> None:
    context = load(plans.affine()).create_context()
    array = OnlyDlpack(on_device(X))
    context.bind({"x": array})
    other = rt.Stream()
    context.bind({"x": array}, stream=other)
    assert array.streams == [context.stream.handle, other.handle]


@pytest.mark.parametrize("way", ["cai", "exchange", "own"])
def test_a_slow_producer_is_waited_for_without_blocking(
    load: Any, driver: SimDriver, way: str
) -> None:
    context = load(plans.affine()).create_context()
    producer = rt.Stream()
    x = rt.DeviceBuffer((4, 4), "float32", stream=producer)
    for value in range(20):
        driver.produce(producer.handle, x.ptr, 16, float(value), delay_us=2000)
        array: Any = x
        if way == "cai":
            array = OnlyCudaArrayInterface(x, producer.handle)
        elif way == "exchange":
            ExchangeArray.work_stream = producer.handle
            array = ExchangeArray(x)
        driver.reset_calls()
        context.bind({"x": array})
        for waits in ("cuStreamSynchronize", "cuEventSynchronize", "cuCtxSynchronize"):
            assert driver.calls(waits) == 0, "binding waited for the producer on the host"
        context.enqueue()
        context.synchronize()
        assert (context.output("y").numpy() == 2 * value + 1).all()
    ExchangeArray.work_stream = 0


def test_no_call_synchronises_the_device(load: Any, driver: SimDriver) -> None:
    context = load(plans.affine()).create_context()
    driver.reset_calls()
    for _ in range(5):
        context.run({"x": X})
        context.bind({"x": on_device(X)})
        context.enqueue()
    context.synchronize()
    assert driver.calls("cuCtxSynchronize") == 0


def test_an_exported_buffer_orders_its_consumer(load: Any, driver: SimDriver) -> None:
    driver.set_delay("kernel", 3000)
    context = load(plans.affine()).create_context()
    context.bind({"x": on_device(X)})
    context.enqueue()
    consumer = rt.Stream()
    copy = rt.DeviceBuffer((4, 4), "float32", stream=consumer)
    copy.copy_from(OnlyDlpack(context.output("y")), stream=consumer)
    np.testing.assert_array_equal(copy.numpy(), 2 * X + 1)


def test_a_copy_without_a_stream_is_done_with_a_temporary_when_it_returns(
    driver: SimDriver,
) -> None:
    """As in `buffer.copy_from(x * 2)`: what an allocator does with the bytes afterwards."""
    producer = rt.Stream()
    source = rt.DeviceBuffer((4, 4), "float32", stream=producer)
    driver.produce(producer.handle, source.ptr, 16, 5.0, delay_us=3000)
    target = rt.DeviceBuffer((4, 4), "float32")
    target.copy_from(source)
    other = rt.Stream()
    driver.produce(other.handle, source.ptr, 16, 0.0, delay_us=0)
    other.synchronize()
    assert (target.numpy() == 5).all()


def test_dlpack_export_follows_the_array_api(driver: SimDriver) -> None:
    buffer = on_device(X)
    assert buffer.__dlpack_device__() == (2, 0)
    assert "dltensor_versioned" in repr(buffer.__dlpack__(stream=-1, max_version=(1, 0)))
    assert '"dltensor"' in repr(buffer.__dlpack__(stream=-1))
    with pytest.raises(ValueError, match="ambiguous"):
        buffer.__dlpack__(stream=0)
    with pytest.raises(BufferError, match="own device"):
        buffer.__dlpack__(dl_device=(1, 0))
    with pytest.raises(BufferError, match="copy"):
        buffer.__dlpack__(copy=True)
    interface = buffer.__cuda_array_interface__
    assert interface["version"] == 3
    assert interface["typestr"] == "<f4"
    assert interface["data"] == (buffer.ptr, False)
    assert interface["stream"] != 0


def test_a_capsule_that_nobody_takes_frees_nothing_twice(driver: SimDriver) -> None:
    before = driver.live_bytes()
    buffer = on_device(X)
    capsules = [buffer.__dlpack__(stream=-1) for _ in range(3)]
    del buffer
    gc.collect()
    assert driver.live_bytes() > before
    del capsules
    gc.collect()
    assert driver.live_bytes() == before


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (X.astype(np.float64), DtypeError, "float32, not float64"),
        (X.T, BindingError, "not contiguous"),
        (X.tolist(), BindingError, "no array"),
        (np.zeros((9, 4), np.float32), ShapeError, "9, 4"),
        (np.zeros((4, 5), np.float32), ShapeError, "4, 5"),
        (np.array(["text"]), BindingError, "element type"),
        (X.astype(">f4"), BindingError, "element type"),
        (None, BindingError, "None"),
    ],
)
def test_what_cannot_be_bound_is_named_and_changes_nothing(
    load: Any, array: Any, error: type[Exception], words: str
) -> None:
    context = load(plans.affine()).create_context()
    context.bind({"x": X})
    with pytest.raises(error, match=words) as caught:
        context.bind({"x": array})
    assert "x" in str(caught.value)
    context.enqueue()
    context.synchronize()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * X + 1)


def test_bfloat16_is_passed_as_bits(load: Any) -> None:
    engine = load(plans.affine(shape=(4,), dtype="bfloat16", scale=2, bias=0))
    bits = (X[0].view(np.uint32) >> 16).astype(np.uint16)
    (result,) = engine.create_context().run({"x": bits}).values()
    doubled = result.view(np.uint16).astype(np.uint32) << 16
    np.testing.assert_array_equal(doubled.view(np.float32), 2 * X[0])
    assert engine.inputs["x"].dtype == "bfloat16"


@pytest.mark.parametrize("layout", ["chw4", "hwc8", "chw32"])
def test_numpy_input_is_repacked_to_vectorised_layouts(load: Any, layout: str) -> None:
    engine = load(plans.vectorised(format=layout, channels=3))
    x = np.arange(12, dtype=np.float16).reshape(1, 3, 2, 2)
    context = engine.create_context()
    np.testing.assert_array_equal(context.run({"x": x})["y"], x)
    context.bind({"x": x})
    context.enqueue()
    context.synchronize()
    np.testing.assert_array_equal(context.output("y").numpy(), x)
    with pytest.raises(BindingError, match="layout"):
        context.bind({"x": on_device(x)})
    with engine.create_pool(1) as pool, pytest.raises(BindingError) as refused:
        pool.run({"x": x})
    assert "ExecutionContext.run()" in refused.value.hint  # the pool has a run() of its own


def test_a_weight_budget_is_a_number_or_auto_and_no_other_word(load: Any) -> None:
    with pytest.raises(InvalidArgument, match="bytes or 'auto', not 'atuo'"):
        load(plans.affine(), weight_budget="atuo")


def test_names_are_any_utf_8(load: Any) -> None:
    engine = load(plans.affine(names=("输入/0:x", "выход")))
    np.testing.assert_array_equal(engine.create_context().run({"输入/0:x": X})["выход"], 2 * X + 1)


def test_pinned_memory_and_the_staging_ring(driver: SimDriver) -> None:
    pinned = rt.PinnedBuffer((4, 4), "float32")
    np.asarray(pinned)[...] = X
    buffer = rt.DeviceBuffer((4, 4), "float32")
    ring = rt.StagingRing(2)
    for value in range(10):
        ring.upload(buffer, X + value)
    np.testing.assert_array_equal(buffer.numpy(), X + 9)
    buffer.copy_from(pinned)
    np.testing.assert_array_equal(buffer.copy_to(), X)
    with pytest.raises(BindingError, match="bytes"):
        buffer.copy_from(X[:2])
