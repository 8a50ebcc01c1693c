"""An execution context from Python: what it calls, what it keeps alive, and how it fails."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtime_sim import SimDriver, SimLibraries, SimTensorRT, plans

import cuready.runtime as rt
from cuready import errors

X = np.arange(16, dtype=np.float32).reshape(4, 4)
ALL = ["8.5", "8.6", "10.0", "10.6", "10.15", "11.0", "11.4"]
VERSIONS = {"8.5": "8.5.3", "8.6": "8.6.0", "10.0": "10.0.1", "10.15": "10.15.1"}


PROGRAM = """
import sys
import numpy as np
import cuready.runtime as rt
engine = rt.Runtime().load(sys.argv[1])
assert list(engine.inputs) == ["x"]
assert engine.inputs["x"].shape == (-1, 4)
assert engine.profiles[0].max == {"x": (8, 4)}
context = engine.create_context()
for rows in (4, 1, 8):
    x = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    np.testing.assert_array_equal(context.run({"x": x})["y"], 2 * x + 1)
print(engine.runtime.library.version)
"""


@pytest.mark.parametrize("release", ALL)
def test_every_major_runs_the_same_program(
    libraries: SimLibraries, release: str, tmp_path: Path
) -> None:
    """Each in a process of its own, as programs have one TensorRT."""
    path = tmp_path / "affine.plan"
    path.write_bytes(plans.affine(version=VERSIONS.get(release, f"{release}.0")))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        capture_output=True, text=True, timeout=60, check=False,
        env=libraries.environment(release),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(release)


def test_nothing_is_set_again_that_did_not_change(load: Any, tensorrt: SimTensorRT) -> None:
    context = load(plans.affine()).create_context()
    buffer = rt.DeviceBuffer((4, 4), "float32")
    buffer.copy_from(X)
    context.bind({"x": buffer})
    context.enqueue()
    tensorrt.reset_calls()
    for _ in range(10):
        context.enqueue()
    assert tensorrt.calls("IExecutionContext::enqueueV3") == 10
    assert tensorrt.calls("IExecutionContext::setInputShape") == 0
    assert tensorrt.calls("IExecutionContext::setTensorAddress") == 0
    context.bind({"x": buffer})
    context.enqueue()
    assert tensorrt.calls("IExecutionContext::setInputShape") == 0
    context.synchronize()


def test_keywords_mappings_and_sequences_bind_alike(load: Any) -> None:
    context = load(plans.copies(3)).create_context()
    x = {f"x{i}": np.full(16, i, np.float32) for i in range(3)}
    for arguments, named in (((x,), {}), ((), x), (([*x.values(), None, None, None],), {})):
        bindings = context.bind(*arguments, **named)
        assert set(x) <= set(bindings.names)
        context.enqueue()
        context.synchronize()
        for i in range(3):
            assert (context.output(f"y{i}").numpy() == i).all()


def test_bindings_can_be_kept_and_alternated(load: Any) -> None:
    context = load(plans.affine()).create_context()
    kept = []
    for value in range(3):
        buffer = rt.DeviceBuffer((4, 4), "float32")
        buffer.copy_from(X + value)
        kept.append(context.bind({"x": buffer}))
    del buffer
    gc.collect()
    for value in (0, 2, 1, 0):
        context.enqueue_bindings(kept[value])
        context.synchronize()
        np.testing.assert_array_equal(context.output("y").numpy(), 2 * (X + value) + 1)
    with pytest.raises(TypeError):
        context.enqueue_bindings({"x": X})


def test_arrays_live_until_the_gpu_is_done_with_them(load: Any, driver: SimDriver) -> None:
    driver.set_delay("kernel", 3000)
    context = load(plans.affine()).create_context()
    for value in range(5):
        buffer = rt.DeviceBuffer((4, 4), "float32")
        buffer.copy_from(X + value)
        context.bind({"x": buffer})
        context.enqueue()
        del buffer
    context.synchronize()
    np.testing.assert_array_equal(context.output("y").numpy(), 2 * (X + 4) + 1)


def test_any_order_of_destruction_is_safe(
    load: Any, driver: SimDriver, tensorrt: SimTensorRT
) -> None:
    engine = load(plans.affine())
    context = engine.create_context()
    pool = engine.create_pool(2)
    output = context.run({"x": rt.DeviceBuffer((4, 4), "float32")})["y"]
    del engine
    gc.collect()
    del context, pool
    gc.collect()
    assert output.shape == (4, 4)
    del output
    gc.collect()
    assert tensorrt.live() == []


def test_data_dependent_outputs_have_their_exact_size(load: Any) -> None:
    context = load(plans.nonzero()).create_context()
    for x in (np.array([1, -1, 2, 0], np.float32), np.zeros(5, np.float32)):
        found = context.run({"x": x})["indices"]
        np.testing.assert_array_equal(found, np.nonzero(x > 0)[0][None, :])


def test_shape_tensors_are_values_on_the_host(load: Any) -> None:
    context = load(plans.reshape()).create_context()
    x = np.arange(12, dtype=np.float32)
    for shape in ((3, 4), (2, 6), (12, 1)):
        got = context.run({"x": x, "shape": np.array(shape, np.int32)})["y"]
        np.testing.assert_array_equal(got, -x.reshape(shape))


def test_profiles_are_chosen_by_the_shapes_or_by_hand(load: Any) -> None:
    context = load(plans.two_profiles()).create_context()
    context.run({"x": X})
    assert context.profile == 0
    context.run({"x": np.zeros((32, 4), np.float32)})
    assert context.profile == 1
    context.set_profile(0)
    with pytest.raises(errors.ShapeError):
        context.run({"x": np.zeros((32, 4), np.float32)})
    context.set_profile("auto")
    context.run({"x": np.zeros((32, 4), np.float32)})


def test_graphs_are_captured_kept_and_replayed(load: Any, tensorrt: SimTensorRT) -> None:
    context = load(plans.affine()).create_context(graph="auto", max_graphs=2)
    for _ in range(3):
        for rows in (1, 2):
            np.testing.assert_array_equal(context.run({"x": X[:rows]})["y"], 2 * X[:rows] + 1)
    for _ in range(5):
        context.run({"x": X[:2]})
    stats = context.graph_stats
    assert stats.hits >= 4
    assert 1 <= stats.cached <= 2


def test_what_cannot_be_captured_falls_back_with_its_reason(load: Any) -> None:
    context = load(plans.nonzero()).create_context(graph="auto")
    x = np.array([1, -1, 2], np.float32)
    for _ in range(4):
        context.run({"x": x})
    assert context.graph_stats.fallback_reason
    with pytest.raises(errors.CaptureError):
        strict = load(plans.nonzero()).create_context(graph="require")
        for _ in range(4):
            strict.run({"x": x})


def test_refit_and_missing_weights(load: Any) -> None:
    engine = load(plans.refittable(stripped=True))
    assert engine.needs_refit
    with pytest.raises(errors.NotRefitted):
        engine.create_context().run({"x": X[0]})
    assert sorted(engine.missing_weights) == ["c", "k"]
    assert engine.refit({"k": np.array([3], np.float32)}) == ["c"]
    assert engine.needs_refit
    both = {"k": np.array([3], np.float32), "c": np.array([5], np.float32)}
    assert engine.refit(both) == []
    np.testing.assert_array_equal(engine.create_context().run({"x": X[0]})["y"], 3 * X[0] + 5)
    with pytest.raises(errors.CureadyError, match="nothing"):
        engine.refit({"nothing": np.zeros(1, np.float32)})


def test_tensorrt_s_log_reaches_python_logging(
    load: Any, tensorrt: SimTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    tensorrt.fail("IRuntime::deserializeCudaEngine", "mind the gap", action="warn")
    with caplog.at_level("WARNING", logger="cuready.tensorrt"):
        load(plans.affine())
    assert "mind the gap" in caplog.text


@pytest.mark.parametrize(
    ("method", "provoke"),
    [
        ("IRuntime::deserializeCudaEngine", lambda load: load(plans.affine())),
        ("ICudaEngine::createExecutionContext", lambda load: load(plans.affine()).create_context()),
        ("createInferRuntime_INTERNAL", lambda load: load(plans.affine())),
        ("IExecutionContext::enqueueV3",
         lambda load: load(plans.affine()).create_context().run({"x": X})),
        ("IExecutionContext::setInputShape",
         lambda load: load(plans.affine()).create_context().run({"x": X})),
        ("IExecutionContext::setTensorAddress",
         lambda load: load(plans.affine()).create_context().run({"x": X})),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", ["refuse", "silent", "badptr"])
def test_a_refusal_of_tensorrt_is_typed_and_has_its_words(
    load: Any, tensorrt: SimTensorRT, method: str, provoke: Any, action: str
) -> None:
    if action == "badptr" and method.startswith("IExecutionContext"):
        action = "refuse"  # those return bool
    tensorrt.fail(method, "the vendor's own words", action=action, times=10)
    with pytest.raises(errors.TensorRTError) as caught:
        provoke(load)
    if action != "silent":
        assert "the vendor's own words" in " ".join(caught.value.messages)
    tensorrt.clear_faults()
    np.testing.assert_array_equal(
        load(plans.affine()).create_context().run({"x": X})["y"], 2 * X + 1
    )


@pytest.mark.parametrize(
    ("point", "code", "error"),
    [
        ("cuMemAlloc", 2, errors.OutOfMemory),
        ("cuMemHostAlloc", 2, errors.OutOfMemory),
        ("cuMemcpyHtoDAsync", 1, errors.CudaError),
        ("cuMemcpyDtoHAsync", 1, errors.CudaError),
        ("cuStreamSynchronize", 999, errors.CudaError),
    ],
)
def test_a_failure_of_the_driver_is_typed_and_names_its_code(
    load: Any, driver: SimDriver, point: str, code: int, error: type[errors.CudaError]
) -> None:
    context = load(plans.affine()).create_context()
    driver.fail(point, code, times=100)
    with pytest.raises(error) as caught:
        context.run({"x": X})
    assert caught.value.name.startswith("CUDA_ERROR")
    assert caught.value.code == code
    driver.clear_faults()
    np.testing.assert_array_equal(context.run({"x": X})["y"], 2 * X + 1)


def test_layers_are_profiled_again_and_again_without_a_complaint(
    load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    context = load(plans.affine()).create_context()
    context.bind({"x": X})
    for _ in range(2):
        assert context.profile_layers()
        context.enqueue()  # the profiler is still attached, and must be silent
    context.synchronize()
    del context
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_a_second_thread_gets_context_busy(load: Any, driver: SimDriver) -> None:
    driver.set_delay("kernel", 50_000)
    context = load(plans.affine()).create_context()
    started, caught = threading.Event(), []

    def other() -> None:
        started.wait()
        try:
            context.run({"x": X})
        except errors.ContextBusy as error:
            caught.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    context.bind({"x": X})
    context.enqueue()
    started.set()
    context.run({"x": X})  # waits 50 ms without the GIL
    thread.join()
    np.testing.assert_array_equal(context.run({"x": X})["y"], 2 * X + 1)
    assert len(caught) <= 1


def test_an_array_of_another_gpu_is_refused(load: Any) -> None:
    context = load(plans.affine()).create_context()
    foreign = rt.DeviceBuffer((4, 4), "float32", device=1)
    with pytest.raises(errors.DeviceMismatch, match="x"):
        context.bind({"x": foreign})
    written = rt.DeviceBuffer((4, 4), "float32", stream=rt.Stream(1))  # with a stream to wait for
    with pytest.raises(errors.DeviceMismatch, match="x"):
        context.bind({"x": written})


def test_plans_load_from_paths_and_buffers(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "模型.plan"
    path.write_bytes(plans.affine())
    for source in (path, str(path), memoryview(path.read_bytes()), bytearray(path.read_bytes())):
        assert load(source).num_layers >= 1


def test_benchmark_reports_trtexec_s_stages(load: Any) -> None:
    report = rt.benchmark(load(plans.affine()), duration=0.05, warmup=0.01)
    assert report.iterations >= 10
    assert report.to_dict()["gpu"]["median"] >= 0
    assert "bound by" in report.summary()
    assert report.queued_iterations > 0
    assert 3 <= report.queued_at_once <= 64
    assert "gpu, queued" in report.summary()


def middle(samples: list[float]) -> float:
    """The mid-distribution median, as Ma, Genton and Parzen define it."""
    values, counts = np.unique(samples, return_counts=True)
    return float(np.interp(len(samples) / 2, np.cumsum(counts) - counts / 2, values))


def test_a_benchmark_is_continued_in_turns(load: Any) -> None:
    timed = rt.Benchmark(load(plans.slow(300)), warmup=0.0)
    counts = []
    for _ in range(3):
        timed.run(0.02)
        timed.run_queued(0.01)
        report = timed.report()
        counts.append((report.iterations, report.queued_iterations))
    assert counts == sorted(set(counts))
    for stage in ("enqueue", "h2d", "gpu", "d2h", "latency", "gpu_queued"):
        samples = timed.samples(stage)
        assert len(samples) == counts[-1][stage == "gpu_queued"]
        assert getattr(report, stage).median == pytest.approx(middle(samples))
    assert min(timed.samples("gpu_queued")) > 0.25
    with pytest.raises(errors.InvalidArgument, match="lunch"):
        timed.samples("lunch")


def test_a_host_that_is_slower_than_the_gpu_is_named(load: Any, driver: SimDriver) -> None:
    """The GPU waits for the host inside a run: `gpu` has that in it, `gpu_queued` has not."""
    driver.set_delay("launch", 500)
    report = rt.benchmark(load(plans.affine()), duration=0.2, warmup=0.0, transfers=False)
    assert report.enqueue.median > 0.5
    assert report.gpu.median > 0.5 > report.gpu_queued.median
    assert report.bound_by == "enqueue"


def test_an_engine_that_waits_inside_a_run_cannot_be_queued(load: Any) -> None:
    report = rt.benchmark(load(plans.nonzero()), duration=0.05, warmup=0.0)
    assert report.iterations >= 10
    assert report.queued_iterations == 0
    assert "cannot queue two runs ahead" in report.queued_reason
    assert report.queued_reason in report.summary()


def test_tensors_may_be_named_like_an_argument_of_run(load: Any) -> None:
    context = load(plans.affine(names=("inputs", "outputs"))).create_context()
    x, y = rt.DeviceBuffer((4, 4), "float32"), rt.DeviceBuffer((4, 4), "float32")
    x.copy_from(X)
    for _ in range(2):  # the call site's keywords are remembered, for bind() and run() apart
        context.bind(inputs=x, outputs=y)
        context.enqueue()
        context.synchronize()
        np.testing.assert_array_equal(y.numpy(), 2 * X + 1)
        out = np.empty_like(X)
        context.run(inputs=X + 1, outputs={"outputs": out})
        np.testing.assert_array_equal(out, 2 * (X + 1) + 1)


def test_a_tensor_that_is_given_twice_is_refused(load: Any) -> None:
    context = load(plans.affine()).create_context()
    for call in (context.run, context.bind):
        with pytest.raises(errors.BindingError, match="'x': it was given twice"):
            call({"x": X[:1]}, x=X)
    np.testing.assert_array_equal(context.run(x=X)["y"], 2 * X + 1)


def test_a_context_in_use_is_busy_for_every_call(load: Any, driver: SimDriver) -> None:
    context = load(plans.slow(300_000)).create_context()
    x, buffer = np.ones(16, np.float32), rt.DeviceBuffer(16, "float32")
    calls = {
        "run": lambda: context.run(x=x),
        "bind": lambda: context.bind(x=buffer),
        "shapes": context.shapes,
        "set_profile": lambda: context.set_profile(0),
        "output": lambda: context.output("y"),
        "take_output": lambda: context.take_output("y"),
        "graph": context.graph,
        "clear_graphs": context.clear_graphs,
        "profile_layers": context.profile_layers,
    }
    context.run(x=x)
    for work in (lambda: context.run(x=x), context.profile_layers):
        first = threading.Thread(target=work)
        before = driver.calls("cuStreamSynchronize")
        first.start()
        while driver.calls("cuStreamSynchronize") == before:
            pass
        for call in calls.values():
            with pytest.raises(errors.ContextBusy):
                call()
        first.join()
    np.testing.assert_array_equal(context.run(x=x)["y"], 2 * x + 1)


FIRST_RUNS = """
import sys, threading, time
import numpy as np
import cuready.runtime as rt

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "ml_dtypes":
            time.sleep(0.3)  # another thread gets the GIL, as it does while files are read
        return None

