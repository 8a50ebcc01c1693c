"""Every plan that the library built computes what it must, by each way of passing arrays."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from gpu_plans import Plan

import cuready.runtime as rt
from cuready.errors import CaptureError, CureadyError

# A second context on a profile fails in its first run on TensorRT 8.
ONE_CONTEXT_PER_PROFILE = 8


def expected_or_skip(plan: Plan) -> None:
    if not plan.has_expected:
        pytest.skip("a plan without expected outputs")


def on_device(context: rt.ExecutionContext, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as device buffers, but for tensors whose values TensorRT reads on the host."""
    placed: dict[str, Any] = {}
    for name, array in inputs.items():
        info = context.engine.inputs[name]
        if info.location == "host":
            placed[name] = array
            continue
        buffer = rt.DeviceBuffer(array.shape, info.dtype, stream=context.stream)
        buffer.copy_from(array, stream=context.stream)
        placed[name] = buffer
    return placed


def test_host_arrays_in_and_out(runtime: rt.Runtime, own_plan: Plan) -> None:
    engine = runtime.load(own_plan.data())
    context = engine.create_context()
    if not own_plan.has_expected:
        arrays = {
            name: np.ones([max(1, extent) for extent in info.shape], info.dtype)
            for name, info in engine.inputs.items()
        }
        assert set(context.run(arrays)) == set(engine.outputs)
        return
    for _ in range(3):
        own_plan.check(context.run(own_plan.inputs))


def test_device_arrays_are_used_in_place(runtime: rt.Runtime, own_plan: Plan) -> None:
    expected_or_skip(own_plan)
    context = runtime.load(own_plan.data()).create_context()
    context.bind(on_device(context, own_plan.inputs))
    for _ in range(3):
        context.enqueue()
    context.synchronize()
    own_plan.check({name: context.output(name).numpy() for name in context.engine.outputs})


def test_outputs_of_the_caller_are_written(runtime: rt.Runtime, own_plan: Plan) -> None:
    expected_or_skip(own_plan)
    context = runtime.load(own_plan.data()).create_context()
    wanted = own_plan.outputs
    targets = {name: np.full_like(array, 1) for name, array in wanted.items()}
    got = context.run(own_plan.inputs, targets)
    assert all(got[name] is targets[name] for name in targets)
    own_plan.check(targets)


def test_graph_replay_gives_the_same_or_says_why_not(runtime: rt.Runtime, own_plan: Plan) -> None:
    expected_or_skip(own_plan)
    context = runtime.load(own_plan.data()).create_context()
    context.graph("auto")
    context.bind(on_device(context, own_plan.inputs))
    for _ in range(6):
        context.enqueue()
    context.synchronize()
    stats = context.graph_stats
    data_dependent = any(info.is_data_dependent for info in context.engine.outputs.values())
    assert (stats.hits > 0) != bool(stats.fallback_reason), repr(stats)
    assert not (data_dependent and stats.hits)
    own_plan.check({name: context.output(name).numpy() for name in context.engine.outputs})


def test_a_required_graph_of_a_data_dependent_engine_is_refused(
    runtime: rt.Runtime, plans: dict[str, Plan]
) -> None:
    plan = plans["nonzero"]
    context = runtime.load(plan.data()).create_context()
    context.graph("require")
    context.bind(on_device(context, plan.inputs))
    with pytest.raises(CaptureError):
        for _ in range(3):
            context.enqueue()
    context.graph("off")
    plan.check(context.run(plan.inputs))


def test_a_pool_of_contexts_gives_the_same(runtime: rt.Runtime, own_plan: Plan) -> None:
    expected_or_skip(own_plan)
    size = 1 if runtime.library.version.major == ONE_CONTEXT_PER_PROFILE else 3
    with runtime.load(own_plan.data()).create_pool(size) as pool:
        for result in pool.map([own_plan.inputs] * 20):
            own_plan.check(result)

        async def awaited() -> list[dict[str, Any]]:
            return await asyncio.gather(*(waited(pool) for _ in range(5)))

        async def waited(pool: rt.ContextPool) -> dict[str, Any]:
            return await pool.submit(own_plan.inputs)

        for result in asyncio.run(awaited()):
            own_plan.check(result)


