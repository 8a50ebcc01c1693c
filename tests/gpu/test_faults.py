"""Wrong calls and broken files: each the right typed error, and the context stays usable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_plans import Plan

import cuready.runtime as rt
from cuready import errors


class Case:
    """What a fault may touch."""

    def __init__(self, runtime: rt.Runtime, plans: dict[str, Plan], folder: Path) -> None:
        self.runtime = runtime
        self.plans = plans
        self.folder = folder
        self.plan = plans["mlp"]
        self.engine = runtime.load(self.plan.data())
        self.context = self.engine.create_context()
        self.inputs = self.plan.inputs
        self.name, self.x = next(iter(self.inputs.items()))
        self.output = next(iter(self.engine.outputs))

    def file(self, data: bytes) -> Path:
        path = self.folder / "broken.plan"
        path.write_bytes(data)
        return path


Fault = tuple[type[BaseException], Callable[[Case], Any]]


def truncated(case: Case) -> Any:
    return case.runtime.load(case.file(case.plan.data()[:-100]))


def wrong_version(case: Case) -> Any:
    data = bytearray(case.plan.data())
    data[24] = 9  # TensorRT 9 built it, says the header
    return case.runtime.load(bytes(data))


def not_contiguous(case: Case) -> Any:
    return case.context.run({case.name: np.zeros(case.x.shape[::-1], np.float32).T})


def read_only_output(case: Case) -> Any:
    target = np.zeros_like(case.plan.outputs[case.output])
    target.flags.writeable = False
    return case.context.run(case.inputs, {case.output: target})


def device_array_for_a_shape_tensor(case: Case) -> Any:
    plan = case.plans["reshape"]
    context = case.runtime.load(plan.data()).create_context()
    shape = plan.inputs["shape"]
    buffer = rt.DeviceBuffer(shape.shape, str(shape.dtype))
    return context.bind({**plan.inputs, "shape": buffer})


def closed_pool(case: Case) -> Any:
    pool = case.runtime.load(case.plan.data()).create_pool(1)
    pool.close()
    return pool.submit(case.inputs).result()


def unrefittable(case: Case) -> Any:
    engine = case.runtime.load(case.plans["affine"].data())
    return engine.refit({"w": np.zeros(3, np.float32)})


def unknown_weight(case: Case) -> Any:
    engine = case.runtime.load(case.plans["mlp_refit"].data())
    return engine.refit({"no such weight": np.zeros(3, np.float32)})


def required_graph(case: Case) -> Any:
    plan = case.plans["nonzero"]
    context = case.runtime.load(plan.data()).create_context(graph="require")
    for _ in range(3):
        context.run(plan.inputs)


def unsupported_object(case: Case) -> Any:
    return case.context.run({case.name: object()})


def nothing_bound(case: Case) -> Any:
    return (
        case.engine.create_context().enqueue()
        if case.runtime.library.version[0] > 8
        else (case.runtime.load(case.plan.data()).create_context().enqueue())
    )


def host_pointer(case: Case) -> Any:
    class Liar:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": case.x.shape,
            "typestr": "<f4",
            "data": (case.x.ctypes.data, False),
            "version": 3,
        }

    return case.context.bind({case.name: Liar()})


def wrong_output_shape(case: Case) -> Any:
    return case.context.run(case.inputs, {case.output: np.zeros(3, np.float32)})


def big_endian(case: Case) -> Any:
    return case.context.run({case.name: case.x.astype(">f4")})


FAULTS: dict[str, Fault] = {
    "no such file": (errors.PlanInvalid, lambda c: c.runtime.load(c.folder / "missing.plan")),
    "a folder": (errors.PlanInvalid, lambda c: c.runtime.load(c.folder)),
    "an empty file": (errors.PlanInvalid, lambda c: c.runtime.load(c.file(b""))),
    "no plan": (errors.CureadyError, lambda c: c.runtime.load(b"ONNX model, perhaps" * 100)),
    "a plan cut short": (errors.PlanInvalid, truncated),
    "another version": (errors.EngineVersionError, wrong_version),
    "unknown input": (errors.BindingError, lambda c: c.context.run({"no_such": c.x})),
    "missing input": (errors.BindingError, lambda c: c.context.run({})),
    "unknown output": (errors.BindingError, lambda c: c.context.run(c.inputs, {"no": c.x})),
    "input as output": (errors.BindingError, lambda c: c.context.run(c.inputs, {c.name: c.x})),
    "output as input": (errors.BindingError, lambda c: c.context.run({c.output: c.x})),
    "float64": (errors.DtypeError, lambda c: c.context.run({c.name: c.x.astype(np.float64)})),
    "float16": (errors.DtypeError, lambda c: c.context.run({c.name: c.x.astype(np.float16)})),
    "big endian": (errors.BindingError, big_endian),
    "complex numbers": (
        errors.BindingError,
        lambda c: c.context.run({c.name: c.x.astype(np.complex64)}),
    ),
    "beyond the profiles": (
        errors.ShapeError,
        lambda c: c.context.run({c.name: np.zeros((100_000, c.x.shape[1]), np.float32)}),
    ),
    "wrong rank": (errors.ShapeError, lambda c: c.context.run({c.name: c.x[0]})),
    "wrong static extent": (
        errors.ShapeError,
        lambda c: c.context.run({c.name: c.x[:, :-1].copy()}),
    ),
    "nine dimensions": (
        errors.BindingError,
        lambda c: c.context.run({c.name: np.zeros((1,) * 9, np.float32)}),
    ),
    "not contiguous": (errors.BindingError, not_contiguous),
    "no array": (errors.BindingError, unsupported_object),
    "None": (errors.BindingError, lambda c: c.context.bind({c.name: None})),
    "host memory as output": (
        errors.BindingError,
        lambda c: c.context.bind({c.output: np.zeros_like(c.plan.outputs[c.output])}),
    ),
    "read-only output": (errors.BindingError, read_only_output),
    "output of another shape": (errors.CureadyError, wrong_output_shape),
    "device array for a shape tensor": (errors.BindingError, device_array_for_a_shape_tensor),
    "host pointer as device memory": (errors.BindingError, host_pointer),
    "nothing bound": (errors.BindingError, nothing_bound),
    "no such profile": (errors.CureadyError, lambda c: c.context.set_profile(99)),
    "profile by a wrong word": (errors.InvalidArgument, lambda c: c.context.set_profile("best")),
    "the legacy stream": (errors.InvalidArgument, lambda c: c.context.enqueue(1)),
    "no stream": (errors.InvalidArgument, lambda c: c.context.enqueue("stream")),
    "wrong graph mode": (errors.InvalidArgument, lambda c: c.context.graph("always")),
    "a graph that cannot be": (errors.CaptureError, required_graph),
    "no such device": (errors.CureadyError, lambda c: rt.Runtime(c.runtime.library, device=99)),
    "too much memory": (errors.OutOfMemory, lambda c: rt.DeviceBuffer(1 << 46)),
    "no such plugin library": (
        errors.CureadyError,
        lambda c: rt.Runtime(c.runtime.library, plugins=["/no/such/plugin.so"]),
    ),
    "no such library": (errors.LibraryNotFound, lambda c: rt.load("/no/such/libnvinfer.so.10")),
    "no library": (errors.UnsupportedLibrary, lambda c: rt.load(c.file(b"\x7fELF nonsense"))),
    "refit of what cannot be": (errors.CureadyError, unrefittable),
    "refit of no such weight": (errors.CureadyError, unknown_weight),
    "a closed pool": (errors.Cancelled, closed_pool),
}


@pytest.fixture
def case(runtime: rt.Runtime, plans: dict[str, Plan], tmp_path: Path) -> Case:
    return Case(runtime, plans, tmp_path)


@pytest.mark.parametrize("fault", FAULTS, ids=[name.replace(" ", "-") for name in FAULTS])
def test_a_fault_gives_its_error_and_leaves_the_context_usable(case: Case, fault: str) -> None:
    expected, provoke = FAULTS[fault]
    if fault == "refit of no such weight" and "mlp_refit" not in case.plans:
        pytest.skip("no refittable plan for this release")
    case.plan.check(case.context.run(case.inputs))
    with pytest.raises(expected) as caught:
        provoke(case)
    assert str(caught.value), "the message is empty"
    case.plan.check(case.context.run(case.inputs))


def test_errors_about_a_tensor_name_it(case: Case) -> None:
    with pytest.raises(errors.ShapeError, match=case.name) as caught:
        case.context.run({case.name: np.zeros((100_000, case.x.shape[1]), np.float32)})
    assert "100000" in str(caught.value)
    with pytest.raises(errors.DtypeError, match=f"'{case.name}'.*float32.*float64"):
        case.context.run({case.name: case.x.astype(np.float64)})
