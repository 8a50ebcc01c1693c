"""A slow producer on another stream never gives a wrong result: 10,000 runs by each way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_plans import Plan

import cuready.runtime as rt

RUNS = 2500  # for each of the four ways
SLOW_BYTES = 64 << 20


class OnlyCudaArrayInterface:
    """An array that can nothing but ``__cuda_array_interface__``, written on ``stream``."""

    def __init__(self, buffer: rt.DeviceBuffer, stream: rt.Stream) -> None:
        self._buffer = buffer
        self._stream = stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._buffer.__cuda_array_interface__, "stream": self._stream.handle}


class OnlyDlpack:
    """An array that can nothing but ``__dlpack__``: it makes the consumer's stream wait."""

    def __init__(self, buffer: rt.DeviceBuffer) -> None:
        self._buffer = buffer

    def __dlpack__(self, **options: Any) -> Any:
        assert options["stream"] not in (None, -1, 0)
        return self._buffer.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._buffer.__dlpack_device__()


class Producer:
    """Writes x late: after large copies that keep its stream busy."""

    def __init__(self, values: list[np.ndarray[Any, Any]], simulated: bool) -> None:
        self.stream = rt.Stream()
        size = (1 << 16) if simulated else SLOW_BYTES
        self._slow = [rt.DeviceBuffer(size, stream=self.stream) for _ in range(2)]
        self._rows = []
        for value in values:
            row = rt.DeviceBuffer(value.shape, str(value.dtype), stream=self.stream)
            row.copy_from(value, stream=self.stream)
            self._rows.append(row)
        self.x = rt.DeviceBuffer(values[0].shape, str(values[0].dtype), stream=self.stream)

    def write(self, index: int) -> None:
        self._slow[0].copy_from(self._slow[1], stream=self.stream)
        self.x.copy_from(self._rows[index % len(self._rows)], stream=self.stream)


@pytest.mark.parametrize("way", ["device_buffer", "dlpack", "cuda_array_interface", "run"])
def test_a_slow_producer_is_waited_for(
    runtime: rt.Runtime, plans: dict[str, Plan], way: str
) -> None:
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    (name, first), *_ = plan.inputs.items()
    values = [np.full_like(first, value) for value in range(7)]
    producer = Producer(values, simulated="simulated" in str(plan.folder))
    history: list[rt.DeviceBuffer] = []
    wrong = 0
    for index in range(RUNS):
        producer.write(index)
        given: Any = producer.x
        if way == "dlpack":
            given = OnlyDlpack(producer.x)
        elif way == "cuda_array_interface":
            given = OnlyCudaArrayInterface(producer.x, producer.stream)
        if way == "run":
            got = context.run({name: given})["y"].numpy()
            wrong += not np.array_equal(got, 2 * values[index % 7] + 1)
            continue
        context.bind({name: given})
        context.enqueue()
        kept = rt.DeviceBuffer(first.shape, str(first.dtype), stream=context.stream)
        kept.copy_from(context.output("y"), stream=context.stream)
        history.append(kept)
        producer.stream.wait(context.stream)  # x may be written again once it has been read
    for index, kept in enumerate(history):
        wrong += not np.array_equal(kept.numpy(), 2 * values[index % 7] + 1)
    assert wrong == 0, f"{wrong} of {RUNS} results were computed from an old x"


def test_a_slow_torch_producer_is_waited_for(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    (name, first), *_ = plan.inputs.items()
    ours = torch.cuda.ExternalStream(context.stream.handle)
    producer = torch.cuda.Stream()
    x = torch.zeros(first.shape, device="cuda")
    y = torch.zeros(first.shape, device="cuda")
    results = torch.zeros(RUNS, device="cuda")
    torch.cuda.synchronize()
    for index in range(RUNS):
        with torch.cuda.stream(producer):
            torch.cuda._sleep(20_000)
            x.fill_(index)
            context.bind({name: x, "y": y})
        context.enqueue()
        with torch.cuda.stream(ours):
            results[index].copy_(y.flatten()[0])
        producer.wait_stream(ours)
    torch.cuda.synchronize()
    wanted = 2 * torch.arange(RUNS, device="cuda", dtype=torch.float32) + 1
    assert int((results != wanted).sum()) == 0


def test_an_output_is_ordered_for_its_consumer(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    """DLPack export makes the consumer's stream wait for the run, not the host or the device."""
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    context.bind(plan.inputs)
    consumer = rt.Stream()
    for _ in range(50):
        context.enqueue()
        copy = rt.DeviceBuffer(plan.outputs["y"].shape, "float32", stream=consumer)
        copy.copy_from(OnlyDlpack(context.output("y")), stream=consumer)
        plan.check({"y": copy.numpy()})