def test_profiles_follow_the_shapes(
    runtime: rt.Runtime, plans: dict[str, Plan], caplog: pytest.LogCaptureFixture
) -> None:
    engine = runtime.load(plans["mlp"].data())
    assert len(engine.profiles) == 2
    assert engine.inputs and engine.outputs
    assert "only returns results for profile 0" not in caplog.text
    context = engine.create_context()
    (name, _), *_ = engine.inputs.items()
    for index, profile in enumerate(engine.profiles):
        shapes = context.shapes({name: profile.max[name]})
        assert shapes[name] == profile.max[name]
        assert context.profile == index
    plans["mlp"].check(context.run(plans["mlp"].inputs))


def test_refit_changes_what_is_computed(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    if "mlp_refit" not in plans:
        pytest.skip("no refittable plan for this release")
    plan = plans["mlp_refit"]
    engine = runtime.load(plan.data())
    plan.check(engine.create_context().run(plan.inputs))
    assert engine.is_refittable
    zeros = {}
    for weight in engine.refittable_weights:
        dtype, count = engine.weight_prototype(weight)
        if count < 0:
            pytest.skip("TensorRT 8 does not say how many elements a weight has")
        zeros[weight] = np.zeros(count, dtype)
    assert engine.refit(zeros) == []
    for array in engine.create_context().run(plan.inputs).values():
        assert not np.any(array)


def test_weight_streaming_budget(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    if "weight_streaming" not in plans:
        pytest.skip("the weight-streaming plan was not given")
    plan = plans["weight_streaming"]
    engine = runtime.load(plan.data())
    assert engine.streamable_size > 0
    for budget in (0, engine.streamable_size // 2, engine.streamable_size):
        engine = runtime.load(plan.data(), weight_budget=budget)
        plan.check(engine.create_context().run(plan.inputs))


def test_inspection_is_json(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    engine = runtime.load(plans["mlp"].data())
    described = engine.inspect()
    assert described
    assert engine.num_layers >= 1


def test_layers_are_timed(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    plan = plans["mlp"]
    context = runtime.load(plan.data()).create_context()
    context.bind(on_device(context, plan.inputs))
    layers = context.profile_layers()
    assert layers
    assert all(milliseconds >= 0 for _, milliseconds in layers)


def test_benchmark_reports_stages(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    report = rt.benchmark(runtime.load(plans["mlp"].data()), duration=0.2, warmup=0.05)
    assert report.iterations >= 10
    assert 0 < report.latency.min <= report.latency.median <= report.latency.max
    assert report.bound_by in {"enqueue", "h2d", "gpu", "d2h"}


def test_torch_tensors_are_taken_without_a_copy(
    runtime: rt.Runtime, plans: dict[str, Plan]
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    inputs = {name: torch.from_numpy(array).cuda() for name, array in plan.inputs.items()}
    outputs = {name: torch.empty_like(next(iter(inputs.values()))) for name in plan.outputs}
    context.bind({**inputs, **outputs})
    context.enqueue()
    context.synchronize()
    plan.check({name: tensor.cpu().numpy() for name, tensor in outputs.items()})
    exported = torch.from_dlpack(context.output("y"))
    assert exported.data_ptr() == outputs["y"].data_ptr()


def test_cupy_arrays_are_taken_without_a_copy(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    cupy = pytest.importorskip("cupy")
    plan = plans["affine"]
    context = runtime.load(plan.data()).create_context()
    inputs = {name: cupy.asarray(array) for name, array in plan.inputs.items()}
    result = context.run(inputs)
    plan.check({name: cupy.asnumpy(cupy.from_dlpack(array)) for name, array in result.items()})


def test_two_contexts_on_one_profile(runtime: rt.Runtime, plans: dict[str, Plan]) -> None:
    plan = plans["affine"]
    engine = runtime.load(plan.data())
    first = engine.create_context()
    plan.check(first.run(plan.inputs))
    if runtime.library.version.major == ONE_CONTEXT_PER_PROFILE:
        with pytest.raises(CureadyError, match="profile"):
            engine.create_context()
    else:
        plan.check(engine.create_context().run(plan.inputs))
    plan.check(first.run(plan.inputs))