sys.meta_path.insert(0, Slow())
engine = rt.Runtime().load(sys.argv[1])
contexts = [engine.create_context() for _ in range(2)]
x = np.ones((4, 4), np.float32)
start = threading.Barrier(2)
right = []

def first_run(context):
    start.wait()
    right.append(np.array_equal(context.run(x=x)["y"], 2 * x + 1))

threads = [threading.Thread(target=first_run, args=(context,)) for context in contexts]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*right)
"""


def test_threads_may_run_for_the_first_time_together(
    libraries: SimLibraries, tmp_path: Path
) -> None:
    path = tmp_path / "affine.plan"
    path.write_bytes(plans.affine())
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUNS, str(path)],
        capture_output=True, text=True, timeout=60, check=False,
        env=libraries.environment("10.6"),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_results_outlive_the_stream_of_their_run(load: Any) -> None:
    context = load(plans.affine()).create_context()
    x = rt.DeviceBuffer((4, 4), "float32")
    x.copy_from(X)
    stream = rt.Stream()
    first = context.run({"x": x}, stream=stream)["y"]
    context.bind(x=x)
    context.enqueue(stream)
    second, third = context.output("y"), context.take_output("y")
    context.synchronize()
    del stream
    gc.collect()
    for result in (first, second, third):
        np.testing.assert_array_equal(result.numpy(), 2 * X + 1)


def test_what_is_not_given_stays_bound_and_none_is_the_contexts_own(load: Any) -> None:
    context = load(plans.affine()).create_context()
    y = rt.DeviceBuffer((4, 4), "float32")
    context.bind(x=X, y=y)
    for arrays, ours in (({"x": 2 * X}, False), ({"y": None}, True), ({"x": X}, True)):
        context.bind(arrays)
        context.enqueue()
        output = context.output("y")
        assert (output.ptr != y.ptr) is ours
        right = (2 * X if arrays.get("x") is not X else X) * 2 + 1
        np.testing.assert_array_equal(output.numpy(), right)


def test_run_sets_the_shapes_that_were_asked_about_back(load: Any) -> None:
    context = load(plans.affine()).create_context()
    for _ in range(2):
        np.testing.assert_array_equal(context.run(x=X)["y"], 2 * X + 1)
        assert context.shapes({"x": (2, 4)})["y"] == (2, 4)


def test_a_workspace_belongs_to_the_gpu_of_the_engine(load: Any) -> None:
    engine = load(plans.affine())
    with pytest.raises(errors.DeviceMismatch, match="the workspace is on GPU 1"):
        engine.create_context(workspace=rt.Workspace(device=1))


def test_arguments_of_another_type_are_named(load: Any) -> None:
    engine = load(plans.affine())
    context, buffer = engine.create_context(), rt.DeviceBuffer((4, 4), "float32")
    mapping = "a mapping of tensor names to arrays was expected, not a list"
    with engine.create_pool(1) as pool:
        for call in (
            lambda: context.run(x=X, outputs=[X]),
            lambda: pool.submit([X]),
            lambda: pool.run({"x": X}, [X]),
        ):
            with pytest.raises(errors.InvalidArgument, match=mapping):
                call()
        with pytest.raises(TypeError, match=r"'str'.* to C\+\+ type 'double'"):
            pool.submit({"x": X}, timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="a shape is a sequence of integers"):
        rt.DeviceBuffer(2**70)
    for profile in ("best", 2**40, 2**70, 1.5, [0]):
        for take in (
            context.set_profile,
            lambda profile: engine.create_context(profile=profile),
            lambda profile: engine.create_pool(1, profile=profile),
        ):
            with pytest.raises(
                errors.InvalidArgument, match="a profile is an index or 'auto', not"
            ):
                take(profile)  # type: ignore[operator]
    with pytest.raises(ValueError, match="a stream of DLPack"):
        buffer.__dlpack__(stream=-2)
    for wrong in (
        lambda: rt.DeviceBuffer(4, device="cuda"),
        lambda: context.shapes({3: (1, 4)}),
        lambda: buffer.__dlpack__(stream="s"),
    ):
        with pytest.raises(TypeError, match=r"C\+\+ type '[a-z]"):
            wrong()
